"""What an error of PostgreSQL means to a client.

SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html. The code decides, never
the class of the exception: with asyncpg most codes arrive as a bare ``DBAPIError``.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Constraint, Index
from sqlalchemy.exc import DBAPIError

from ..problems import (
    AlreadyExists,
    DatabaseUnavailable,
    FieldError,
    InternalError,
    InvalidValue,
    OutcomeUnknown,
    Overlap,
    Problem,
    ReferenceConflict,
    StorageFull,
    TimedOut,
    TransactionConflict,
)
from .base import Base

# A code, or the two characters of its class. A code wins over its class; what is not here is a
# bug of ours.
PROBLEMS: Mapping[str, type[Problem]] = {
    "08": DatabaseUnavailable,
    "08007": OutcomeUnknown,
    "22": InvalidValue,
    "23": InternalError,
    "23001": ReferenceConflict,
    "23502": InvalidValue,
    "23503": ReferenceConflict,
    "23505": AlreadyExists,
    "23514": InvalidValue,
    "23P01": Overlap,
    "28": DatabaseUnavailable,  # the service's own login is wrong, not the client's
    "3D000": DatabaseUnavailable,
    "40": TransactionConflict,
    "40002": InternalError,
    "40003": OutcomeUnknown,
    "53": DatabaseUnavailable,
    "53100": StorageFull,
    "55P03": TransactionConflict,
    "57": InternalError,
    "57014": TimedOut,
    "57P01": DatabaseUnavailable,
    "57P02": DatabaseUnavailable,
    "57P03": DatabaseUnavailable,
    "57P05": DatabaseUnavailable,
}

# Codes and classes of a connection that broke: said of a COMMIT, they leave its outcome open.
_BROKEN = ("08", "57P01", "57P02", "40003")

# Undefined table, column, function; no privilege: these messages hold names and nothing else.
_TELLING = ("42P01", "42703", "42883", "42501")

log = structlog.get_logger()


def problem_of(error: DBAPIError) -> Problem:
    """The problem that answers an error of the database.

    A violated constraint answers with the problem that its table declares for it.
    """
    driver = error.driver_exception
    sqlstate = _sqlstate(error)
    if sqlstate is None:
        # asyncpg itself refuses a value before it is sent, or finds the connection closed.
        return InvalidValue() if isinstance(driver, asyncpg.DataError) else DatabaseUnavailable()
    if sqlstate.startswith("23"):
        return _violation(driver, sqlstate)
    return _generic(sqlstate)()


def is_verdict(error: Exception) -> bool:
    """Whether the server itself has decided, rather than the connection broken."""
    sqlstate: str | None = getattr(error, "sqlstate", None)
    return sqlstate is not None and not sqlstate.startswith(_BROKEN)


def facts(error: DBAPIError) -> dict[str, Any]:
    """What may be logged of a database error: names, never values out of rows or requests."""
    driver = error.driver_exception
    names = ("constraint_name", "schema_name", "table_name", "column_name")
    found = {name: getattr(driver, name, None) for name in names}
    sqlstate = _sqlstate(error)
    if sqlstate in _TELLING:
        found["message"] = driver.args[0]
    known = {name: value for name, value in found.items() if value}
    return {"sqlstate": sqlstate, "driver": type(driver).__name__, **known}


def _sqlstate(error: DBAPIError) -> str | None:
    sqlstate: str | None = getattr(error.driver_exception, "sqlstate", None)
    return sqlstate


def _generic(sqlstate: str) -> type[Problem]:
    return PROBLEMS.get(sqlstate) or PROBLEMS.get(sqlstate[:2]) or InternalError


def _violation(driver: Any, sqlstate: str) -> Problem:
    constraint = _declared(driver.table_name, driver.constraint_name)
    info: dict[Any, Any] = constraint.info if constraint is not None else {}
    problem: type[Problem] = info.get("problem") or _generic(sqlstate)
    if driver.constraint_name and "problem" not in info:
        log.warning("undeclared_constraint", constraint_name=driver.constraint_name)
    if "pointer" in info:
        pointers = [info["pointer"]]
    elif constraint is not None:
        pointers = [f"/{column.name}" for column in getattr(constraint, "columns", ())]
    else:
        pointers = [f"/{driver.column_name}"] if driver.column_name else []
    return problem(errors=[_field_error(pointer, problem) for pointer in pointers])


def _field_error(pointer: str, problem: type[Problem]) -> FieldError:
    return {"in": "body", "pointer": pointer, "detail": problem.title}


def _declared(table_name: str | None, constraint_name: str | None) -> Constraint | Index | None:
    for table in Base.metadata.tables.values():
        constraints: list[Constraint | Index] = [*table.constraints, *table.indexes]
        for constraint in constraints:
            if (table.name, constraint.name) == (table_name, constraint_name):
                return constraint
    return None
