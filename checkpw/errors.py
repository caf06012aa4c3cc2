"""The one family of exceptions: each carries its exit status and its SMTP answer.

An exit status is what cr.yp.to/checkpwd/interface.html says: 1 no, 2 misuse, 111 temporary. Exceptions become exit
statuses in `cli.exits` and SMTP replies in `submission`, nowhere else. Texts are for the administrator's log; they
never hold a password, and the client never sees them, except for the `reply_text` of a refused message.
"""


class CheckpwError(Exception):
    """Any trouble that checkpw knows by name; by itself it means "our fault, try later"."""

    exit_status = 111


class Rejected(CheckpwError):
    """The answer is no: unknown login, wrong password, disabled or expired account, not allowed from here."""

    exit_status = 1


class Misuse(CheckpwError):
    """The caller did not keep to the interface: no program to run, a malformed record on descriptor 3."""

    exit_status = 2


class TemporaryFailure(CheckpwError):
    """Nobody can tell now: a store that is down or unreadable, a setting that makes no sense, queue trouble."""


class MessageRefused(CheckpwError):
    """A door did not take the message.

    Attributes:
        code: the SMTP reply code, 451 or 550 to 554.
        enhanced: the RFC 3463 status without spaces, of the class of `code`.
        reply_text: printable words for the client.
    """

    def __init__(self, code: int, enhanced: bytes, reply_text: bytes) -> None:
        super().__init__(code, enhanced, reply_text)
        self.code = code
        self.enhanced = enhanced
        self.reply_text = reply_text
