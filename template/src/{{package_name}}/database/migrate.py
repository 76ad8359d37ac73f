"""Roles and migrations, from a checkout or from an installed wheel."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

SERVICE = __name__.partition(".")[0]
OWNER = f"{SERVICE}_owner"
APPLICATION = f"{SERVICE}_app"

# Seconds that one of several replicas that start at once waits for the one that migrates, and that
# a migration waits for a lock: readers queue up behind it meanwhile.
_TURN = 60
_LOCK = 2


class RolesMissing(RuntimeError):
    """The roles that own and use the tables do not exist yet."""


def roles() -> str:
    """SQL that creates the roles of the service; idempotent."""
    return files(__package__).joinpath("roles.sql").read_text("utf-8")


async def create_roles(owner_url: str) -> None:
    """Create the roles of the service, as a login that may."""
    connection = await asyncpg.connect(owner_url, timeout=5, command_timeout=10)
    try:
        await connection.execute(roles())
    finally:
        await connection.close()


async def upgrade(owner_url: str) -> None:
    """Bring the database to the newest revision.

    Raises:
        RolesMissing: run ``db roles`` first.
    """
    await asyncio.to_thread(command.upgrade, config(owner_url), "head")


async def pending(database_url: str) -> list[str]:
    """Revisions that the database does not have yet, oldest first."""
    script = ScriptDirectory.from_config(config(database_url))
    async with _connected(
        lambda: asyncpg.connect(database_url, timeout=5, command_timeout=5)
    ) as connection:
        context = await connection.run_sync(MigrationContext.configure)
        heads = await connection.run_sync(lambda _: context.get_current_heads())
    missing = script.iterate_revisions("heads", heads or "base")
    return [revision.revision for revision in missing][::-1]


def config(url: str) -> Config:
    """Alembic's configuration for a database; ``env.py`` finds the URL in its attributes."""
    found = Config(attributes={"url": url})
    found.set_main_option("script_location", f"{__package__}:migrations")
    found.set_main_option("path_separator", "os")
    return found


@asynccontextmanager
async def migrating(owner_url: str) -> AsyncIterator[AsyncConnection]:
    """A connection that acts as the owner; of all that ask for one, one at a time gets it.

    Raises:
        RolesMissing: the owner does not exist yet.
    """

    async def connect() -> asyncpg.Connection:
        connection = await asyncpg.connect(owner_url, timeout=5)
        try:
            await _take_turn_as_owner(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async with _connected(connect) as connection:
        yield connection


async def _take_turn_as_owner(connection: asyncpg.Connection) -> None:
    await connection.execute(f"SET lock_timeout = '{_TURN}s'")
    lock = "SELECT pg_advisory_lock(hashtext($1))"
    await connection.execute(lock, f"{SERVICE} migrations", timeout=_TURN + 5)
    await connection.execute(f"SET lock_timeout = '{_LOCK}s'")
    if not await connection.fetchval("SELECT to_regrole($1)", OWNER):
        raise RolesMissing(f"role {OWNER} does not exist")
    await connection.execute(f"SET ROLE {OWNER}")


@asynccontextmanager
async def _connected(
    connect: Callable[[], Awaitable[asyncpg.Connection]],
) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
