"""Which role may do what: as ``access.toml`` declares it, and as PostgreSQL has it.

What is not declared has slipped in, and a test, ``db access`` and ``db check`` say so.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from ..identity.principal import ANONYMOUS, ROLES
from .migrate import APPLICATION, OWNER, SERVICE

Matrix = Mapping[str, Mapping[str, frozenset[str]]]
"""Privileges by object and role: ``{"notes": {"reader": {"SELECT"}}}``.

An object outside of the schema ``public`` has its schema's name before its own, and a privilege on
single columns has theirs behind it: ``UPDATE (body, title)``. The service's own roles stand there
without its name, others as ``role metabase``, and everybody as ``PUBLIC``.
"""

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_MAPPED = (*ROLES, ANONYMOUS.role)

# The service's roles: the mapped ones ($1), and the logins that become them ($2, and names that
# begin with it and an underscore). Superusers and the database's owner may do everything anyway,
# unless they are the login.
_ROLE = """
    WITH role AS (
        SELECT oid, rolname, rolname = ANY($1::text[]) AS mapped,
            rolname IN ($2, session_user) OR starts_with(rolname, $2 || '_') AS login,
            rolsuper OR oid = (
                SELECT datdba FROM pg_database WHERE datname = current_database()
            ) AS almighty
        FROM pg_roles
    )
"""

# A function counts if it runs with its owner's rights, or if everybody may run it. CONNECT, and
# USAGE of a schema, open nothing by themselves. Where there is no list, the default holds:
# https://www.postgresql.org/docs/current/ddl-priv.html
_PRIVILEGES = f"""
    {_ROLE}, object AS (
        SELECT relnamespace AS schema, relname::text AS name, NULL::name AS part,
            coalesce(relacl, acldefault(
                CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner
            )) AS acl
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT relnamespace, relname, attname, attacl
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE attacl IS NOT NULL AND NOT attisdropped
        UNION ALL
        SELECT pronamespace, proname || '(' || oidvectortypes(proargtypes) || ')', NULL, acl
        FROM pg_proc AS p, coalesce(proacl, acldefault('f', proowner)) AS acl
        WHERE (prosecdef OR EXISTS (SELECT FROM aclexplode(acl) WHERE grantee = 0))
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
        )
    ), granted AS (
        SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || name AS name, part,
            a.grantee, a.privilege_type AS verb, a.is_grantable
        FROM object JOIN pg_namespace AS n ON n.oid = schema, aclexplode(acl) AS a
        WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
        UNION ALL
        SELECT 'schema ' || nspname, NULL, a.grantee, a.privilege_type, a.is_grantable
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS a
        WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
        AND a.privilege_type <> 'USAGE'
        UNION ALL
        SELECT 'database', NULL, a.grantee, a.privilege_type, a.is_grantable
        FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a
        WHERE datname = current_database() AND a.privilege_type <> 'CONNECT'
    ), grantee AS (
        SELECT oid, rolname, mapped OR login AS own FROM role
        WHERE (mapped OR login OR NOT almighty) AND rolname <> $3
        UNION ALL SELECT 0, 'PUBLIC', false
    )
    SELECT granted.name, rolname,
        verb || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS verb,
        string_agg(DISTINCT part::text, ', ' ORDER BY part::text) FILTER (
            WHERE part IS NOT NULL
        ) AS columns
    FROM granted JOIN grantee ON grantee = oid
        OR own AND (grantee = 0 OR pg_has_role(oid, grantee, 'USAGE'))
    GROUP BY 1, 2, 3, part IS NULL
"""

# `roles.sql` makes each login a member of the mapped roles, and the owner one of each login.
_MISTAKES = f"""
    {_ROLE}, own AS (
        SELECT * FROM role WHERE mapped OR login OR rolname = $3
    )
    SELECT DISTINCT member.rolname AS role, 'is a member of ' AS has, other.rolname AS what
    FROM pg_auth_members AS m
    JOIN role AS member ON member.oid = m.member
    JOIN role AS other ON other.oid = m.roleid
    WHERE (m.roleid IN (SELECT oid FROM own) OR m.member IN (SELECT oid FROM own))
    AND NOT member.almighty
    AND (
        m.admin_option
        OR NOT (member.login AND other.mapped OR member.rolname = $3 AND other.login)
    )
    UNION ALL
    SELECT rolname, 'is ', attribute
    FROM pg_roles JOIN own USING (oid, rolname), (
        VALUES ('SUPERUSER'), ('BYPASSRLS'), ('CREATEROLE'), ('CREATEDB'), ('REPLICATION'), ('LOGIN')
    ) AS a (attribute)
    WHERE CASE attribute
        WHEN 'SUPERUSER' THEN rolsuper
        WHEN 'BYPASSRLS' THEN rolbypassrls
        WHEN 'CREATEROLE' THEN rolcreaterole
        WHEN 'CREATEDB' THEN rolcreatedb
        WHEN 'REPLICATION' THEN rolreplication
        ELSE rolcanlogin AND NOT login
    END
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What PostgreSQL lets everybody do."""

    matrix: Matrix
    """Effective privileges of the service's roles, and whatever else was granted to anybody."""
    mistakes: tuple[str, ...]
    """Memberships and attributes that no role of the service should have, as sentences."""


def declared() -> Matrix:
    """What ``access.toml`` says."""
    text = files(__package__).joinpath("access.toml").read_text("utf-8")
    return {
        name: {role: frozenset(privileges) for role, privileges in roles.items()}
        for name, roles in tomllib.loads(text).items()
    }


async def actual(database_url: str) -> Access:
    """What the database says; any login may ask."""
    connection = await asyncpg.connect(database_url, timeout=5, command_timeout=5)
    try:
        return await read(connection)
    finally:
        await connection.close()


async def read(connection: asyncpg.Connection) -> Access:
    """What the database says to this connection."""
    asked = ([f"{SERVICE}_{role}" for role in _MAPPED], APPLICATION, OWNER)
    matrix: dict[str, dict[str, frozenset[str]]] = {}
    for name, role, verb, columns in await connection.fetch(_PRIVILEGES, *asked):
        roles = matrix.setdefault(name, {})
        privilege = f"{verb} ({columns})" if columns else verb
        roles[_short(role)] = roles.get(_short(role), frozenset()) | {privilege}
    rows = await connection.fetch(_MISTAKES, *asked)
    mistakes = (f"{_short(role)} {has}{_short(what)}" for role, has, what in rows)
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
    lines: list[tuple[str, ...]] = [("object", "role", *VERBS, "more")]
    for name, role in sorted({(name, role) for name, role, _ in said | found}):
        marks = {
            verb: "yes" if (name, role, verb) in said & found else _mark((name, role, verb) in said)
            for *cell, verb in sorted(said | found)
            if cell == [name, role]
        }
        cells = [marks.pop(verb, "-") for verb in VERBS]
        more = (verb if mark == "yes" else f"{verb}: {mark}" for verb, mark in marks.items())
        lines.append((name, role, *cells, ", ".join(more)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _mark(said: bool) -> str:
    return "MISSING" if said else "UNDECLARED"


def _short(role: str) -> str:
    short = role.removeprefix(f"{SERVICE}_")
    own = role in {"PUBLIC", OWNER, APPLICATION} or role.startswith(f"{APPLICATION}_")
    return short if own or short in _MAPPED else f"role {role}"


def _privileges(matrix: Matrix) -> Iterator[tuple[str, str, str]]:
    for name, roles in matrix.items():
        for role, privileges in roles.items():
            for privilege in privileges:
                yield name, role, privilege
