# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg", "fastapi", "orjson", "uvicorn[standard]"]
# ///
"""The floor: FastAPI with typed schemas around the limit's transaction.

As in the limit no token is read, and nothing is logged: a service of FastAPI that keeps any promise
beyond the transaction cannot be faster than this.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from limit import CREATE, ONE, PAGE, READING, UPDATE, WRITING, connections, run
from schemas import NoteCreate, NoteRead, NoteUpdate, Page


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connections() as app.state.pool:
        yield


async def pool(request: Request) -> Any:
    return request.app.state.pool


Pool = Annotated[Any, Depends(pool)]
app = FastAPI(lifespan=lifespan)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/notes/{note_id}")
async def get_note(pool: Pool, note_id: UUID) -> NoteRead:
    rows = await run(pool, READING, ONE, note_id)
    if not rows:
        raise HTTPException(404)
    return NoteRead(**rows[0])


@app.get("/notes")
async def list_notes(pool: Pool, limit: int = 50) -> Page:
    rows = await run(pool, READING, PAGE)
    items = [NoteRead(**row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)


@app.post("/notes", status_code=201)
async def create_note(pool: Pool, data: NoteCreate) -> NoteRead:
    try:
        return NoteRead(**(await run(pool, WRITING, CREATE, data.title, data.body))[0])
    except asyncpg.UniqueViolationError as error:
        raise HTTPException(409) from error


@app.patch("/notes/{note_id}")
async def update_note(pool: Pool, note_id: UUID, data: NoteUpdate) -> NoteRead:
    rows = await run(pool, WRITING, UPDATE, note_id, data.body)
    if not rows:
        raise HTTPException(404)
    return NoteRead(**rows[0])


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
