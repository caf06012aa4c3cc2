"""Where mail goes: one module per door; a door is imported only when it is named."""
