"""Statements as a log or a screen may show them, and which of them are slow.

What is shown of a statement is its shape: no parameter, and no literal that stood in it.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..settings import Settings

# PostgreSQL's lexical rules, but whatever is ambiguous counts as a literal up to the end: a
# statement that was cut off, a nested comment, and \' where only a setting of the session says
# whether it ends the string.
# https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n\r]* | /\*(?:[^*/]|\*(?!/)|/(?!\*))*(?:\*/|.*) )
    | (?P<literal>
          [eE]'(?:[^'\\]|''|\\.)*(?:'|.*)
        | (?:[bBnNxX]|[uU]&)?'(?:[^'\\]|''|\\(?!'))*(?:'|.*)
        | \$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$.*?(?:\$(?P=tag)\$|\Z)
        | \.?\d[\w.]*(?:(?<=[eE])[+-]\w+)?
      )
    | "(?:[^"]|"")*"?
    | \$\d+
    | [A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*
    | \(cost=\d+\.\d+\.\.\d+\.\d+[ ]rows=\d+[ ]width=\d+\)  # of a plan, no SQL
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

# EXPLAIN that needs no values of the parameters, since 16, cannot be had by the protocol of
# prepared statements, which wants them. What it fails of is rolled back, and the transaction lives.
_EXPLAIN = text("""
    DO $$
    DECLARE line text; plan text := '';
    BEGIN
        BEGIN
            FOR line IN
                EXECUTE 'EXPLAIN (GENERIC_PLAN) ' || current_setting('slow.statement')
            LOOP
                plan := plan || line || chr(10);
            END LOOP;
        EXCEPTION WHEN OTHERS OR query_canceled THEN plan := '';
        END;
        PERFORM set_config('slow.plan', plan, true);
    END $$
""")
_HAND_OVER = text("SELECT set_config('slow.statement', :statement, true)")
_PLAN = text("SELECT current_setting('slow.plan')")

log = structlog.get_logger()


def shape(sql: str, length: int = 1000) -> str:
    """The statement on one line, cut at a length, and without any value."""
    line = " ".join(_without_values(sql[: 8 * length]).split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


class SlowStatements:
    """Logs each statement that takes too long, one that fails of it included.

    Args:
        settings: how long that is, and whether PostgreSQL is asked for its plan.
    """

    def __init__(self, settings: Settings) -> None:
        self.limit = settings.slow_statement
        self._explain = settings.explain_slow

    def succeeded(self, connection: Connection, seconds: float, sql: str) -> None:
        """Log a statement that has brought what it should."""
        if seconds >= self.limit:
            plan = self._explain and _plan(connection, sql)
            _report(seconds, sql, **({"plan": plan} if plan else {}))

    def failed(self, seconds: float, sql: str, error: BaseException) -> None:
        """Log one that has not."""
        if seconds >= self.limit:
            code = getattr(error, "sqlstate", None)
            _report(
                seconds, sql, **({"sqlstate": code} if code else {"error": type(error).__name__})
            )

    def watch(self, engine: AsyncEngine) -> None:
        """Look at all statements that go through SQLAlchemy."""

        def timed(execute: Callable[..., None]) -> Callable[..., bool]:
            def run(cursor: Any, sql: str, parameters: Any, context: Any) -> bool:
                started = time.perf_counter()
                try:
                    execute(cursor, sql, parameters, context)
                except BaseException as error:
                    self.failed(time.perf_counter() - started, sql, error)
                    raise
                if "explains" not in context.execution_options:
                    self.succeeded(context.root_connection, time.perf_counter() - started, sql)
                return True  # it has been executed

            return run

        # In the place of the driver's own, this costs 2 us; before_cursor_execute and its
        # counterpart cost 12, since SQLAlchemy then prepares for events of all kinds.
        dialect = engine.sync_engine.dialect
        event.listen(engine.sync_engine, "do_execute", timed(dialect.do_execute))
        event.listen(engine.sync_engine, "do_executemany", timed(dialect.do_executemany))


def _report(seconds: float, sql: str, **more: str) -> None:
    log.warning(
        "slow_statement", duration_ms=round(seconds * 1000, 1), statement=shape(sql), **more
    )


def _plan(connection: Connection, sql: str) -> str:
    """How PostgreSQL would run it whatever the parameters are; nothing where it cannot tell."""
    if (connection.dialect.server_version_info or ()) < (16,):
        return ""
    own = {"explains": True}
    connection.execute(_HAND_OVER, {"statement": sql}, execution_options=own)
    connection.execute(_EXPLAIN, execution_options=own)
    return _without_values(connection.scalar(_PLAN, execution_options=own)).rstrip()


def _without_values(sql: str) -> str:
    shown = {"literal": "?", "comment": " "}
    return _TOKEN.sub(lambda token: shown.get(token.lastgroup or "", token[0]), sql)
