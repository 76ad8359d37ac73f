"""Whether the server has as many connections as all copies of the service may open."""

from ..settings import Settings
from .login import Login
from .migrate import reading

# What is left for logins like ours, of which a fifth stays free for people and migrations.
AVAILABLE = """
    SELECT least(
        floor(0.8 * (
            current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true), '0')::int
        ))::int,
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user),
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
    )
"""


async def available(login: Login) -> int:
    """How many connections the service may open there."""
    async with reading(login) as connection:
        return int(await connection.fetchval(AVAILABLE))


def shortage(settings: Settings, available: int) -> str | None:
    """What is wrong with these settings where so many connections are available; else nothing."""
    # Readers whose replica is away come to the primary.
    pools = 2 if settings.database_replica_url else 1
    wanted = settings.replicas * settings.workers * settings.pool_size * pools
    if settings.pgbouncer or wanted <= available:
        return None
    return (
        f"REPLICAS x WORKERS x POOL_SIZE{' x 2' if pools == 2 else ''} is {wanted}, and the server "
        f"has {available} connections for the service"
    )
