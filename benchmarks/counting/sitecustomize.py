"""Counts the calls of Python functions in a process that has this directory on its path.

SIGUSR1 writes the count so far to the file that `CALLS` names. A coroutine counts when it begins,
not when it goes on.
"""

import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType

calls = count()
_RESUME_HAS_BEGUN = 3  # the bits of RESUME's argument that say after what: 0 is the beginning


def _called(frame: FrameType, event: str, _: object) -> None:
    if event == "call" and not frame.f_code.co_code[frame.f_lasti + 1] & _RESUME_HAS_BEGUN:
        next(calls)


def _tell(*_: object) -> None:
    path = Path(os.environ["CALLS"])
    path.with_suffix(".new").write_text(str(next(calls)))
    path.with_suffix(".new").replace(path)


signal.signal(signal.SIGUSR1, _tell)
threading.setprofile(_called)
sys.setprofile(_called)
