"""Which rows a caller may see and change: what a migration says about a new table.

Released migrations call these functions: what a call means never changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op

from .migrate import SERVICE

# In a subquery, so that it is evaluated once for a statement and not for each row:
# https://www.postgresql.org/docs/current/sql-createpolicy.html
_CLAIM = "(SELECT identity.claims() ->> '{}')"


def protect(table: str, *, owner: str | None = None, tenant: str | None = None) -> None:
    """Show rows only to the subject and the tenant that these columns name.

    Without ``owner`` the rows belong to the whole tenant, and without either to every caller whose
    claims are valid. Row-level security is forced: it holds for the table's owner too.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    mine = f"{owner} = {_CLAIM.format('sub')}" if owner else f"{_CLAIM.format('sub')} IS NOT NULL"
    name = table.rpartition(".")[2]
    op.execute(f"CREATE POLICY {name}_owner ON {table} USING ({mine})")
    if tenant:
        # Restrictive: no policy that is added later opens the table to another tenant.
        ours = f"{tenant} = {_CLAIM.format('tenant')}"
        op.execute(f"CREATE POLICY {name}_tenant ON {table} AS RESTRICTIVE USING ({ours})")


def grant(table: str, **privileges: str) -> None:
    """Give privileges on the table to roles: ``grant("notes", reader="SELECT")``.

    ``access.toml`` has to say the same, or a test fails.
    """
    for role, what in privileges.items():
        op.execute(f"GRANT {what} ON {table} TO {SERVICE}_{role}")
        # What its policies are made of.
        op.execute(f"GRANT USAGE ON SCHEMA identity TO {SERVICE}_{role}")
        op.execute(f"GRANT EXECUTE ON FUNCTION identity.claims() TO {SERVICE}_{role}")


@contextmanager
def every_row(table: str) -> Iterator[None]:
    """For the block, a migration that reads or changes data sees all rows of the table.

    Otherwise PostgreSQL refuses, since the owner has no claims. The table is locked until the
    migration is committed, so nobody else gets to see more.
    """
    op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
