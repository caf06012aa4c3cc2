"""Runners perform the operations that generators yield; they hold no policy."""
