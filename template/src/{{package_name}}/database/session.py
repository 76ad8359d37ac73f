"""One session per request.

A session takes a connection with its first statement, not before: a request that is refused
earlier costs none. ``scope="function"`` ends it before the response is sent, so that a failing
COMMIT is an error the client sees.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from .engine import Database


def database(request: Request) -> Database:
    """The application's database, for work that outlives the request's own session."""
    found: Database = request.app.state.database
    return found


async def _read(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[AsyncSession]:
    async with database.read() as session:
        yield session


async def _write(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[AsyncSession]:
    async with database.write() as session:
        yield session


ReadSession = Annotated[AsyncSession, Depends(_read, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(_write, scope="function")]
