"""The pool of connections: SQLAlchemy's, but that sessions hand them to one another.

To give a connection back to SQLAlchemy and to take it again calls 45 functions, and took a tenth of
the time of a request that reads one row.
"""

import asyncio
import time
from collections import deque
from typing import Any, cast

from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only, greenlet_spawn

from .connection import Connection


class Pool(AsyncAdaptedQueuePool):
    """Whoever waits for a connection gets one in turn, by ``take`` or in SQLAlchemy's way."""

    # SQLAlchemy's loggers are silent unless somebody wants to hear them: they quote errors whole.
    _sqla_logger_namespace = "sqlalchemy.pool.Pool"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: deque[PoolProxiedConnection] = deque()
        """Of SQLAlchemy they are taken; of us, nobody's."""
        self._waiting: deque[asyncio.Future[PoolProxiedConnection | None]] = deque()
        self._promised = 0
        """How many of those who waited may take one of SQLAlchemy, and have not begun to."""

    async def take(self) -> PoolProxiedConnection:
        """A connection that works, as far as anybody knows, and is nobody's.

        Raises:
            sqlalchemy.exc.TimeoutError: nobody has given one back in time.
            Exception: there is none, and none could be made.
        """
        while True:
            taken = self._idle.popleft() if self._idle else None
            if taken is None and not self._has_room():
                taken = await self._turn()
            if taken is None:
                return await self._taken_of_sqlalchemy()
            if _made_ready(taken.dbapi_connection):
                return taken
            taken.close()  # SQLAlchemy replaces it

    def give(self, taken: PoolProxiedConnection) -> None:
        """Give a connection back; a transaction that it is in ends with it."""
        if not _is_good(cast("Connection", taken.driver_connection)):
            taken.close()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(taken)
                return
        self._idle.append(taken)

    def connect(self) -> PoolProxiedConnection:
        """What SQLAlchemy calls, in a greenlet."""
        return await_only(self.take())

    def checkedout(self) -> int:
        """How many connections somebody has."""
        return super().checkedout() - len(self._idle)

    def dispose(self) -> None:
        """Close the connections that nobody has."""
        self._retire()
        super().dispose()

    def _invalidate(self, *arguments: Any, **options: Any) -> None:
        """Where one connection was lost, SQLAlchemy replaces all that were made before."""
        super()._invalidate(*arguments, **options)
        self._retire()

    def _retire(self) -> None:
        while self._idle:
            self._idle.popleft().close()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        self._call_next()

    def _has_room(self) -> bool:
        return super().checkedout() + self._promised < self.size()

    def _call_next(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._promised += 1
                turn.set_result(None)

    async def _turn(self) -> PoolProxiedConnection | None:
        """A connection that somebody gives back; None where there is room for another."""
        turn: asyncio.Future[PoolProxiedConnection | None]
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.timeout()):
                taken = await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came too late
                if given := turn.result():
                    self.give(given)
                else:
                    self._promised -= 1
                    self._call_next()
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise PoolTimeout(f"no connection within {self.timeout()} s") from None
            raise
        if taken is None:
            self._promised -= 1
        return taken

    async def _taken_of_sqlalchemy(self) -> PoolProxiedConnection:
        try:
            return await greenlet_spawn(super().connect)
        except BaseException:
            self._call_next()
            raise


def replace(dbapi_connection: Any, *_: object) -> None:
    """Let SQLAlchemy replace a connection that is of no use."""
    if not _made_ready(dbapi_connection):
        raise DisconnectionError


def _made_ready(adapter: Any) -> bool:
    """Whether a connection is of use; if so, it keeps nothing of whoever had it."""
    driver: Connection = adapter.driver_connection
    if not _is_good(driver):
        return False
    driver.forget()
    adapter.isolation_level = None
    adapter.readonly = adapter.deferrable = False
    return True


def _is_good(driver: Connection) -> bool:
    """Whether a connection is open, and has not done its time; this costs no round trip.

    One in the middle of a transaction is closed: whoever was given it would go on with that, as
    somebody else.
    """
    if not driver.is_closed() and not driver.is_idle():
        driver.terminate()
    return not driver.is_closed() and time.monotonic() < driver.good_until
