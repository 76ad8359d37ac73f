"""Path operations of notes."""

from typing import Annotated
from uuid import UUID

from fastapi import Request, Response, Security

from ..database.claims import IdentifiedSession
from ..database.session import reading, writing
from ..pagination import Page, PageQuery
from ..problems import responses
from ..routing import Router, path_to
from . import service
from .problems import NoteNotFound, NoteTitleTaken
from .schemas import NoteCreate, NoteRead, NoteUpdate

router = Router(prefix="/notes", tags=["notes"])

Reading = Annotated[IdentifiedSession, Security(reading, scopes=["notes:read"])]
Writing = Annotated[IdentifiedSession, Security(writing, scopes=["notes:write"])]


@router.post("", status_code=201, responses=responses(NoteTitleTaken))
async def create_note(
    session: Writing, data: NoteCreate, request: Request, response: Response
) -> NoteRead:
    """Create a note owned by the caller."""
    note = await service.create(session, data)
    response.headers["Location"] = path_to(request, "get_note", note_id=note.id)
    return note


@router.get("")
async def list_notes(session: Reading, query: PageQuery) -> Page[NoteRead]:
    """List the caller's notes, oldest first."""
    return await service.page(session, query)


@router.get("/{note_id:uuid}", responses=responses(NoteNotFound))
async def get_note(session: Reading, note_id: UUID) -> NoteRead:
    """Read a note of the caller's."""
    return await service.get(session, note_id)


@router.patch("/{note_id:uuid}", responses=responses(NoteNotFound, NoteTitleTaken))
async def update_note(session: Writing, note_id: UUID, data: NoteUpdate) -> NoteRead:
    """Change a note of the caller's."""
    return NoteRead.model_validate(await service.update(session, note_id, data))


@router.delete("/{note_id:uuid}", status_code=204, responses=responses(NoteNotFound))
async def delete_note(session: Writing, note_id: UUID) -> None:
    """Delete a note of the caller's."""
    await service.remove(session, note_id)
