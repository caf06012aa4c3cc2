"""checkpw: programs, links and servers around DJB's checkpassword interface; see checkpw(7)."""

__version__ = "0.1.0"
