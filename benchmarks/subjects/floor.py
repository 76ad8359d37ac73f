# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg", "fastapi", "orjson", "uvicorn[standard]"]
# ///
"""The floor: FastAPI with typed schemas around the limit's transaction.

Its path operations are called as the service calls them, by a plan. As in the limit no token is
read, and nothing is logged: a service that keeps any promise beyond the transaction cannot be
faster than this.
"""

import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import HTTPException
from fastapi.routing import APIRoute
from limit import CREATE, ONE, PAGE, READING, UPDATE, WRITING, connections, run
from pooled import Pool, application
from schemas import NoteCreate, NoteRead, NoteUpdate, Page

sys.path.append(str(Path(__file__).parents[2] / "template/src/{{package_name}}"))
from direct import direct


class Direct(APIRoute):
    """A path operation that is called by a plan."""

    def get_route_handler(self) -> Any:
        """FastAPI's, without the search."""
        return direct(super().get_route_handler())


app = application(connections)
app.router.route_class = Direct


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
