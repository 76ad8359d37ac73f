"""Which role may do what: as ``access.toml`` declares it, and as PostgreSQL has it.

What is not declared has slipped in, and a test, ``db access`` and ``db check`` say so.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from ..identity.principal import ANONYMOUS, ROLES
from .login import Login
from .migrate import APPLICATION, OWNER, SERVICE, reading

Matrix = Mapping[str, Mapping[str, frozenset[str]]]
"""Privileges by object and role: ``{"notes": {"reader": {"SELECT"}}}``.

An object outside of the schema ``public`` has its schema's name before its own, and a privilege on
single columns has theirs behind it: ``UPDATE (body, title)``. The service's own roles stand there
without its name, others as ``role metabase``. What everybody may do stands there once, as
``PUBLIC``.
"""

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_MAPPED = [f"{SERVICE}_{role}" for role in (*ROLES, ANONYMOUS.role)]


@dataclass(frozen=True, slots=True)
class Access:
    """What PostgreSQL lets everybody do."""

    matrix: Matrix
    """What was granted to anybody; to the service's roles by way of others, too."""
    mistakes: tuple[str, ...]
    """Memberships and attributes that no role of the service should have, and tables that do
    without row-level security, as sentences."""


def declared() -> Matrix:
    """What ``access.toml`` says."""
    return {
        name: {role: frozenset(privileges) for role, privileges in roles.items()}
        for name, roles in tomllib.loads(_read("access.toml")).items()
    }


async def actual(login: Login) -> Access:
    """What the database says; any login may ask."""
    async with reading(login) as connection:
        return await read(connection)


async def read(connection: asyncpg.Connection) -> Access:
    """What the database says to this connection."""
    rows = await connection.fetch(_read("access.sql"), _MAPPED, APPLICATION, OWNER)
    matrix: dict[str, dict[str, frozenset[str]]] = {}
    mistakes: list[str] = []
    for name, role, privilege, other in rows:
        if role is None:
            mistakes.append(f"{name} has no row-level security that is forced")
        elif name is not None:
            roles = matrix.setdefault(name, {})
            roles[_short(role)] = roles.get(_short(role), frozenset()) | {privilege}
        elif other is None:
            mistakes.append(f"{_short(role)} has {privilege}")
        else:
            mistakes.append(f"{_short(role)} is a member of {_short(other)}")
    return Access(matrix, tuple(sorted(mistakes)))


def differences(declared: Matrix, actual: Access) -> list[str]:
    """Sentences about whatever is declared or actual, and not both."""
    said, found = set(_privileges(declared)), set(_privileges(actual.matrix))
    return [
        *(f"{role} has {verb} on {name}, undeclared" for name, role, verb in sorted(found - said)),
        *(f"{role} lacks {verb} on {name}" for name, role, verb in sorted(said - found)),
        *actual.mistakes,
    ]


def as_text(declared: Matrix, actual: Matrix) -> str:
    """A line for each object and role, a column for each verb; differences stand out as words."""
    said, found = set(_privileges(declared)), set(_privileges(actual))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in sorted(said | found):
        mark = "yes" if cell in said & found else "MISSING" if cell in said else "UNDECLARED"
        rows.setdefault(cell[:2], {})[cell[2]] = mark
    lines: list[tuple[str, ...]] = [("object", "role", *VERBS, "more")]
    for (name, role), marks in rows.items():
        cells = [marks.pop(verb, "-") for verb in VERBS]
        more = (verb if mark == "yes" else f"{verb}: {mark}" for verb, mark in marks.items())
        lines.append((name, role, *cells, ", ".join(more)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _read(file: str) -> str:
    return files(__package__).joinpath(file).read_text("utf-8")


def _short(role: str) -> str:
    own = role in {*_MAPPED, OWNER, APPLICATION} or role.startswith(f"{APPLICATION}_")
    return role.removeprefix(f"{SERVICE}_") if own or role == "PUBLIC" else f"role {role}"


def _privileges(matrix: Matrix) -> Iterator[tuple[str, str, str]]:
    for name, roles in matrix.items():
        for role, privileges in roles.items():
            for privilege in privileges:
                yield name, role, privilege
