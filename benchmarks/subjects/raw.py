# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg", "fastapi", "uvicorn[standard]"]
# ///
"""A popular shape: FastAPI on the driver, each statement by itself, no identity."""

import os
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import HTTPException
from pooled import Pool, application
from schemas import NoteCreate, NoteRead, NoteUpdate, Page

COLUMNS = "id, title, body, created_at, updated_at"


def connections() -> asyncpg.Pool:
    size = int(os.environ["POOL_SIZE"])
    return asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=size)


app = application(connections)


@app.get("/notes/{note_id}")
async def get_note(pool: Pool, note_id: UUID) -> NoteRead:
    row = await pool.fetchrow(f"SELECT {COLUMNS} FROM notes WHERE id = $1", note_id)
    if row is None:
        raise HTTPException(404)
    return NoteRead(**row)


@app.get("/notes")
async def list_notes(pool: Pool, limit: int = 50) -> Page:
    rows = await pool.fetch(
        f"SELECT {COLUMNS} FROM notes WHERE owner = 'ada' ORDER BY id LIMIT $1", limit + 1
    )
    items = [NoteRead(**row) for row in rows[:limit]]
    return Page(items=items, next=items[-1].id if len(rows) > limit else None)


@app.post("/notes", status_code=201)
async def create_note(pool: Pool, data: NoteCreate) -> NoteRead:
    insert = f"INSERT INTO notes (owner, title, body) VALUES ('ada', $1, $2) RETURNING {COLUMNS}"
    try:
        return NoteRead(**await pool.fetchrow(insert, data.title, data.body))
    except asyncpg.UniqueViolationError as error:
        raise HTTPException(409) from error


@app.patch("/notes/{note_id}")
async def update_note(pool: Pool, note_id: UUID, data: NoteUpdate) -> NoteRead:
    update = f"UPDATE notes SET body = $2, updated_at = now() WHERE id = $1 RETURNING {COLUMNS}"
    row = await pool.fetchrow(update, note_id, data.body)
    if row is None:
        raise HTTPException(404)
    return NoteRead(**row)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
