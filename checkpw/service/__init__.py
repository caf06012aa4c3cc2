"""The resident server: one supervisor, and the processes among which it divides what a submission server may do."""
