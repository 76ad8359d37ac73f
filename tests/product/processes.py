"""Programs that run while a test does, and end with it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

NOT_INHERITED = ("DATABASE_", "OIDC_", "VIRTUAL_ENV", "UV_PROJECT_", "PYTEST_", "COV_")


@dataclass(frozen=True)
class Running:
    """A process group, and what it said when it was ready."""

    process: subprocess.Popen[str]
    said: str
    _output: IO[str]

    def output(self) -> str:
        """All that it has printed until now."""
        return os.pread(self._output.fileno(), 10_000_000, 0).decode()

    def kill(self) -> None:
        """End it as a crash would: nothing is cleaned up."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(
    *command: str | Path, cwd: Path, ready: str, tell: str = "", **variables: str
) -> Iterator[Running]:
    """Run a command until the block ends, which begins when it has printed what is awaited.

    Args:
        command: it, in a process group of its own.
        cwd: where it runs.
        ready: what it prints then, as a regular expression; its group becomes ``said``.
        tell: a line for its standard input, which stays open until the end.
        variables: of its environment.
    """
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(NOT_INHERITED)}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=inherited | variables,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdin
        try:
            process.stdin.write(f"{tell}\n")
            process.stdin.flush()
            said = ""
            deadline = time.monotonic() + 60
            while not (found := re.search(ready, said)):
                ended = process.poll() is not None or time.monotonic() > deadline
                said = os.pread(output.fileno(), 1_000_000, 0).decode()
                assert not ended or re.search(ready, said), f"{command}\n{said[-8000:]}"
                time.sleep(0.02)
            yield Running(process, found[1], output)
        except BaseException:
            sys.stderr.write(os.pread(output.fileno(), 1_000_000, 0).decode()[-8000:])
            raise
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that leads its group, and whatever it has started there."""
    with suppress(ProcessLookupError):  # what it started gets it too, and may go on after it
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
