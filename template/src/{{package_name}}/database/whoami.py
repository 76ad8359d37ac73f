"""As whom the service reaches its database, and how well both know each other."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from .login import Login
from .migrate import reading

# Who may SET ROLE; before PostgreSQL 16 each member might.
_WHO = """
    SELECT
        session_user AS login,
        current_database() AS database,
        (SELECT rolvaliduntil FROM pg_roles WHERE rolname = session_user
            AND rolvaliduntil < 'infinity') AS valid_until,
        (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AS superuser,
        ARRAY(
            SELECT rolname FROM pg_roles
            WHERE pg_has_role(session_user, oid, $1) AND rolname <> session_user
            ORDER BY rolname
        ) AS roles
"""


@dataclass(frozen=True)
class Whoami:
    """What PostgreSQL and the source of the credential say; no secret."""

    login: str
    database: str
    server: str
    """Host and port, as the URL has them; empty where it leaves them to the driver."""
    credentials: str
    """The kind of source."""
    expires_at: datetime | None
    tls: str | None
    """The protocol's version; none where nothing is encrypted."""
    sslmode: str | None
    """How far the server has to prove who it is; none where that is the driver's default."""
    superuser: bool
    roles: list[str]
    """Those that it may become."""


async def read(login: Login, credentials: str) -> Whoami:
    """Log in, and ask."""
    async with reading(login) as connection:
        await connection.execute("SET LOCAL ROLE NONE")  # or we might not see ourselves
        privilege = "SET" if connection.get_server_version() >= (16,) else "MEMBER"
        (row,) = await connection.fetch(_WHO, privilege)
        # That of our connection; PostgreSQL would tell of a pooler's.
        driver: Any = connection
        tls = driver._transport.get_extra_info("ssl_object")
    expires_at = await login.expires_at()
    ends = None if math.isinf(expires_at) else datetime.fromtimestamp(expires_at, UTC)
    return Whoami(
        login=row["login"],
        database=row["database"],
        server=login.place,
        credentials=credentials,
        expires_at=ends or row["valid_until"],
        tls=tls and tls.version(),
        sslmode=login.sslmode,
        superuser=row["superuser"],
        roles=[] if row["superuser"] else row["roles"],
    )


def as_json(found: Whoami) -> str:
    """One document."""
    return json.dumps(asdict(found), indent=2, default=datetime.isoformat)


def as_text(found: Whoami) -> str:
    """One line for each answer."""
    return "\n".join(f"{title:<12} {text}" for title, text in _lines(found))


def _lines(found: Whoami) -> Iterator[tuple[str, str]]:
    yield "login", f"{found.login}{' (superuser)' if found.superuser else ''}"
    yield "database", f"{found.database} at {found.server or 'the default server'}"
    yield "credentials", found.credentials
    yield "expires", found.expires_at.isoformat(" ", "seconds") if found.expires_at else "never"
    verified = {"verify-full": "server verified", "verify-ca": "authority verified"}
    trust = verified.get(found.sslmode or "", "server not verified")
    yield "encryption", f"{found.tls}, {trust}" if found.tls else "none"
    yield "may become", ", ".join(found.roles) or ("any" if found.superuser else "nobody else")
