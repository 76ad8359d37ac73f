"""The table of notes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database.base import Base
from .problems import NoteTitleTaken


class Note(Base):
    """A note."""

    __tablename__ = "notes"
    __table_args__ = (
        UniqueConstraint("title", info={"problem": NoteTitleTaken, "pointer": "/title"}),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    title: Mapped[str]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
