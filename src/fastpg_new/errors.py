"""What the user is told when something cannot be done."""


class FastpgNewError(Exception):
    """One line that says what is wrong, and one that says what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(FastpgNewError):
    """The user asked for something that cannot be; the disk is untouched."""

    exit_code = 2


class Interrupted(FastpgNewError):
    """SIGINT, SIGTERM, SIGHUP, or the end of input at a prompt."""

    exit_code = 130


class NewerProject(FastpgNewError):
    """The project was made by a release that this installation does not have."""

    exit_code = 3


class Unsolved(FastpgNewError):
    """Conflicts are left."""

    exit_code = 3
