"""What can be done with notes.

Ownership stands in each statement, and a second time in the table's policies: a statement that
forgets it finds nothing, rather than somebody else's notes.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..identity.principal import Principal
from ..pagination import PageQuery, paginated
from .models import Note
from .problems import NoteNotFound
from .schemas import NoteCreate, NoteUpdate


async def create(session: AsyncSession, author: Principal, data: NoteCreate) -> Note:
    """Store a new note of the author's."""
    note = Note(tenant=author.tenant, owner=author.subject, **data.model_dump())
    session.add(note)
    await session.flush()
    return note


async def get(
    session: AsyncSession, reader: Principal, note_id: UUID, *, for_update: bool = False
) -> Note:
    """The reader's note with this id.

    Raises:
        NoteNotFound: there is none, or it is somebody else's.
    """
    statement = select(Note).where(Note.id == note_id, _belongs_to(reader))
    note = await session.scalar(statement.with_for_update() if for_update else statement)
    if note is None:
        raise NoteNotFound
    return note


async def page(session: AsyncSession, reader: Principal, query: PageQuery) -> Sequence[Note]:
    """The reader's notes, oldest first, and one more than asked for if there is."""
    statement = select(Note).where(_belongs_to(reader))
    return (await session.scalars(paginated(statement, Note.id, query))).all()


async def update(session: AsyncSession, author: Principal, note_id: UUID, data: NoteUpdate) -> Note:
    """Change the fields that are given.

    The row is locked first, so that of two changes at once neither is lost.

    Raises:
        NoteNotFound: the author has no such note.
    """
    note = await get(session, author, note_id, for_update=True)
    for field, value in data.model_dump(exclude_none=True).items():
        setattr(note, field, value)
    await session.flush()
    return note


async def remove(session: AsyncSession, author: Principal, note_id: UUID) -> None:
    """Delete the note.

    Raises:
        NoteNotFound: the author has no such note.
    """
    statement = delete(Note).where(Note.id == note_id, _belongs_to(author)).returning(Note.id)
    if await session.scalar(statement) is None:
        raise NoteNotFound


def _belongs_to(principal: Principal) -> ColumnElement[bool]:
    return and_(Note.tenant == principal.tenant, Note.owner == principal.subject)
