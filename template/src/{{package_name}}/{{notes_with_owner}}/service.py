"""What can be done with notes.

Ownership stands in each statement, and a second time in the table's policies: a statement that
forgets it finds nothing, rather than somebody else's notes.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, delete, insert, select

from ..database.claims import IdentifiedSession
from ..database.compiled import Compiled
from ..pagination import Page, PageQuery, any_page
from .models import Note
from .problems import NoteNotFound
from .schemas import NoteCreate, NoteRead, NoteUpdate

_MINE = and_(Note.tenant == bindparam("tenant"), Note.owner == bindparam("owner"))
_THIS = and_(Note.id == bindparam("id"), _MINE)

# The statements of most requests are compiled once. The others are the ORM's, which tracks what
# changes and takes two to three times as long.
_CREATE = Compiled(NoteRead, insert(Note), sets=["tenant", "owner", *NoteCreate.model_fields])
_GET = Compiled(NoteRead, select(Note).where(_THIS))
_PAGE = Compiled(NoteRead, any_page(select(Note).where(_MINE), Note.id))


async def create(session: IdentifiedSession, data: NoteCreate) -> NoteRead:
    """Store a new note of the caller's."""
    return await _CREATE.one(session, **_mine(session), **data.model_dump())


async def get(session: IdentifiedSession, note_id: UUID) -> NoteRead:
    """The caller's note with this id.

    Raises:
        NoteNotFound: there is none, or it is somebody else's.
    """
    note = await _GET.first(session, id=note_id, **_mine(session))
    if note is None:
        raise NoteNotFound
    return note


async def page(session: IdentifiedSession, query: PageQuery) -> Page[NoteRead]:
    """A page of the caller's notes, oldest first."""
    rows = await _PAGE.all(session, **_mine(session), **query.parameters)
    return Page[NoteRead].of(rows, query)


async def update(session: IdentifiedSession, note_id: UUID, data: NoteUpdate) -> Note:
    """Change the fields that are given.

    The row is locked first, so that of two changes at once neither is lost.

    Raises:
        NoteNotFound: the caller has no such note.
    """
    statement = select(Note).where(_THIS).with_for_update()
    note = await session.scalar(statement, {"id": note_id, **_mine(session)})
    if note is None:
        raise NoteNotFound
    for field, value in data.model_dump(exclude_none=True).items():
        setattr(note, field, value)
    await session.flush()
    return note


async def remove(session: IdentifiedSession, note_id: UUID) -> None:
    """Delete the note.

    Raises:
        NoteNotFound: the caller has no such note.
    """
    statement = delete(Note).where(_THIS).returning(Note.id)
    if await session.scalar(statement, {"id": note_id, **_mine(session)}) is None:
        raise NoteNotFound


def _mine(session: IdentifiedSession) -> dict[str, Any]:
    return {"tenant": session.principal.tenant, "owner": session.principal.subject}
