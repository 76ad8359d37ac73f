"""What can be done with notes."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..pagination import PageQuery, paginated
from .models import Note
from .problems import NoteNotFound
from .schemas import NoteCreate, NoteUpdate


async def create(session: AsyncSession, data: NoteCreate) -> Note:
    """Store a new note."""
    note = Note(**data.model_dump())
    session.add(note)
    await session.flush()
    return note


async def get(session: AsyncSession, note_id: UUID, *, for_update: bool = False) -> Note:
    """The note with this id.

    Raises:
        NoteNotFound: there is none.
    """
    note = await session.get(Note, note_id, with_for_update=for_update)
    if note is None:
        raise NoteNotFound
    return note


async def page(session: AsyncSession, query: PageQuery) -> Sequence[Note]:
    """Notes in the order in which they were created, and one more than asked for if there is."""
    return (await session.scalars(paginated(select(Note), Note.id, query))).all()


async def update(session: AsyncSession, note_id: UUID, data: NoteUpdate) -> Note:
    """Change the fields that are given.

    The row is locked first, so that of two changes at once neither is lost.

    Raises:
        NoteNotFound: there is no such note.
    """
    note = await get(session, note_id, for_update=True)
    for field, value in data.model_dump(exclude_none=True).items():
        setattr(note, field, value)
    await session.flush()
    return note


async def remove(session: AsyncSession, note_id: UUID) -> None:
    """Delete the note.

    Raises:
        NoteNotFound: there is no such note.
    """
    deleted = await session.scalar(delete(Note).where(Note.id == note_id).returning(Note.id))
    if deleted is None:
        raise NoteNotFound
