"""Why PostgreSQL refused a statement, for whoever reads the log.

Its message names a table at best, in the server's language, and never the privilege that is missing
(https://www.postgresql.org/docs/current/ddl-priv.html). So the catalogue is asked.
"""

import re
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException

from ..identity.principal import ANONYMOUS, Principal
from .engine import Database
from .migrate import SERVICE

# What each kind of statement needs; to return or to look for rows, it has to read them too.
_NEEDED = {
    "INSERT": {"INSERT": r"\binsert\b", "SELECT": r"\breturning\b|\bon conflict\b"},
    "UPDATE": {"UPDATE": r"\bupdate\b", "SELECT": r"\bwhere\b|\breturning\b"},
    "DELETE": {"DELETE": r"\bdelete\b", "SELECT": r"\bwhere\b|\breturning\b"},
}
_READ = {"SELECT": r"", "UPDATE": r"\bfor (no key )?update\b|\bfor (key )?share\b"}

_MISSING = text("""
    SELECT format('%I.%I', nspname, relname) AS "table", verb
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = relnamespace, unnest(CAST(:verbs AS text[])) AS verb
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^pg_' AND relname = ANY(:words)
    AND NOT has_table_privilege(:role, c.oid, verb)
    ORDER BY 1, 2
""")
_POLICIES = text("""
    SELECT format('%I.%I', schemaname, tablename) AS "table", array_agg(policyname) AS policies
    FROM pg_policies WHERE tablename = ANY(:words) GROUP BY 1 ORDER BY 1
""")


async def explain(database: Database, principal: Principal, error: DBAPIError) -> dict[str, Any]:
    """The role, and the privilege it lacks with the GRANT that would give it, or the policy.

    Nothing but names. Where the database cannot be asked, the role alone.
    """
    role = f"{SERVICE}_{principal.role}"
    statement = error.statement or ""
    asked = {"words": sorted(set(re.findall(r"\w+", statement))), "role": role}
    try:
        async with database.read(ANONYMOUS) as session:
            verbs = _verbs(statement)
            missing = (await session.execute(_MISSING, {**asked, "verbs": verbs})).all()
            policies = (await session.execute(_POLICIES, asked)).all()
    except (SQLAlchemyError, HTTPException):
        return {"role": role}
    if missing:
        table, verb = missing[0]
        return {
            "role": role,
            "table": table,
            "privilege": verb,
            "remedy": f"GRANT {verb} ON {table} TO {role};",
        }
    if policies:
        table, names = policies[0]
        remedy = "no GRANT: the row would belong to somebody else"
        return {"role": role, "table": table, "policies": names, "remedy": remedy}
    return {"role": role}


def _verbs(statement: str) -> list[str]:
    lowered = statement.lower()
    kind = statement.split(maxsplit=1)[0].upper() if statement.strip() else ""
    needed = _NEEDED.get(kind, _READ)
    return [verb for verb, pattern in needed.items() if re.search(pattern, lowered)]
