# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "asyncpg", "fastapi", "pyjwt[crypto]", "sqlalchemy[asyncio]>=2", "uvicorn[standard]",
# ]
# ///
"""A popular shape: the usual asynchronous template.

ORM, a session in a dependency that commits, pre-ping, one SET after the other, a middleware of
BaseHTTPMiddleware, and the token's signature verified each time.
"""

import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from schemas import NoteCreate, NoteRead, NoteUpdate, Page
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.middleware.base import BaseHTTPMiddleware

DATABASE_URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
engine = create_async_engine(
    DATABASE_URL, pool_pre_ping=True, pool_size=int(os.environ["POOL_SIZE"]), max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
log = logging.getLogger("requests")


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    owner: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


KEYS = jwt.PyJWKClient(os.environ["JWKS"])  # fetches them once


async def subject(
    bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    token = bearer.credentials
    try:
        key = KEYS.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["RS256"], options={"verify_aud": False})
    except jwt.PyJWTError as error:
        raise HTTPException(401) from error
    return str(claims["sub"])


async def session(subject: Annotated[str, Depends(subject)]) -> AsyncIterator[AsyncSession]:
    async with sessions() as found:
        await found.execute(text("SET LOCAL ROLE anybody"))
        await found.execute(text("SET LOCAL statement_timeout = '5s'"))
        await found.execute(text("SELECT set_config('request.subject', :s, true)"), {"s": subject})
        try:
            yield found
            await found.commit()
        except Exception:
            await found.rollback()
            raise


Session = Annotated[AsyncSession, Depends(session)]


class RequestId(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        started = time.perf_counter()
        response = await call_next(request)
        response.headers["X-Request-ID"] = uuid4().hex
        log.info("%s %s %.1f", request.method, request.url.path, time.perf_counter() - started)
        return response


app = FastAPI()
app.add_middleware(RequestId)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "alive"}


async def found(session: AsyncSession, note_id: UUID) -> Note:
    note = await session.get(Note, note_id)
    if note is None:
        raise HTTPException(404)
    return note


@app.get("/notes/{note_id}", response_model=NoteRead)
async def get_note(session: Session, note_id: UUID) -> Any:
    return await found(session, note_id)


@app.get("/notes", response_model=Page)
async def list_notes(session: Session, limit: int = 50) -> Any:
    statement = select(Note).where(Note.owner == "ada").order_by(Note.id).limit(limit + 1)
    rows = (await session.scalars(statement)).all()
    return {"items": rows[:limit], "next": rows[limit - 1].id if len(rows) > limit else None}


@app.post("/notes", status_code=201, response_model=NoteRead)
async def create_note(session: Session, data: NoteCreate) -> Any:
    note = Note(owner="ada", **data.model_dump())
    session.add(note)
    try:
        await session.flush()
    except IntegrityError as error:
        raise HTTPException(409) from error
    await session.refresh(note)
    return note


@app.patch("/notes/{note_id}", response_model=NoteRead)
async def update_note(session: Session, note_id: UUID, data: NoteUpdate) -> Any:
    note = await found(session, note_id)
    note.body = data.body
    await session.flush()
    await session.refresh(note)
    return note


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
