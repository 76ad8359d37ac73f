"""What can be done with notes."""

from uuid import UUID

from sqlalchemy import bindparam, delete, insert, select

from ..database.compiled import Compiled
from ..database.transaction import Session
from ..pagination import Page, PageQuery, any_page
from .models import Note
from .problems import NoteNotFound
from .schemas import NoteCreate, NoteRead, NoteUpdate

# The statements of most requests are compiled once. The others are the ORM's, which tracks what
# changes and takes two to three times as long.
_CREATE = Compiled(NoteRead, insert(Note), sets=NoteCreate.model_fields)
_GET = Compiled(NoteRead, select(Note).where(Note.id == bindparam("id")))
_PAGE = Compiled(NoteRead, any_page(select(Note), Note.id))


async def create(session: Session, data: NoteCreate) -> NoteRead:
    """Store a new note."""
    return await _CREATE.one(session, **data.model_dump())


async def get(session: Session, note_id: UUID) -> NoteRead:
    """The note with this id.

    Raises:
        NoteNotFound: there is none.
    """
    note = await _GET.first(session, id=note_id)
    if note is None:
        raise NoteNotFound
    return note


async def page(session: Session, query: PageQuery) -> Page[NoteRead]:
    """A page of the notes, in the order in which they were created."""
    return Page[NoteRead].of(await _PAGE.all(session, **query.parameters), query)


async def update(session: Session, note_id: UUID, data: NoteUpdate) -> Note:
    """Change the fields that are given.

    The row is locked first, so that of two changes at once neither is lost.

    Raises:
        NoteNotFound: there is no such note.
    """
    note = await session.get(Note, note_id, with_for_update=True)
    if note is None:
        raise NoteNotFound
    for field, value in data.model_dump(exclude_none=True).items():
        setattr(note, field, value)
    await session.flush()
    return note


async def remove(session: Session, note_id: UUID) -> None:
    """Delete the note.

    Raises:
        NoteNotFound: there is no such note.
    """
    deleted = await session.scalar(delete(Note).where(Note.id == note_id).returning(Note.id))
    if deleted is None:
        raise NoteNotFound
