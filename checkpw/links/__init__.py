"""Links: small programs that are put before or after a checker in a chain, one module for each."""
