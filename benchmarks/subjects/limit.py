# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg", "orjson", "uvicorn[standard]"]
# ///
"""The limit: bare ASGI on the driver, with a transaction, a role and claims for each request.

Nothing is checked, nothing is validated, no token is read: whoever promises one clean transaction
per request in Python cannot be faster than this.
"""

import os
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvicorn

BEGIN = """
    BEGIN ISOLATION LEVEL READ COMMITTED {mode}; SET LOCAL ROLE anybody;
    SELECT set_config('request.subject', 'ada', true)
"""
READING, WRITING = BEGIN.format(mode="READ ONLY"), BEGIN.format(mode="READ WRITE")
ONE = "SELECT id, title, body, created_at, updated_at FROM notes WHERE id = $1 AND owner = 'ada'"
PAGE = """
    SELECT id, title, body, created_at, updated_at FROM notes WHERE owner = 'ada'
    ORDER BY id LIMIT 51
"""
CREATE = """
    INSERT INTO notes (owner, title, body) VALUES ('ada', $1, $2)
    RETURNING id, title, body, created_at, updated_at
"""
UPDATE = """
    UPDATE notes SET body = $2, updated_at = now() WHERE id = $1 AND owner = 'ada'
    RETURNING id, title, body, created_at, updated_at
"""
HEADERS = [(b"content-type", b"application/json")]


class Connection(asyncpg.Connection):
    """One that goes back to the pool without a round trip."""

    def get_reset_query(self) -> str:
        """COMMIT has ended all that there was."""
        return ""


def connections() -> asyncpg.Pool:
    """The pool, which opens when it is entered."""
    return asyncpg.create_pool(
        os.environ["DATABASE_URL"],
        min_size=0,
        max_size=int(os.environ["POOL_SIZE"]),
        connection_class=Connection,
    )


async def run(pool: asyncpg.Pool, begin: str, statement: str, *parameters: object) -> Any:
    """The rows of a statement, in a transaction of its own."""
    async with pool.acquire() as connection:
        await connection.execute(begin)
        try:
            rows = await connection.fetch(statement, *parameters)
        except BaseException:
            await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")
        return rows


class Application:
    """Routes by hand."""

    pool: asyncpg.Pool

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path, method = scope["path"], scope["method"]
        status = 200
        if path == "/livez":
            found: Any = {"status": "alive"}
        elif method == "POST":
            data = orjson.loads((await receive())["body"])
            try:
                rows = await run(self.pool, WRITING, CREATE, data["title"], data["body"])
                status, found = 201, dict(rows[0])
            except asyncpg.UniqueViolationError:
                status, found = 409, {"title": "A note with this title already exists"}
        elif method == "PATCH":
            data = orjson.loads((await receive())["body"])
            found = dict((await run(self.pool, WRITING, UPDATE, UUID(path[7:]), data["body"]))[0])
        elif path == "/notes":
            rows = await run(self.pool, READING, PAGE)
            items = [dict(row) for row in rows[:50]]
            found = {"items": items, "next": items[-1]["id"] if len(rows) > 50 else None}
        else:
            found = dict((await run(self.pool, READING, ONE, UUID(path[7:])))[0])
        body = orjson.dumps(found, default=str)
        length = (b"content-length", b"%d" % len(body))
        await send({
            "type": "http.response.start", "status": status, "headers": [*HEADERS, length]
        })  # fmt: skip
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with connections() as self.pool:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    uvicorn.run(Application(), port=port, access_log=False, log_level="warning")
