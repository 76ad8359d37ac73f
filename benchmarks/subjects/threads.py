# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi", "psycopg[binary]", "pyjwt", "sqlmodel", "uvicorn[standard]"]
# ///
"""A popular shape: SQLModel in FastAPI's thread pool, with a query for the user of each request."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session, SQLModel, create_engine, select

KEY = "of the service itself, as long as HS256 asks for"
DATABASE_URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
engine = create_engine(DATABASE_URL, pool_size=int(os.environ["POOL_SIZE"]), max_overflow=0)
TOKEN = jwt.encode({"sub": "ada"}, KEY, algorithm="HS256")


def now() -> datetime:
    return datetime.now(UTC)


class User(SQLModel, table=True):
    __tablename__ = "users"

    name: str = Field(primary_key=True)
    is_active: bool


class NoteCreate(SQLModel):
    title: str = Field(min_length=1, max_length=200)
    body: str = ""


class NoteUpdate(SQLModel):
    body: str


class Note(SQLModel, table=True):
    __tablename__ = "notes"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner: str
    title: str
    body: str
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


class NoteRead(SQLModel):
    id: UUID
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


class Page(SQLModel):
    items: list[NoteRead]
    next: UUID | None


def session() -> Iterator[Session]:
    with Session(engine) as found:
        yield found


Database = Annotated[Session, Depends(session)]
Bearer = Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="login"))]


def user(session: Database, token: Bearer) -> User:
    try:
        name = jwt.decode(token, KEY, algorithms=["HS256"])["sub"]
    except jwt.InvalidTokenError as error:
        raise HTTPException(403) from error
    found = session.get(User, name)
    if found is None or not found.is_active:
        raise HTTPException(404)
    return found


CurrentUser = Annotated[User, Depends(user)]
app = FastAPI()


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@app.get("/token")
async def token() -> dict[str, str]:
    return {"access_token": TOKEN}


def owned(session: Session, user: User, note_id: UUID) -> Note:
    note = session.get(Note, note_id)
    if note is None or note.owner != user.name:
        raise HTTPException(404)
    return note


@app.get("/notes/{note_id}", response_model=NoteRead)
def get_note(session: Database, user: CurrentUser, note_id: UUID) -> Any:
    return owned(session, user, note_id)


@app.get("/notes", response_model=Page)
def list_notes(session: Database, user: CurrentUser, limit: int = 50) -> Any:
    statement = select(Note).where(Note.owner == user.name).order_by(Note.id).limit(limit + 1)
    rows = session.exec(statement).all()
    return {"items": rows[:limit], "next": rows[limit - 1].id if len(rows) > limit else None}


@app.post("/notes", status_code=201, response_model=NoteRead)
def create_note(session: Database, user: CurrentUser, data: NoteCreate) -> Any:
    note = Note.model_validate(data, update={"owner": user.name})
    session.add(note)
    try:
        session.commit()
    except IntegrityError as error:
        raise HTTPException(409) from error
    session.refresh(note)
    return note


@app.patch("/notes/{note_id}", response_model=NoteRead)
def update_note(session: Database, user: CurrentUser, note_id: UUID, data: NoteUpdate) -> Any:
    note = owned(session, user, note_id)
    note.sqlmodel_update(data, update={"updated_at": now()})
    session.add(note)
    session.commit()
    session.refresh(note)
    return note


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
