"""Where transactions begin and end: the only module that commits."""

from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from ..problems import DatabaseUnavailable, OutcomeUnknown
from ..settings import Settings
from .sqlstate import is_verdict


class Connection(asyncpg.Connection):
    """A connection whose transactions have time limits and whose COMMIT means it."""

    limits = ""

    async def execute(
        self,
        query: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109  (asyncpg's signature)
    ) -> str:
        """Run a statement; asyncpg begins and ends transactions here, with these very words.

        The limits travel in the message that carries BEGIN: no round trip more, and through
        PgBouncer too, which refuses them at connect. And a COMMIT of a transaction in which a
        statement has failed is answered ROLLBACK, without an error
        (https://www.postgresql.org/docs/current/sql-commit.html): who ignored the failure would
        report success for rows that do not exist.
        """
        if query.startswith("BEGIN"):
            query += self.limits
        status = await super().execute(query, *args, timeout=timeout)
        if query == "COMMIT;" and status != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("an earlier statement failed: rolled back")
        return status


def limits(settings: Settings) -> str:
    """SQL that bounds what a transaction may wait for.

    https://www.postgresql.org/docs/current/runtime-config-client.html
    """
    seconds = {
        "lock_timeout": settings.lock_timeout,
        "statement_timeout": settings.statement_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return "".join(f"SET LOCAL {name} = {round(s * 1000)};" for name, s in seconds.items())


async def commit(session: AsyncSession) -> None:
    """Make the session's work durable.

    Raises:
        OutcomeUnknown: the connection broke while COMMIT was under way.
    """
    await session.flush()  # what breaks here has certainly not been committed
    try:
        await session.commit()
    except (DBAPIError, DatabaseUnavailable) as error:
        if isinstance(error, DBAPIError) and is_verdict(error):
            raise
        raise OutcomeUnknown from error
