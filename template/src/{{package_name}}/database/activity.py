"""Who does what in the database, for how long, and who keeps whom waiting."""

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from .login import Login
from .statements import shape

# Of another login PostgreSQL shows nothing but who it is, unless to members of pg_read_all_stats.
# https://www.postgresql.org/docs/current/monitoring-stats.html
_HIDDEN = "<insufficient privilege>"
# To ask for blockers stops the lock manager for a moment, so only those who wait for a lock are
# asked about.
_BACKENDS = """
    SELECT
        pid,
        application_name AS application,
        usename AS login,
        state,
        round(extract(epoch FROM clock_timestamp() - CASE state
            WHEN 'active' THEN query_start ELSE state_change END), 3)::float8 AS state_seconds,
        round(extract(epoch FROM clock_timestamp() - xact_start), 3)::float8 AS transaction_seconds,
        nullif(concat_ws(': ', wait_event_type, wait_event), '') AS waits_for,
        CASE WHEN wait_event_type = 'Lock' OR query = $1
            THEN pg_blocking_pids(pid) ELSE '{}' END AS blocked_by,
        query AS statement,
        backend_start AS connected_at,
        query_start AS statement_at
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename IS NOT NULL AND pid <> pg_backend_pid()
        AND coalesce(backend_type, 'client backend') = 'client backend'
    ORDER BY xact_start NULLS LAST, state_change DESC
"""
_ABOUT = "SELECT now() AS at, current_database() AS database, current_user AS seen_by"
_CANCEL = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND backend_start IS NOT DISTINCT FROM $2 AND query_start IS NOT DISTINCT FROM $3
"""

_TITLES = ("pid", "state", "for", "transaction", "login", "application", "waits for", "statement")


@dataclass(frozen=True, slots=True)
class Backend:
    """One connection, and what the server does for it."""

    pid: int
    application: str
    """In a transaction of a request: its id and its path operation."""
    login: str
    state: str | None
    state_seconds: float | None
    """How long it has been in this state: the age of its statement, where it is active."""
    transaction_seconds: float | None
    waits_for: str | None
    blocked_by: list[int]
    statement: str | None
    """The one it runs, or the last one it ran; without any value."""
    connected_at: datetime | None
    statement_at: datetime | None

    @property
    def idle(self) -> bool:
        """It runs no statement."""
        return (self.state or "").startswith("idle")


@dataclass(frozen=True, slots=True)
class Activity:
    """What the connections of a database do, those of the longest transactions first."""

    at: datetime
    database: str
    seen_by: str
    backends: list[Backend]


async def read(login: Login) -> Activity:
    """What happens in the database right now."""
    connection = await login.connect(timeout=5, command_timeout=5)
    try:
        (about,) = await connection.fetch(_ABOUT)
        rows = await connection.fetch(_BACKENDS, _HIDDEN)
    finally:
        await connection.close()
    backends = [Backend(**{**row, "statement": _shown(row["statement"])}) for row in rows]
    return Activity(**about, backends=backends)


async def cancel(login: Login, backend: Backend) -> bool:
    """Cancel the statement of a backend; false when that has ended meanwhile."""
    connection = await login.connect(timeout=5, command_timeout=5)
    try:
        known_by = (backend.pid, backend.connected_at, backend.statement_at)
        return bool(await connection.fetchval(_CANCEL, *known_by))
    finally:
        await connection.close()


def as_json(activity: Activity, indent: int | None = None) -> str:
    """For programs."""
    return json.dumps(asdict(activity), default=datetime.isoformat, indent=indent)


def as_text(activity: Activity) -> str:
    """A line for each backend that is not idle, and a tree of those who wait for others."""
    busy = [backend for backend in activity.backends if backend.state != "idle"]
    count = len(activity.backends)
    clock = activity.at.astimezone().time().isoformat("seconds")
    text = f"{clock} {activity.database}: connections of others: {count}"
    if idle := count - len(busy):
        text += f", idle: {idle}"
    if busy:
        text += f"\n\n{as_table(busy)}"
    if tree := "\n".join(_tree(activity.backends)):
        text += f"\n\nWho waits for whom:\n{_printable(tree)}"
    if hidden := sum(backend.statement is None for backend in activity.backends):
        text += (
            f"\n\nPostgreSQL hides from {activity.seen_by} what {hidden} of them do.\n"
            f"hint: GRANT pg_read_all_stats TO {activity.seen_by}, or ask as another login"
        )
    return text


def as_table(backends: list[Backend]) -> str:
    """A line for each backend; who is idle in a transaction, and keeps its locks, stands out."""
    lines = [_TITLES, *map(_cells, backends)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return _printable("\n".join("  ".join(line).rstrip() for line in padded))


def _cells(backend: Backend) -> tuple[str, ...]:
    state = backend.state or "-"
    return (
        str(backend.pid),
        state.upper() if state.startswith("idle in") else state,
        _age(backend.state_seconds),
        _age(backend.transaction_seconds),
        backend.login,
        backend.application or "-",
        backend.waits_for or "-",
        "-" if backend.statement is None else shape(backend.statement, 80),
    )


def _tree(backends: list[Backend]) -> Iterator[str]:
    """Everybody who waits, once, below one of those it waits for."""
    known = {backend.pid: backend for backend in backends}
    waiting = {backend.pid: dict.fromkeys(backend.blocked_by) for backend in backends}
    behind: defaultdict[int, list[int]] = defaultdict(list)
    for pid, blockers in waiting.items():
        for blocker in blockers:
            behind[blocker].append(pid)
    below: dict[int, list[int]] = {}
    above: dict[int, int | None] = {}
    # Who blocks and waits for nobody is at the top; those who wait for each other have no top.
    for top in sorted(behind, key=lambda pid: bool(waiting.get(pid))):
        queue = deque([] if top in above else [top])
        above.setdefault(top, None)
        while queue:
            pid = queue.popleft()
            below[pid] = [other for other in behind[pid] if other not in above]
            above |= dict.fromkeys(below[pid], pid)
            queue += below[pid]
    left = [(0, pid) for pid, parent in above.items() if parent is None][::-1]
    while left:
        depth, pid = left.pop()
        others = [other for other in waiting.get(pid, ()) if other != above[pid]]
        yield f"{'  ' * depth}{pid} {_describe(pid, known.get(pid))}{_besides(others)}"
        left += [(depth + 1, other) for other in reversed(below[pid])]


def _describe(pid: int, backend: Backend | None) -> str:
    if backend is None:
        return "a prepared transaction" if pid == 0 else "not a connection of this database"
    state = f"{_cells(backend)[1]} for {_age(backend.state_seconds)}"
    return f"{backend.application or backend.login} ({state})"


def _besides(pids: list[int]) -> str:
    more = f" and {len(pids) - 3} more" if len(pids) > 3 else ""
    return f", waits for {', '.join(map(str, pids[:3]))}{more}, too" if pids else ""


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _shown(statement: str) -> str | None:
    if statement == _HIDDEN:
        return None
    # Our message carries BEGIN and all that a transaction needs, which says nothing to anybody.
    return "BEGIN" if statement.startswith("BEGIN") else shape(statement)


def _printable(text: str) -> str:
    """The text without what a terminal would obey: a name in the database may hold that."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)
