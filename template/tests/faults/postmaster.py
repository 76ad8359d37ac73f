"""A server that can be killed."""

import asyncio
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import asyncpg

from dev import postgres


class Postmaster:
    """A PostgreSQL server of our own, even where the tests use another."""

    def __init__(self, server: postgres.Server) -> None:
        self.url = server.url()
        self.pid = server.pid
        self._data = server.data_directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def kill(self) -> None:
        """End it as a crash would."""
        os.kill(self.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    async def start(self) -> None:
        """Start it again with the same data and behind the same socket; it answers then."""
        while True:
            self._start()
            while self._processes[-1].poll() is None:
                with suppress(OSError, asyncpg.PostgresError):
                    await (await asyncpg.connect(self.url)).close()
                    return
                await asyncio.sleep(0.01)
            # The last of its old processes has not noticed yet.

    def _start(self) -> None:
        root, owner = os.geteuid() == 0, self._data.stat()
        process = subprocess.Popen(
            shlex.split((self._data / "postmaster.opts").read_text()),
            env=postgres.ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=owner.st_uid if root else None,
            group=owner.st_gid if root else None,
            extra_groups=[] if root else None,
            # When the tests are killed, nothing stays.
            preexec_fn=lambda: postgres._die_with_supervisor(signal.SIGQUIT),
        )
        self.pid = process.pid
        self._processes.append(process)

    def stop(self) -> None:
        """End what has been started here."""
        for process in self._processes:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)


@contextmanager
def running() -> Iterator[Postmaster]:
    """The server, until the block ends."""
    with postgres.running() as server:
        postmaster = Postmaster(server)
        try:
            yield postmaster
        finally:
            postmaster.stop()
