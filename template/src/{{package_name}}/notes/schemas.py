"""Notes as clients send and see them."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from ..schemas import Schema, Text

Title = Annotated[Text, Field(min_length=1, max_length=200)]
Body = Annotated[Text, Field(max_length=10_000)]


class NoteCreate(Schema):
    """A new note."""

    title: Title
    body: Body = ""


class NoteUpdate(Schema):
    """Changes to a note; what is absent or null stays as it is."""

    title: Title | None = None
    body: Body | None = None


class NoteRead(Schema):
    """A note."""

    id: UUID
    title: str
    body: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
