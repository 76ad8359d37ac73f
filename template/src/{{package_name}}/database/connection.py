"""The driver's connection: BEGIN and COMMIT pass through one method of ours."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import asyncpg
import structlog

from ..problems import DatabaseUnavailable
from ..settings import Settings
from .sqlstate import is_verdict
from .unit_of_work import UnitOfWork

# Nothing survives into the next transaction, whatever the last one left: settings, role, cursors,
# subscriptions, temporary tables, locks. In a poisoned session these words still mean the same, as
# none of them holds a string. Together they cost PostgreSQL 0.05 ms, and no round trip.
_CLEAN = "RESET ALL;RESET ROLE;CLOSE ALL;UNLISTEN *;DISCARD TEMP;SELECT pg_advisory_unlock_all();"

# The driver prepares statements by the protocol. Whoever prepared one by SQL may have put it in the
# place of the driver's: then the transaction does not begin, and the connection is replaced.
_GUARD = "SELECT 1/(NOT from_sql)::int FROM pg_catalog.pg_prepared_statement() WHERE from_sql;"

# Seconds that a transaction may outlast its last statement's limit: ending a transaction ends its
# connection, and ending a statement does not.
_GRACE = 0.5

# The name of whatever has no request.
NO_REQUEST = UnitOfWork(__name__.partition(".")[0])

Isolation = Literal["READ COMMITTED", "SERIALIZABLE"]

log = structlog.get_logger()


def _explicit(begin: str, isolation: Isolation, mode: str) -> str:
    """BEGIN that leaves nothing to defaults, which are settings that a session may change.

    Nor could they be mended afterwards: a transaction that cannot write cannot commit the mending.
    """
    level = "" if "ISOLATION" in begin else f" ISOLATION LEVEL {isolation}"
    mode = "" if "READ ONLY" in begin else f" {mode}"
    deferrable = "" if "DEFERRABLE" in begin else " NOT DEFERRABLE"
    return f"{begin.rstrip(';')}{level}{mode}{deferrable};"


class Connection(asyncpg.Connection):
    """A connection whose transactions begin clean, have time limits, and whose COMMIT means it."""

    unit = NO_REQUEST
    isolation: Isolation = "READ COMMITTED"
    reads = False
    """The transaction is read only."""
    replica = False
    """Each is."""
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

    def is_idle(self) -> bool:
        """Nobody has a transaction on it, not even one that is about to begin."""
        # The driver sets it before BEGIN is sent.
        begun = self._top_xact  # type: ignore[attr-defined]  # which its stubs do not know
        return begun is None and not self.is_in_transaction()

    def forget(self) -> None:
        """Be nobody's, until a session says whose transaction begins."""
        self.unit, self.isolation, self.reads = NO_REQUEST, "READ COMMITTED", False

    async def _begin(self, query: str) -> str:
        self.reads |= self.replica or "READ ONLY" in query
        begin = _explicit(query, self.isolation, "READ ONLY" if self.reads else "READ WRITE")
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
