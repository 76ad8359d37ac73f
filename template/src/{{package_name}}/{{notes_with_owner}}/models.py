"""The table of notes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database.base import Base
from .problems import NoteTitleTaken


class Note(Base):
    """A note, which belongs to the subject that wrote it.

    Policies hide it from everybody else (``migrations/versions/0004_notes.py``).
    """

    __tablename__ = "notes"
    __table_args__ = (
        UniqueConstraint(
            "tenant", "owner", "title", info={"problem": NoteTitleTaken, "pointer": "/title"}
        ),
        Index("ix_notes_tenant_owner_id", "tenant", "owner", "id"),  # a page of one owner's notes
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    tenant: Mapped[str]
    owner: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
