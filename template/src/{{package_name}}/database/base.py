"""What every table has in common."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of all models.

    Every constraint has a name, because the name is what PostgreSQL reports when it is violated.
    Let the constraint say there what that means to a client::

        UniqueConstraint("title", info={"problem": NoteTitleTaken, "pointer": "/title"})

    The same goes for a ``CheckConstraint``, an ``ExcludeConstraint``, a unique ``Index`` and, where
    NOT NULL is what may be violated, a column. A ``ForeignKey`` has two ends: ``problem`` is for a
    reference to what does not exist, ``still_referenced`` for what goes while others refer to it.
    Without a ``pointer`` the columns are pointed at.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        str: Text,
    }
    # What the server computes comes back with the statement (RETURNING): an attribute that
    # loads itself later would do so outside of the request's await.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012  (SQLAlchemy declares its type)
