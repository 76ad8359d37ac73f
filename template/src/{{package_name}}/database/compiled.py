"""Statements that are compiled once, and whose rows become schemas without the ORM.

Through the ORM, a request that reads one row calls two and a half times as many functions, and
one that reads a page of fifty three and a half times as many.
"""

from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import (
    Boolean,
    Delete,
    Float,
    Insert,
    Numeric,
    Select,
    Update,
)
from sqlalchemy.dialects.postgresql import asyncpg

from .transaction import Session

Row = TypeVar("Row", bound=BaseModel)

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


class Compiled(Generic[Row]):
    """A statement with parameters (``bindparam``), whose rows are schemas.

    Args:
        schema: what a row becomes. Of an entity that is selected, and of the table that is written
            to, the columns of its fields are asked for.
        statement: what is compiled.
        sets: the columns to which an INSERT or UPDATE gives parameters of the same names.

    Raises:
        TypeError: the columns are not the schema's; or something is left to SQLAlchemy each time
            the statement runs, and would be skipped here.
    """

    def __init__(
        self,
        schema: type[Row],
        statement: Select[*tuple[Any, ...]] | Insert | Update | Delete,
        sets: Collection[str] = (),
    ) -> None:
        statement, columns = _narrowed(statement, schema.model_fields)
        compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(sets) or None)
        if sorted(column.name for column in columns) != sorted(schema.model_fields):
            raise TypeError(f"the columns are not the fields of {schema.__name__}:\n{compiled}")
        if unknown := set(sets) - compiled.binds.keys():
            raise TypeError(f"there is no column {', '.join(sorted(unknown))}:\n{compiled}")
        if reason := _skipped(compiled, columns):
            raise TypeError(f"{reason}: only SQLAlchemy itself can run this statement:\n{compiled}")
        self.sql = str(compiled)
        self._names: list[str] = compiled.positiontup
        binds = compiled.binds.items()
        self._given = {name: bind.value for name, bind in binds if not bind.required}
        self._known = frozenset(self._names)
        self._rows = TypeAdapter(list[schema])  # type: ignore[valid-type]  # known when it runs

    async def all(self, session: Session, **parameters: Any) -> list[Row]:
        """All rows.

        Raises:
            KeyError: a parameter is missing.
            TypeError: there is no such parameter.
        """
        if not self._known.issuperset(parameters):
            raise TypeError(f"parameters are {', '.join(sorted(self._known))}")
        values = self._given | parameters
        rows = await session.fetch(self.sql, [*map(values.__getitem__, self._names)])
        return self._rows.validate_python([*map(dict, rows)])

    async def first(self, session: Session, **parameters: Any) -> Row | None:
        """The first row, if there is one."""
        rows = await self.all(session, **parameters)
        return rows[0] if rows else None

    async def one(self, session: Session, **parameters: Any) -> Row:
        """The only row of a statement that always has one."""
        (row,) = await self.all(session, **parameters)
        return row


def _narrowed(statement: Any, fields: Collection[str]) -> tuple[Any, list[Any]]:
    """The statement with the columns of these fields, and these columns."""
    if not isinstance(statement, Select | Insert | Update | Delete):
        raise TypeError(f"a {type(statement).__name__} needs a SELECT around it")
    if not isinstance(statement, Select):
        written = [column for column in statement.table.columns if column.key in fields]
        return statement.returning(*written), written
    columns: list[Any] = list(statement.selected_columns)
    entities = all(d["expr"] is d.get("entity") for d in statement.column_descriptions)
    if entities and not statement._distinct:  # DISTINCT is about all columns that there are
        columns = [column for column in columns if column.key in fields]
        statement = statement.with_only_columns(*columns, maintain_column_froms=True)
    return statement, columns


def _skipped(compiled: Any, columns: Sequence[Any]) -> str | None:
    """What of a statement SQLAlchemy would do each time, and the driver does not."""
    if compiled.post_compile_params or compiled.literal_execute_params:
        return "a list of parameters (write = ANY) or a literal"
    if compiled.insert_prefetch or compiled.update_prefetch:
        return "a default that Python computes"
    binds = compiled.binds.values()
    if any(bind.callable for bind in binds):
        return "a parameter that Python computes"
    types = [column.type for column in columns] + [bind.type for bind in binds]
    converted = [type_ for type_ in types if not _is_the_drivers(type_)]
    return f"a value of {converted[0]!r} is converted" if converted else None


def _is_the_drivers(type_: Any) -> bool:
    if isinstance(type_, Numeric | Float):
        return type_.asdecimal is not isinstance(type_, Float)  # as asyncpg gives it
    if isinstance(type_, Boolean):
        return True  # whose conversion only checks, as the driver does
    implementation = type_.dialect_impl(_DIALECT)
    return not (
        implementation.bind_processor(_DIALECT) or implementation.result_processor(_DIALECT, None)
    )
