"""Path operations of notes."""

from uuid import UUID

from fastapi import Request, Response

from ..database.session import ReadSession, WriteSession
from ..pagination import Page, PageQuery
from ..problems import responses
from ..routing import Router, path_to
from . import service
from .problems import NoteNotFound, NoteTitleTaken
from .schemas import NoteCreate, NoteRead, NoteUpdate

router = Router(prefix="/notes", tags=["notes"])


@router.post("", status_code=201, responses=responses(NoteTitleTaken))
async def create_note(
    session: WriteSession, data: NoteCreate, request: Request, response: Response
) -> NoteRead:
    """Create a note."""
    note = await service.create(session, data)
    response.headers["Location"] = path_to(request, "get_note", note_id=note.id)
    return note


@router.get("")
async def list_notes(session: ReadSession, query: PageQuery) -> Page[NoteRead]:
    """List notes, oldest first."""
    return await service.page(session, query)


@router.get("/{note_id:uuid}", responses=responses(NoteNotFound))
async def get_note(session: ReadSession, note_id: UUID) -> NoteRead:
    """Read a note."""
    return await service.get(session, note_id)


@router.patch("/{note_id:uuid}", responses=responses(NoteNotFound, NoteTitleTaken))
async def update_note(session: WriteSession, note_id: UUID, data: NoteUpdate) -> NoteRead:
    """Change a note."""
    return NoteRead.model_validate(await service.update(session, note_id, data))


@router.delete("/{note_id:uuid}", status_code=204, responses=responses(NoteNotFound))
async def delete_note(session: WriteSession, note_id: UUID) -> None:
    """Delete a note."""
    await service.remove(session, note_id)
