"""Who the caller is, told to PostgreSQL at the beginning of each transaction.

Claims are an ordinary setting, which any statement may change. So each connection has a key of its
own, and the claims are signed with it: SQL that somebody smuggles into a statement can read them,
but neither alter them nor carry them to another connection.
"""

import hmac
import secrets
from typing import Any

import asyncpg
from pydantic_core import to_json
from sqlalchemy import text

from ..identity.principal import ANONYMOUS, Principal
from .connection import Connection
from .login import Login
from .migrate import ANONYMOUS_ROLE, SERVICE, as_owner
from .transaction import Session

_EXPLAINED = 'see docs/guide.md, "Signed claims"'
_REMEDY = f"connect to the primary itself, or set SIGNED_CLAIMS=false: {_EXPLAINED}"
_BLOCK = 64  # bytes: what SHA-256 works on (RFC 2104, section 2)
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class ClaimsUnsigned(RuntimeError):
    """The database would not believe our claims; the message says why, and what to choose."""


class IdentifiedConnection(Connection):
    """A connection whose transactions run as the principal's role and carry its claims."""

    principal: Principal = ANONYMOUS
    leeway = 0
    key = b""
    padding = ""
    """As much as pg_stat_activity shows of a message: there the login could read everybody's
    claims, and wait for the connection on which they count."""

    @property
    def label(self) -> str:
        """Who this transaction belongs to, as an SQL string."""
        return self.unit.label(self.principal.role)

    @property
    def preamble(self) -> str:
        """SQL that goes with BEGIN: a clean state, the limits, the role, and the claims.

        The claims are written in hexadecimal digits: nothing a subject is called can end the
        string, whatever ``standard_conforming_strings`` was set to before.
        """
        role = f"{SERVICE}_{self.principal.role}"
        claims = to_json(_claims(self.principal, role, self.leeway)).hex()
        signature = hmac.digest(self.key, claims.encode(), "sha256").hex()
        return (
            f"{super().preamble}/*{self.padding}*/SELECT set_config('role','{role}',true),"
            f"set_config('identity.claims','{signature}{claims}',true);"
        )

    def forget(self) -> None:
        """Be nobody's, and nobody."""
        super().forget()
        self.principal = ANONYMOUS

    async def _begin(self, query: str) -> str:
        try:
            return await super()._begin(query)
        finally:
            self.principal = ANONYMOUS  # who begins a transaction says for whom, each time

    async def bind(self) -> None:
        """Give this connection its key, which PostgreSQL takes from the first who comes.

        Raises:
            ClaimsUnsigned: the server is read only, or this is not one connection but a pool.
        """
        key = secrets.token_bytes(_BLOCK)
        try:
            await self.execute(f"SET ROLE {ANONYMOUS_ROLE}")
            # As parameters: a literal would stand in pg_stat_activity.
            backend = await self.fetchval(
                "SELECT identity.bind($1, $2)", key.translate(_INNER), key.translate(_OUTER)
            )
            size = await self.fetchval(
                "SELECT setting::int FROM pg_settings WHERE name = 'track_activity_query_size'"
            )
            if backend != self.get_server_pid():
                raise ClaimsUnsigned(f"a pooler shares connections, and their keys: {_REMEDY}")
            await self.execute("RESET ROLE")
        except BaseException as error:
            self.terminate()
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                raise ClaimsUnsigned(f"this server is read only: {_REMEDY}") from None
            raise
        self.key, self.padding = key, " " * size


def _claims(principal: Principal, role: str, leeway: float) -> dict[str, Any]:
    # Twice the leeway: the token had it once, and this server has a clock of its own.
    return {
        "sub": principal.subject,
        "tenant": principal.tenant,
        "role": role,
        "exp": principal.expires + 2 * leeway,
    }


class IdentifiedSession(Session):
    """A session that runs as a principal."""

    def __init__(self, principal: Principal, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.principal = principal

    def introduce(self, driver: Any) -> None:
        """Tell a connection, too, whom to become."""
        super().introduce(driver)
        driver.principal = self.principal


async def distrust(session: Session, *, signed: bool) -> str | None:
    """Why the database is not to be trusted with our claims, or they not by it."""
    if not await session.scalar(text("SELECT identity.claims() IS NOT NULL")):
        return (
            "the database believes only claims that are signed: remove SIGNED_CLAIMS=false, or run "
            f"`db upgrade` with it, too: {_EXPLAINED}"
        )
    forge = text("SELECT set_config('identity.claims', repeat('0', 64) || :rest, true)")
    rest = (await session.scalar(text("SELECT current_setting('identity.claims')")))[64:]
    await session.execute(forge, {"rest": rest})
    if signed and await session.scalar(text("SELECT identity.claims() IS NOT NULL")):
        return (
            "the database believes claims that nobody has signed: run `db upgrade`, or set "
            f"SIGNED_CLAIMS=false for the service, too: {_EXPLAINED}"
        )
    return None


async def require_signatures(owner: Login, required: bool) -> bool:
    """Tell the database whether to believe only signed claims, and say whether that is new."""
    update = text("UPDATE identity.signing SET required = :required WHERE required <> :required")
    async with as_owner(owner) as connection, connection.begin():
        return bool((await connection.execute(update, {"required": required})).rowcount)
