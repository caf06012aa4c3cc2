"""What a program that calls a checkpassword program has to do, as properties of a `Caller`."""

from checkpw.conform.calling import answers, lasting, records, refusals, relaying, secrets, sessions, surroundings
from checkpw.conform.model import Property

PROPERTIES: tuple[Property, ...] = (
    *records.PROPERTIES,
    *refusals.PROPERTIES,
    *answers.PROPERTIES,
    *relaying.PROPERTIES,
    *surroundings.PROPERTIES,
    *secrets.PROPERTIES,
    *sessions.PROPERTIES,
    *lasting.PROPERTIES,
)
"""In the order in which they are tried and reported."""
