"""Reports of a run, each form a pure function of it: for people, harnesses, CI, programs and browsers.

Passwords of the accounts that the kit was given stand in them, because without them nothing could be tried by hand.
"""
