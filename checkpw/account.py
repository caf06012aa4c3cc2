"""Who somebody is once the password was right, and what runs for them next."""


class Account:
    """A login and the identity that the rest of the chain gets.

    Attributes:
        login: becomes `$USER`.
        uid, gid: numbers, or None for a virtual user, who has no identity on this machine.
        home: becomes `$HOME` and the working directory.
        shell: becomes `$SHELL`.
        doubt: why root may not become uid and gid, because of where they were read; empty if it may.
    """

    __slots__ = ("doubt", "gid", "home", "login", "shell", "uid")

    def __init__(
        self,
        login: bytes,
        uid: int | None = None,
        gid: int | None = None,
        home: bytes = b"",
        shell: bytes = b"",
        doubt: str = "",
    ) -> None:
        self.login = login
        self.uid = uid
        self.gid = gid
        # passwd(5): an empty shell is /bin/sh; an empty home is the root directory, as login(1) has it.
        self.home = home or b"/"
        self.shell = shell or b"/bin/sh"
        self.doubt = doubt
