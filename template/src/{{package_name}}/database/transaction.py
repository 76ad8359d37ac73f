"""Where transactions end, and who decides that: the only module that commits."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import asyncpg
import sqlalchemy
from sqlalchemy import Result, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_session
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from .connection import NO_REQUEST, Connection, Isolation
from .pool import Pool
from .statements import SlowStatements
from .unit_of_work import UnitOfWork


class Session(AsyncSession):
    """One transaction, on a connection that is taken from the pool by the first statement.

    Statements that were compiled before (``compiled.py``) go straight to the driver. With anything
    else that is asked of it, it becomes a session of the ORM, in the same transaction: that takes
    as long again as the rest of a request, and many requests need none.

    It runs one statement at a time.

    Args:
        engine: has the pool.
        unit: what the transaction is part of.
        isolation: of the transaction.
        reads: PostgreSQL refuses writes. Otherwise they are committed when the block ends, unless
            the unit of work is answered with a failure.
        slow: what is done about statements that take long.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        unit: UnitOfWork,
        slow: SlowStatements,
        *,
        isolation: Isolation = "READ COMMITTED",
        reads: bool = False,
    ) -> None:
        self.unit = unit
        self._engine = engine
        self._pool = cast("Pool", engine.pool)
        self._slow = slow
        self._isolation: Isolation = isolation
        self._reads = reads
        self._is_orm = False
        self._taken: PoolProxiedConnection | None = None
        self._lent: sqlalchemy.Connection | None = None
        self._begun: list[PoolProxiedConnection] = []
        """What the ORM has begun transactions on."""
        self._entered = 0
        self._busy = self._broken = self._ended = False

    if TYPE_CHECKING:
        sync_session: "_OrmSession"
    else:

        def __getattr__(self, name: str) -> Any:
            """Become a session of the ORM by the first attribute that only such a one has."""
            if self.__dict__.get("_is_orm", True):
                raise AttributeError(name)
            self._check_turn()
            self._is_orm = True
            super().__init__(
                self._engine,
                sync_session_class=_OrmSession,
                expire_on_commit=False,
                close_resets_only=False,
            )
            if self._ended:
                self.sync_session.close()
            elif self._taken:
                engine = self._engine.sync_engine
                self.sync_session.bind = self._lent = sqlalchemy.Connection(engine, self._taken)
                self.sync_session.connection()  # joins the transaction
            return getattr(self, name)

    async def __aenter__(self) -> Self:
        """Nothing happens before the first statement."""
        self._entered += 1
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        """Commit unless something failed; give the connection back.

        A block within the block ends nothing, and what fails in it is not stored.
        """
        self._entered -= 1
        if self._entered:
            self._broken |= kind is not None
            return
        try:
            if kind is None and not self._reads:
                await self._store()
        finally:
            await self._end()

    def introduce(self, driver: Any) -> None:
        """Tell a connection whose transaction it is about to begin, and of which kind."""
        driver.unit, driver.isolation, driver.reads = self.unit, self._isolation, self._reads

    async def fetch(self, sql: str, parameters: Sequence[object]) -> list[asyncpg.Record]:
        """The rows of a statement in the driver's own SQL (``$1``), past the ORM.

        Raises:
            DBAPIError: as from the ORM.
        """
        self._check_turn()
        if self._is_orm:
            await self.flush()  # as before each of the ORM's statements
        self._busy = True
        try:
            return await self._fetch(await self._driver(), sql, parameters)
        finally:
            self._busy = False

    async def _fetch(
        self, driver: Connection, sql: str, parameters: Sequence[object]
    ) -> list[asyncpg.Record]:
        started = time.perf_counter()
        try:
            rows: list[asyncpg.Record] = await driver.fetch(sql, *parameters)
        except Exception as error:
            self._busy = False
            self._slow.failed(time.perf_counter() - started, sql, error)
            await greenlet_spawn(self._refuse, error, sql, parameters)
            raise
        except BaseException:
            driver.terminate()  # nobody knows what the server is about to say
            raise
        if (seconds := time.perf_counter() - started) >= self._slow.limit:
            self._busy = False
            connection = await self.connection()
            await connection.run_sync(self._slow.succeeded, seconds, sql)
        return rows

    def _check_turn(self) -> None:
        if self._busy:
            raise InvalidRequestError("A session runs one statement at a time")

    async def _driver(self) -> Connection:
        """The driver's connection, in the transaction."""
        was_broken, self._broken = self._broken, True  # no savepoint makes up for that
        if self._is_orm:
            self._busy = False
            await self.connection()
            taken: Any = self.sync_session.connection().connection
        elif self._ended:
            raise InvalidRequestError("This session has ended")
        else:
            taken = self._taken = self._taken or await self._take()
        adapter = taken.dbapi_connection
        driver: Connection = adapter.driver_connection
        if adapter._transaction is None:
            self.introduce(driver)
            try:
                await adapter._start_transaction()
            except BaseException:
                driver.terminate()
                raise
            if adapter._transaction is None:
                raise InvalidRequestError("AUTOCOMMIT has no transaction to be the caller in")
        self._broken = was_broken
        return driver

    async def _take(self) -> PoolProxiedConnection:
        taken = await self._pool.take()
        if self._ended:  # meanwhile
            self._pool.give(taken)
            raise InvalidRequestError("This session has ended")
        return taken

    def _refuse(self, error: Exception, sql: str | None, parameters: Sequence[object]) -> NoReturn:
        """Let SQLAlchemy do about the driver's error what it does about those of its own."""
        is_violation = isinstance(error, asyncpg.IntegrityConstraintViolationError)
        if is_violation and self._taken and not self._is_orm:
            # Nothing is wrong with the connection, and PostgreSQL refuses whatever comes next. A
            # session of the ORM would have to be made for it, for a fifth of the request's time.
            connection = sqlalchemy.Connection(self._engine.sync_engine, self._taken)
            connection.begin()  # or else SQLAlchemy would end the transaction, and another begin
        else:
            self.sync_session.failed = True
            connection = self.sync_session.connection()
        adapter: Any = connection.connection.dbapi_connection
        try:
            adapter._handle_exception(error)
        except Exception as translated:
            known = isinstance(translated, connection.dialect.loaded_dbapi.Error)
            connection._handle_dbapi_exception(
                translated, sql if known else None, tuple(parameters), None, None
            )
        raise error

    async def _store(self) -> None:
        """Commit.

        Raises:
            RuntimeError: a statement has failed and the failure was ignored. PostgreSQL would tell
                us, but for a statement that did not even get a connection.
        """
        if self.unit is not NO_REQUEST and self.unit.refused:
            return
        if self._broken:
            raise RuntimeError("a statement found no connection, or a block failed: it was ignored")
        if self._is_orm:
            if self.sync_session.failed:
                raise RuntimeError(
                    "a statement failed and was ignored, or somebody called rollback()"
                )
            await self.commit()
        elif self._taken:
            adapter: Any = self._taken.dbapi_connection
            try:
                await adapter._call_and_discard(adapter._transaction.commit)
            except Exception as error:
                await greenlet_spawn(self._refuse, error, None, ())
            except BaseException:
                adapter.driver_connection.terminate()
                raise

    async def _end(self) -> None:
        """Undo what is not committed, and give the connection back."""
        self._ended = True
        if self._is_orm:
            try:
                await super().__aexit__(None, None, None)
            except BaseException:  # of another task that still uses it, say
                for begun in filter(lambda connection: connection.is_valid, self._begun):
                    cast("Connection", begun.driver_connection).terminate()
                    await greenlet_spawn(begun.invalidate)  # which gives its place back
                raise
            finally:
                if self._lent:
                    await greenlet_spawn(self._lent.close)
        elif self._taken:
            adapter: Any = self._taken.dbapi_connection
            try:
                if adapter._transaction:
                    await adapter._call_and_discard(adapter._transaction.rollback)
            except BaseException as error:
                adapter.driver_connection.terminate()  # which undoes it as well
                if not isinstance(error, Exception):
                    raise
            finally:
                self._pool.give(self._taken)


class _OrmSession(SyncSession):
    """The ORM's part: it knows when a statement has failed, or a rollback has taken work away."""

    failed = False
    reset = SyncSession.close  # which takes work away, and leaves no session to go on with

    def connection(self, *arguments: Any, **options: Any) -> sqlalchemy.Connection:
        """Remember that there was none, whoever ignores that."""
        try:
            return super().connection(*arguments, **options)
        except BaseException:
            self.failed = True
            raise

    @property
    def outside(self) -> Session:
        """The session that this is part of."""
        return cast("Session", async_session(self))


@event.listens_for(_OrmSession, "do_orm_execute")
def _execute(state: ORMExecuteState) -> Result[Any]:
    try:
        return state.invoke_statement()
    except BaseException:
        cast("_OrmSession", state.session).failed = True
        raise


@event.listens_for(_OrmSession, "after_begin")
def _introduce(session: _OrmSession, _: object, connection: sqlalchemy.Connection) -> None:
    """BEGIN goes out with the first statement; by then the connection knows what it is part of."""
    session.outside._begun.append(connection.connection)
    session.outside.introduce(connection.connection.driver_connection)


@event.listens_for(_OrmSession, "after_transaction_create")
def _remember(session: _OrmSession, transaction: Any) -> None:
    transaction.failed_before = session.failed


@event.listens_for(_OrmSession, "after_soft_rollback")
def _forget(session: _OrmSession, transaction: Any) -> None:
    # What a savepoint takes back is forgotten; of a request nobody else takes anything back.
    is_request = session.outside.unit is not NO_REQUEST
    session.failed = transaction.failed_before if transaction.nested else is_request
