"""What the subjects of `service.py` share: PostgreSQL, an OpenID provider, proxies that count.

Runs in the environment of a generated service, whose `dev` and `tests` it uses. Prints one line of
JSON, then one with the round trips of each proxy for each line that it reads, until its input ends.
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

import asyncpg
from dev import issuer, postgres
from tests.proxy import Proxy


async def main(databases: list[str]) -> None:
    """Start everything, tell of it, and count."""
    with postgres.running() as server, issuer.running() as provider:
        connection = await asyncpg.connect(server.url())
        for name in databases:
            await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        proxies = {name: Proxy(server.url(name)) for name in databases}
        for proxy in proxies.values():
            await proxy.up()
        tell({
            "postmaster": server.pid,
            "sockets": server.url("{database}", "{user}"),
            "ports": {name: proxy.port for name, proxy in proxies.items()},
            "environment": provider.environment,
            "jwks": f"{provider.url}/jwks",
            "token": provider.token(),
        })  # fmt: skip
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            tell({name: proxy.round_trips for name, proxy in proxies.items()})
        for proxy in proxies.values():
            await proxy.down()


def tell(document: object) -> None:
    """As one line of JSON."""
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
