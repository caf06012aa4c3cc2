"""The programs: the only layer that knows click, builds objects and exits."""
