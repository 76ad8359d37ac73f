"""Where transactions begin and end: the only module that commits."""

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import asyncpg
import sqlalchemy
import structlog
from sqlalchemy import Result, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from ..problems import DatabaseUnavailable
from ..settings import Settings
from .sqlstate import is_verdict
from .unit_of_work import UnitOfWork

# Nothing survives into the next transaction, whatever the last one left: settings, role, cursors,
# subscriptions, temporary tables, locks. In a poisoned session these words still mean the same, as
# none of them holds a string. Together they cost 0.02 ms, and no round trip.
_CLEAN = "RESET ALL;RESET ROLE;CLOSE ALL;UNLISTEN *;DISCARD TEMP;SELECT pg_advisory_unlock_all();"

# The driver prepares statements by the protocol. Whoever prepared one by SQL may have put it in the
# place of the driver's: then the transaction does not begin, and the connection is replaced.
_GUARD = "SELECT 1/(NOT EXISTS(SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql))::int;"

# Seconds that a transaction may outlast its last statement's limit: ending a transaction ends its
# connection, and ending a statement does not.
_GRACE = 0.5

# The name of whatever has no request.
NO_REQUEST = UnitOfWork(__name__.partition(".")[0])

log = structlog.get_logger()


def _explicit(begin: str, mode: str) -> str:
    """BEGIN that leaves nothing to defaults, which are settings that a session may change.

    Nor could they be mended afterwards: a transaction that cannot write cannot commit the mending.
    """
    isolation = "" if "ISOLATION" in begin else " ISOLATION LEVEL READ COMMITTED"
    mode = "" if "READ ONLY" in begin else f" {mode}"
    deferrable = "" if "DEFERRABLE" in begin else " NOT DEFERRABLE"
    return f"{begin.rstrip(';')}{isolation}{mode}{deferrable};"


class Connection(asyncpg.Connection):
    """A connection whose transactions begin clean, have time limits, and whose COMMIT means it."""

    unit = NO_REQUEST
    mode: Literal["READ WRITE", "READ ONLY"] = "READ WRITE"
    reads = False
    """The transaction is read only."""
    good_until = math.inf
    """By ``time.monotonic()``; then the pool replaces it."""
    limits: Mapping[str, float] = {}
    """Settings of PostgreSQL that bound what a transaction may wait for, in seconds."""

    @property
    def preamble(self) -> str:
        """SQL that travels in the message which carries BEGIN.

        So it costs no round trip, and passes PgBouncer, which refuses settings at connect.
        """
        return f"{_CLEAN}{_GUARD}{self._budget()}SET LOCAL application_name = {self.label};"

    @property
    def label(self) -> str:
        """Who this transaction belongs to, as an SQL string."""
        return self.unit.label()

    def _budget(self) -> str:
        left = self.unit.seconds_left()
        spent = {name: min(seconds, left) for name, seconds in self.limits.items()}
        if "transaction_timeout" in spent:
            spent["transaction_timeout"] += _GRACE
        return "".join(
            f"SET LOCAL {name} = {max(1, round(seconds * 1000))};"
            for name, seconds in spent.items()
        )

    async def execute(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109  (asyncpg's signature)
    ) -> str:
        """Run a statement; asyncpg begins and ends transactions here, with these very words."""
        if query == "COMMIT;":
            return await self._commit()
        if query.startswith("BEGIN"):
            return await self._begin(query)
        return await super().execute(query, *args, timeout=timeout)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  (asyncpg's)
        """Close the connection; in the middle of a transaction without waiting for a farewell."""
        if not self.is_closed() and self.is_in_transaction():
            self.terminate()
        else:
            await super().close(timeout=timeout)

    async def _begin(self, query: str) -> str:
        begin = _explicit(query, self.mode)
        self.reads = "READ ONLY" in begin
        try:
            return await super().execute(begin + self.preamble)
        except Exception as error:
            # asyncpg takes the transaction for begun, and the server for failed: whoever came
            # next would pay for it. And whatever it is, here it is not about the client's data.
            log.error("transaction_not_begun", reason=f"{type(error).__name__}: {error}")
            self.terminate()
            raise DatabaseUnavailable from error

    async def _commit(self) -> str:
        if not self.is_closed() and not self.is_in_transaction():
            raise asyncpg.InFailedSQLTransactionError("the transaction had ended before its COMMIT")
        self.unit.committing = True
        try:
            status = await super().execute("COMMIT;")
        except Exception as error:
            if is_verdict(error):
                self.unit.committing = False
                raise
            self.terminate()
            raise asyncpg.TransactionResolutionUnknownError("COMMIT was not answered") from error
        # A COMMIT after a failed statement is answered ROLLBACK, without an error: who ignored
        # the failure would report success for rows that do not exist.
        # https://www.postgresql.org/docs/current/sql-commit.html
        if status != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("an earlier statement failed: rolled back")
        self.unit.stored |= not self.reads
        return status


def limits(settings: Settings, server: asyncpg.ServerVersion) -> dict[str, float]:
    """What a transaction may wait for, in seconds.

    https://www.postgresql.org/docs/current/runtime-config-client.html
    """
    seconds = {
        "lock_timeout": settings.lock_timeout,
        "statement_timeout": settings.statement_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
        # A statement ends when nobody is there any more to hear what it has found.
        "client_connection_check_interval": 1,
    }
    if server.major >= 17:
        seconds["transaction_timeout"] = settings.transaction_timeout
    return seconds


class AttentiveSession(Session):
    """A session that knows when a statement of its has failed, or a rollback taken work away."""

    failed = False


@event.listens_for(AttentiveSession, "do_orm_execute")
def _execute(state: ORMExecuteState) -> Result[Any]:
    try:
        return state.invoke_statement()
    except Exception:
        cast("AttentiveSession", state.session).failed = True
        raise


@event.listens_for(AttentiveSession, "after_begin")
def _introduce(session: Session, _: object, connection: sqlalchemy.Connection) -> None:
    """BEGIN goes out with the first statement; by then the connection knows what it is part of."""
    adapter: Any = connection.connection.dbapi_connection
    adapter.driver_connection.unit = session.info.get("unit", NO_REQUEST)


@event.listens_for(AttentiveSession, "after_soft_rollback")
def _forget(session: AttentiveSession, transaction: SessionTransaction) -> None:
    # What a savepoint takes back is forgotten; of a request nobody else takes anything back.
    is_request = session.info.get("unit", NO_REQUEST) is not NO_REQUEST
    session.failed = is_request and not transaction.nested


async def commit(session: AsyncSession) -> None:
    """Make the session's work durable, unless it is a request's whose answer is no success.

    Raises:
        RuntimeError: a statement has failed and the failure was ignored. PostgreSQL would tell
            us, but for a statement that did not even get a connection.
    """
    unit = session.info.get("unit", NO_REQUEST)
    if unit is not NO_REQUEST and unit.refused:
        await session.rollback()
        return
    if cast("AttentiveSession", session.sync_session).failed:
        raise RuntimeError("a statement failed and was ignored, or somebody called rollback()")
    await session.commit()
