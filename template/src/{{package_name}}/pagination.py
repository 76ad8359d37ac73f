"""Pages by keyset: each asks for what comes after the last one seen.

A page costs the same at any depth, where an OFFSET reads all rows before it; and rows that come or
go meanwhile make it neither repeat nor skip others.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, bindparam
from sqlalchemy.orm import InstrumentedAttribute

Item = TypeVar("Item")
Statement = TypeVar("Statement", bound=Select[Any])

_FIRST = UUID(int=0)  # comes before all others


class _PageQuery(BaseModel):
    limit: int = Field(default=50, ge=1, le=100)
    after: UUID | None = Field(default=None, description="`next` of the page before")

    @property
    def parameters(self) -> dict[str, Any]:
        """What a ``paginated`` statement needs to know."""
        return {"after": self.after or _FIRST, "count": self.limit + 1}


PageQuery = Annotated[_PageQuery, Query()]
"""Which page: ``?limit=&after=``."""


class Page(BaseModel, Generic[Item]):
    """A page of items; ``next`` is null on the last one."""

    items: list[Item]
    next: UUID | None

    @classmethod
    def of(cls, rows: Sequence[Any], query: PageQuery) -> Self:
        """The page that these rows of a ``paginated`` statement make."""
        items = rows[: query.limit]
        return cls(items=list(items), next=items[-1].id if len(rows) > query.limit else None)


def paginated(
    statement: Statement, key: InstrumentedAttribute[UUID], query: PageQuery
) -> Statement:
    """The statement for one page and one row more, which tells whether another page follows."""
    return any_page(statement, key).params(query.parameters)


def any_page(statement: Statement, key: InstrumentedAttribute[UUID]) -> Statement:
    """The same for whatever page, which takes the ``parameters`` of its query."""
    return statement.where(key > bindparam("after")).order_by(key).limit(bindparam("count"))
