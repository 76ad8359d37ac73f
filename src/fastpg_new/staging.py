"""Directories that are ours while we work, and gone afterwards, whatever happens."""

import fcntl
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OURS = re.compile(r"\.[a-z0-9_-]+\.fastpg-new-[a-z0-9_]{8}")


@contextmanager
def listening() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, so that we clean up.

    Whatever failed because of it, such as a file that was closed twice, is KeyboardInterrupt, too.
    """
    wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, _interrupt) for number in wanted}
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        yield
    except Exception as error:
        if any(signal.getsignal(number) == signal.SIG_IGN for number in wanted):
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Let no signal in between the lines of this block, nor to a process that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def workspace(parent: Path, name: str) -> Iterator[Path]:
    """A path in a hidden directory of `parent`, which is removed at the end.

    The lock on the directory lives as long as this process: an unlocked one is an orphan.
    """
    directory = lock = None
    try:
        with _turn(parent), held():
            directory = Path(tempfile.mkdtemp(prefix=f".{name}.fastpg-new-", dir=parent))
            lock = _locked(directory)
        yield directory / "work"
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _wait_for_children()
        raise
    finally:
        try:
            _remove(directory)
        except KeyboardInterrupt:  # the first signal; from now on they are ignored
            _remove(directory)
            raise
        finally:
            if lock is not None:
                os.close(lock)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 (a handler gets both)
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    # The event loop of a prompt that is just being drawn can swallow it, seen once in some
    # hundred times: so it comes again, until cleaning up begins.
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1)
    raise KeyboardInterrupt


@contextmanager
def _turn(parent: Path) -> Iterator[None]:
    """One process at a time: a directory that has no lock yet is not an orphan."""
    turn = _locked(parent)
    try:
        for directory in parent.iterdir():
            if _OURS.fullmatch(directory.name) and not directory.is_symlink():
                with suppress(OSError):
                    _remove_orphan(directory)
        yield
    finally:
        os.close(turn)


def _remove_orphan(directory: Path) -> None:
    status = directory.stat()
    contents = {path.name for path in directory.iterdir()}
    if status.st_uid != os.geteuid() or not contents <= {"work"}:
        return
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(directory)
    finally:
        os.close(lock)


def _locked(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY)
    # Some network file systems have no locks; there, orphans are not told from the living.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _wait_for_children() -> None:
    """A git that was interrupted with us may still be writing."""
    deadline = time.monotonic() + 5
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


def _remove(directory: Path | None) -> None:
    deadline = time.monotonic() + 5
    while directory and directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
