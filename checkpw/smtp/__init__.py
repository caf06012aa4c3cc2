"""The server side of SMTP submission without I/O: bytes in, events and replies out (RFC 5321, 6409)."""
