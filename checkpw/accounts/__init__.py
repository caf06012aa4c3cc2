"""Who may log in: one module per store; a store is imported only when `$CHECKPW_ACCOUNTS` names it."""
