"""Which role may do what with which table: as declared, and as PostgreSQL has it.

``access.toml`` declares it. A privilege that is not there has slipped in, and a test, ``db access``
and ``db check`` say so.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files

import asyncpg

from .migrate import OWNER, SERVICE

Matrix = Mapping[str, Mapping[str, frozenset[str]]]
"""Privileges by table and role: ``{"notes": {"reader": {"SELECT"}}}``.

A table outside of the schema ``public`` has its schema's name before its own, and a privilege on
single columns has theirs behind it: ``UPDATE (body, title)``. The service's roles stand there
without the service's name.
"""

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Effective privileges, memberships and PUBLIC included, of the service's roles, of whoever may act
# as one of them, and of whoever else was granted anything. Superusers and the database's owner may
# do everything anyway.
_CATALOGUE = """
    WITH relation AS (
        SELECT c.oid, relacl, attname, attacl, attnum,
            CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname AS name
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = relnamespace
        JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        AND nspname <> 'information_schema' AND nspname !~ '^pg_'
    ), mapped AS (
        SELECT oid FROM pg_roles WHERE rolname = ANY($1)
    ), grantee AS (
        SELECT (aclexplode(relacl)).grantee FROM relation
        UNION SELECT (aclexplode(attacl)).grantee FROM relation
    ), role AS (
        SELECT rolname AS name FROM pg_roles AS r
        WHERE NOT rolsuper AND rolname <> $2
        AND oid <> (SELECT datdba FROM pg_database WHERE datname = current_database())
        AND (
            oid IN (SELECT grantee FROM grantee)
            OR EXISTS (SELECT FROM mapped WHERE pg_has_role(r.oid, mapped.oid, 'USAGE'))
        )
        UNION ALL SELECT 'public'
    )
    SELECT relation.name AS relation, role.name AS role, verb, NULL AS columns
    FROM (SELECT DISTINCT oid, name FROM relation) AS relation, role,
        unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS verb
    WHERE has_table_privilege(role.name, relation.oid, verb)
    UNION ALL
    SELECT relation.name, role.name, verb, string_agg(attname, ', ' ORDER BY attname)
    FROM relation, role, unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS verb
    WHERE NOT has_table_privilege(role.name, relation.oid, verb)
    AND has_column_privilege(role.name, relation.oid, attnum, verb)
    GROUP BY 1, 2, 3
"""


def declared() -> Matrix:
    """What ``access.toml`` says."""
    text = files(__package__).joinpath("access.toml").read_text("utf-8")
    return {
        table: {role: frozenset(privileges) for role, privileges in roles.items()}
        for table, roles in tomllib.loads(text).items()
    }


async def actual(database_url: str) -> Matrix:
    """What the database says; any login may ask."""
    mapped = [OWNER, *(f"{SERVICE}_{role}" for role in ("anonymous", "reader", "writer"))]
    connection = await asyncpg.connect(database_url, timeout=5, command_timeout=5)
    try:
        rows = await connection.fetch(_CATALOGUE, mapped, OWNER)
    finally:
        await connection.close()
    found: dict[str, dict[str, frozenset[str]]] = {}
    for relation, role, verb, columns in rows:
        roles = found.setdefault(relation, {})
        name = role.removeprefix(f"{SERVICE}_")
        privilege = f"{verb} ({columns})" if columns else verb
        roles[name] = roles.get(name, frozenset()) | {privilege}
    return found


def differences(declared: Matrix, actual: Matrix) -> list[str]:
    """Sentences about each privilege that is in one and not in the other."""
    said, found = set(_privileges(declared)), set(_privileges(actual))
    slipped_in = [f"{role} may {verb} {table}, which" for table, role, verb in found - said]
    lost = [f"{role} may not {verb} {table}, though" for table, role, verb in said - found]
    return [
        *(f"{sentence} access.toml does not say" for sentence in sorted(slipped_in)),
        *(f"{sentence} access.toml says so" for sentence in sorted(lost)),
    ]


def as_text(matrix: Matrix) -> str:
    """A line for each table and role, a column for each verb."""
    lines: list[tuple[str, ...]] = [("table", "role", *VERBS, "more")]
    for table, roles in sorted(matrix.items()):
        for role, privileges in sorted(roles.items()):
            cells = ["yes" if verb in privileges else "-" for verb in VERBS]
            lines.append((table, role, *cells, ", ".join(sorted(privileges.difference(VERBS)))))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _privileges(matrix: Matrix) -> Iterator[tuple[str, str, str]]:
    for table, roles in matrix.items():
        for role, privileges in roles.items():
            for privilege in privileges:
                yield table, role, privilege
