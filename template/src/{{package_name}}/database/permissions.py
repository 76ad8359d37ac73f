"""Why PostgreSQL refused a statement, for whoever reads the log.

Its message names one object, in the server's language and without its schema, and never the
privilege that is missing (https://www.postgresql.org/docs/current/ddl-priv.html). So the catalogue
is asked what the role lacks of what the statement needs.
"""

import asyncio
import re
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException

from ..identity.principal import ANONYMOUS, Principal
from .engine import Database
from .migrate import SERVICE

# Seconds that a refused request waits for its explanation.
_PATIENCE = 1

# What PostgreSQL calls the place where it checks new rows; unlike messages, in one language.
_CHECKS_ROWS = "ExecWithCheckOptions"

# What a statement that says so of a table, or anywhere, needs; reading comes last.
_AIMED = {
    "INSERT": r"\binsert\s+into\s+{}",
    "UPDATE": r"\b(?:update|lock(?:\s+table)?)\s+(?:only\s+)?{}",
    "DELETE": r"\bdelete\s+from\s+(?:only\s+)?{}",
    "TRUNCATE": r"\btruncate\s+(?:table\s+)?(?:only\s+)?{}",
}
_ANYWHERE = {"UPDATE": r"\bfor\s+(?:no\s+key\s+update|update|share|key\s+share)\b|\bdo\s+update\b"}

_MISSING = text("""
    WITH asked AS (
        SELECT * FROM unnest(CAST(:names AS text[]), CAST(:verbs AS text[]))
            WITH ORDINALITY AS asked (name, verb, rank)
    ), lacking AS (
        SELECT rank, '' AS kind, nspname, format('%I.%I', nspname, relname) AS object, verb, (
            SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
            FROM pg_attribute
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
            AND CASE WHEN verb IN ('SELECT', 'INSERT', 'UPDATE') THEN
                has_any_column_privilege(:role, c.oid, verb)
                AND NOT has_column_privilege(:role, c.oid, attnum, verb)
            END
            AND (attname = ANY(:words) OR CAST(:words AS text[]) && '{*}')
        ) AS columns
        FROM asked
        JOIN pg_class AS c ON relname = name
        JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT has_table_privilege(:role, c.oid, verb)
        UNION ALL
        SELECT rank, 'SEQUENCE ', nspname, format('%I.%I', nspname, relname), 'USAGE', NULL
        FROM asked
        JOIN pg_class AS c ON relname = name
        JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(:role, c.oid, 'USAGE') END
        UNION ALL
        SELECT rank, 'FUNCTION ', nspname, format(
            '%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)
        ), 'EXECUTE', NULL
        FROM asked
        JOIN pg_proc AS p ON proname = name
        JOIN pg_namespace AS n ON n.oid = pronamespace
        WHERE NOT has_function_privilege(:role, p.oid, 'EXECUTE')
        UNION ALL
        SELECT rank, 'SCHEMA ', nspname, quote_ident(nspname), lacks, NULL
        FROM asked JOIN pg_namespace AS n ON nspname = name,
            unnest('{USAGE,CREATE}'::text[]) WITH ORDINALITY AS l (lacks, _)
        WHERE NOT has_schema_privilege(:role, n.oid, lacks)
        AND (lacks = 'USAGE' OR 'create' = ANY(:words))
    )
    SELECT kind, nspname, object, verb, columns FROM lacking
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    ORDER BY rank LIMIT 1
""")
_POLICIES = text("""
    SELECT format('%I.%I', nspname, relname) AS object, array_agg(polname ORDER BY polname) FILTER (
        WHERE polcmd <> 'd' AND EXISTS (
            SELECT FROM unnest(polroles) AS r
            WHERE CASE r WHEN 0 THEN true ELSE pg_has_role(:role, r, 'USAGE') END
        )
    ) AS policies
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS asked (name, rank)
    JOIN pg_class AS c ON relname = name AND (relrowsecurity OR relkind = 'v')
    JOIN pg_namespace AS n ON n.oid = relnamespace
    LEFT JOIN pg_policy ON polrelid = c.oid
    GROUP BY 1 ORDER BY min(rank) LIMIT 1
""")

# German has »these«, French « these ».
_QUOTES = "\"'`„“”«»"


async def explain(database: Database, principal: Principal, error: DBAPIError) -> dict[str, Any]:
    """The role, and the privilege it lacks with the GRANT that would give it, or the policies.

    Nothing but names. Where the database cannot be asked in time, the role alone.
    """
    role = f"{SERVICE}_{principal.role}"
    driver: Any = error.driver_exception
    statement, message = error.statement or "", str(driver.args[0])
    names = _names(message, statement)
    try:
        async with asyncio.timeout(_PATIENCE), database.read(ANONYMOUS) as session:
            if getattr(driver, "server_source_function", None) == _CHECKS_ROWS:
                found = (await session.execute(_POLICIES, {"names": names, "role": role})).first()
                return {"role": role, **(_policies(found, message) if found else {})}
            asked = [(name, verb) for name in names for verb in _verbs(statement, name)]
            parameters = {
                "names": [name for name, _ in asked],
                "verbs": [verb for _, verb in asked],
                "words": re.findall(r"\w+|\*", statement.lower()),
                "role": role,
            }
            missing = (await session.execute(_MISSING, parameters)).first()
            return {"role": role, **(_missing(missing, role) if missing else {})}
    except (SQLAlchemyError, HTTPException, OSError):
        return {"role": role}


def _names(message: str, statement: str) -> list[str]:
    """Runs of words in the message that may be an object's name, the likeliest first.

    The statement has it, too, or else, as with a table behind a view, it stands at the end.
    """
    # PostgreSQL's own are short; RAISE may say anything at any length.
    words = [word.strip(_QUOTES) for word in message[:300].split()[:20]]
    ends = range(len(words), 0, -1)
    runs = {" ".join(words[start:end]): end for end in ends for start in range(end)}
    known = [run for run in runs if run in statement]
    return [*known, *(run for run, end in runs.items() if end == len(words) and run not in known)]


def _verbs(statement: str, name: str) -> list[str]:
    """What the statement does to the table; through a view or a trigger, to whichever table."""
    table = rf'(?:"?\w+"?\.)?"?{re.escape(name)}\b'
    target = table if name in statement else ""
    verbs = [
        verb
        for verb, pattern in _AIMED.items()
        if re.search(pattern.format(target), statement, re.IGNORECASE)
        or re.search(_ANYWHERE.get(verb, r"(?!)"), statement, re.IGNORECASE)
    ]
    return [*verbs, "SELECT"]


def _missing(row: Row[*tuple[Any, ...]], role: str) -> dict[str, str]:
    kind, schema, name, verb, columns = row
    privilege = f"{verb} ({columns})" if columns else verb
    remedy = f"GRANT {privilege} ON {kind}{name} TO {role};"
    if schema == "identity":
        remedy = "none: nobody but the owner may touch what makes claims believable"
    return {kind.lower().strip() or "table": name, "privilege": privilege, "remedy": remedy}


def _policies(row: Row[*tuple[Any, ...]], message: str) -> dict[str, Any]:
    name, policies = row
    if policies is None:
        return {"table": name, "remedy": "no GRANT: nothing lets this role have the new row"}
    named = [policy for policy in policies if re.search(_quoted(policy), message)]
    remedy = "no GRANT: these policies refuse the new row"
    return {"table": name, "policies": named or policies, "remedy": remedy}


def _quoted(policy: str) -> str:
    """As the message names those that are restrictive."""
    return rf"[{_QUOTES}]\s?{re.escape(policy)}\s?[{_QUOTES}]"
