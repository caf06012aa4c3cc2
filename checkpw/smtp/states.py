"""Which command is allowed when: the whole table.

All refusals for reasons of sequence stand here, and this file knows nothing of a command's arguments. Rows are verbs,
columns states; a verb that is not here is 502 in every state. The order of reasons is ofmipd's: not authorised first,
then sequence; syntax is looked at only after that.
"""

from checkpw.smtp import replies
from checkpw.smtp.replies import Reply

STRANGER = "stranger"
"""May not send: neither RELAYCLIENT nor a checker said yes."""
READY = "ready"
"""May send; no transaction."""
MAIL = "mail"
"""A sender was accepted."""
RCPT = "rcpt"
"""At least one recipient was accepted."""
CHUNKS = "chunks"
"""BDAT has begun and LAST has not come."""

STATES = (STRANGER, READY, MAIL, RCPT, CHUNKS)

_ALWAYS: dict[str, Reply | None] = dict.fromkeys(STATES)

TABLE: dict[bytes, dict[str, Reply | None]] = {
    b"HELO": _ALWAYS,
    b"EHLO": _ALWAYS,
    b"RSET": _ALWAYS,
    b"NOOP": _ALWAYS,
    b"VRFY": _ALWAYS,
    b"HELP": _ALWAYS,
    b"QUIT": _ALWAYS,
    b"AUTH": {
        STRANGER: None,
        READY: None,
        MAIL: replies.AUTH_IN_TRANSACTION,
        RCPT: replies.AUTH_IN_TRANSACTION,
        CHUNKS: replies.AUTH_IN_TRANSACTION,
    },
    b"STARTTLS": {
        STRANGER: None,
        READY: None,
        MAIL: replies.TLS_IN_TRANSACTION,
        RCPT: replies.TLS_IN_TRANSACTION,
        CHUNKS: replies.TLS_IN_TRANSACTION,
    },
    b"MAIL": {
        STRANGER: replies.NOT_AUTHORISED,
        READY: None,
        MAIL: None,
        RCPT: None,
        CHUNKS: replies.CHUNKS_OPEN,
    },
    b"RCPT": {
        STRANGER: replies.NOT_AUTHORISED,
        READY: replies.MAIL_FIRST,
        MAIL: None,
        RCPT: None,
        CHUNKS: replies.CHUNKS_OPEN,
    },
    b"DATA": {
        STRANGER: replies.NOT_AUTHORISED,
        READY: replies.MAIL_FIRST,
        MAIL: replies.RCPT_FIRST,
        RCPT: None,
        CHUNKS: replies.CHUNKS_OPEN,
    },
    b"BDAT": {
        STRANGER: replies.NOT_AUTHORISED,
        READY: replies.MAIL_FIRST,
        MAIL: replies.RCPT_FIRST,
        RCPT: None,
        CHUNKS: None,
    },
}


def objection(verb: bytes, state: str) -> Reply | None:
    """Return the reply that refuses a verb in a state, or None if it may go on."""
    row = TABLE.get(verb)
    return replies.UNIMPLEMENTED if row is None else row[state]
