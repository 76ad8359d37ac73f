"""What a request does to the database, as a whole: it has a name, a deadline, and one outcome."""

import math
import re
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

_NAME_LENGTH = 63  # bytes of application_name; PostgreSQL cuts the rest off


@dataclass(eq=False)
class UnitOfWork:
    """One request's work, or some work without a request.

    Args:
        name: what ``pg_stat_activity`` shows while it lasts.
        deadline: when it has to be done, by ``time.monotonic()``.
        attempts: how often it may run, the first time included.
    """

    name: str
    deadline: float = math.inf
    attempts: int = 1
    received: bytearray = field(default_factory=bytearray)
    """The body of the request."""
    reading: Any = None
    """The session that reads."""
    writing: dict[bool, Any] = field(default_factory=dict)
    """The session that writes, by whether it is serializable."""
    answer: Response | None = None
    """What the client will be told, as soon as it is known."""
    committing: bool = False
    """COMMIT has been sent: who gives up now cannot know what became of it."""
    stored: bool = False
    """COMMIT has succeeded: the work is neither undone nor done again."""

    def seconds_left(self) -> float:
        """Time until the deadline; less than nothing when it has passed."""
        return self.deadline - time.monotonic()

    def may_run_again(self) -> bool:
        """There are attempts and time left, and nothing is stored that would be stored twice."""
        return self.attempts > 1 and self.seconds_left() > 0 and not self.stored

    @property
    def refused(self) -> bool:
        """The answer is a failure, or there is none, so nothing of the work is kept."""
        return self.answer is None or self.answer.status_code >= 400

    def label(self, role: str = "") -> str:
        """The name as an SQL string, which nothing in it can end."""
        printable = re.sub(r"[^ -~]|['\\]", "?", f"{role} {self.name}".lstrip())
        return f"'{printable[:_NAME_LENGTH]}'"

    def begin_again(self) -> None:
        """Forget what the last attempt has come to."""
        self.attempts -= 1
        self.answer = None
        self.reading = None
        self.writing.clear()
        self.committing = False


class RunAgain(Exception):
    """The work came to nothing for a reason that the next attempt may not meet."""
