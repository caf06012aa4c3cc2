"""Message headers (RFC 5322) as mess822 treats them: pure functions on bytes."""
