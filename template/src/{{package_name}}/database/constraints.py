"""What a violated constraint means to a client: the table says so, where it declares it."""

from typing import Any

import structlog
from sqlalchemy import Column, Constraint, ForeignKeyConstraint, Index

from ..problems import FieldError, MissingReference, Problem, ReferenceConflict, StillReferenced
from .base import Base

# Where an ``info`` declares its problem: a foreign key may be violated from either end.
_PROBLEM = "problem"
_STILL_REFERENCED = "still_referenced"

# PostgreSQL reports both ends with one code and the same names. Only the message tells them apart,
# in a language that depends on the server.
_ENDS = {
    "insert or update on table": MissingReference,
    "update or delete on table": StillReferenced,
}

log = structlog.get_logger()


def problem_of_violation(error: Any, general: type[Problem]) -> Problem:
    """The problem that the violated constraint declares, or else the general one of its SQLSTATE.

    Args:
        error: the driver's.
        general: what its SQLSTATE means.
    """
    if general is ReferenceConflict:
        general = _end(str(error.args[0]))
    violated = _violated(error)
    info = {} if violated is None else declaration(violated)
    problem = general
    if general is not ReferenceConflict:  # or it might be the other end that is declared
        key = _STILL_REFERENCED if general is StillReferenced else _PROBLEM
        problem = info.get(key, general)
    if _PROBLEM not in info and error.constraint_name and not is_raised(error):
        log.warning("undeclared_constraint", constraint_name=error.constraint_name)
    if violated is None or general is StillReferenced:  # which is not about what the client sent
        return problem()
    return problem(errors=[_field_error(pointer, problem) for pointer in _pointers(violated)])


def declaration(violated: Constraint | Index | Column[Any]) -> dict[Any, Any]:
    """The ``info`` of a constraint, an index, or a column that is not null."""
    if isinstance(violated, ForeignKeyConstraint) and not violated.info:
        return violated.elements[0].info  # ForeignKey("…", info=…) in a column
    return violated.info


def is_raised(error: Any) -> bool:
    """Whether RAISE made the error: then all of it may be data, whatever it calls itself."""
    return getattr(error, "server_source_function", None) == "exec_stmt_raise"


def _end(message: str) -> type[ReferenceConflict]:
    for start, problem in _ENDS.items():
        if message.startswith(start):
            return problem
    return ReferenceConflict


def _violated(error: Any) -> Constraint | Index | Column[Any] | None:
    for table in Base.metadata.tables.values():
        if table.name != error.table_name:
            continue
        if not error.constraint_name:
            return table.columns.get(error.column_name)
        constraints: list[Constraint | Index] = [*table.constraints, *table.indexes]
        for constraint in constraints:
            if constraint.name == error.constraint_name:
                return constraint
    return None


def _pointers(violated: Constraint | Index | Column[Any]) -> list[str]:
    if pointer := declaration(violated).get("pointer"):
        return [pointer]
    columns = [violated] if isinstance(violated, Column) else getattr(violated, "columns", ())
    return [f"/{column.name}" for column in columns]


def _field_error(pointer: str, problem: type[Problem]) -> FieldError:
    return {"in": "body", "pointer": pointer, "detail": problem.title}
