"""The connection pool of one worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from ..problems import DatabaseUnavailable
from ..settings import Settings
from .transaction import AttentiveSession, Connection, commit, limits


class Database:
    """Sessions on one pool of connections."""

    def __init__(self, settings: Settings) -> None:
        self.engine = _engine(settings)
        self._read = _sessions(self.engine.execution_options(postgresql_readonly=True))
        self._write = _sessions(self.engine)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is read only; PostgreSQL refuses writes through it."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session that is committed when the block ends, and rolled back when it raises."""
        async with self._write() as session:
            yield session
            await commit(session)

    async def ping(self) -> None:
        """One round trip to PostgreSQL.

        Raises:
            Problem: or one of SQLAlchemy's errors, when the database is away.
        """
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def _engine(settings: Settings) -> AsyncEngine:
    async def connect() -> Connection:
        try:
            connection = await asyncpg.connect(
                settings.database_url.get_secret_value(),
                connection_class=Connection,
                timeout=settings.connect_timeout,
                command_timeout=settings.driver_timeout,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Whatever it is, here it is not about the client's data.
            raise DatabaseUnavailable from error
        connection.limits = limits(settings)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.pool_timeout,
        pool_recycle=1800,
        hide_parameters=True,  # parameters are the users' data: in no error, in no log
    )
    event.listen(engine.sync_engine, "checkout", _replace_closed)
    event.listen(engine.sync_engine, "handle_error", _name_lost_connection)
    return engine


def _sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(
        engine,
        sync_session_class=AttentiveSession,
        expire_on_commit=False,
        close_resets_only=False,
    )


def _replace_closed(dbapi_connection: Any, *_: object) -> None:
    """A connection that the server has closed is replaced without asking it (no round trip)."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def _name_lost_connection(context: ExceptionContext) -> None:
    """The socket's own errors, and the driver's time limit, reach SQLAlchemy unwrapped."""
    if isinstance(context.original_exception, OSError):
        context.is_disconnect = True
        raise DatabaseUnavailable from context.original_exception
