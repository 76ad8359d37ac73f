"""The service's commands."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError

from . import __version__, logs
from .database import migrate
from .settings import Settings, SettingsError, load

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run the service.",
)
database = typer.Typer(no_args_is_help=True, help="Look after the database.")
cli.add_typer(database, name="db")


def main() -> None:
    """Run a command; a wrong setting or a missing role is a message, not a traceback."""
    try:
        cli()
    except SettingsError as error:
        sys.exit(
            f"error: a setting is missing or malformed\n{error}\n"
            "hint: set it, or put it into .env; while `poe dev` runs, its database is found"
        )
    except migrate.RolesMissing as error:
        sys.exit(
            f"error: {error}\nhint: {_hint('db roles')} once, as a login that may create roles"
        )
    except (DBAPIError, PostgresError) as error:
        driver = error.driver_exception if isinstance(error, DBAPIError) else error
        sys.exit(f"error: PostgreSQL says: {driver}")
    except (CommandError, RevisionError):
        sys.exit("error: the database is at a revision that this release does not know")
    except InterfaceError:
        sys.exit("error: the driver cannot use a database URL\nhint: check its parameters")
    except OSError as error:
        sys.exit(f"error: cannot reach PostgreSQL: {error.strerror or error}")


def _hint(command: str) -> str:
    return f"run `{Path(sys.argv[0]).name} {command}`"


@cli.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [PORT]")] = None,
) -> None:
    """Serve requests until SIGTERM, then finish those in flight."""
    given = {"host": host, "port": port}
    settings = load(**{name: value for name, value in given.items() if value is not None})
    logs.configure(settings)
    uvicorn.run(f"{__package__}.app:from_environment", **server_options(settings))


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told, in production and in development alike."""
    return {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": settings.workers,
        "root_path": settings.root_path,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
        "timeout_graceful_shutdown": round(settings.drain_timeout),
        "server_header": False,
        "log_config": None,  # our handlers stay
        "access_log": False,  # RequestLog writes one line per request
    }


@database.command()
def roles(
    print_sql: Annotated[bool, typer.Option("--print", help="Print the SQL, run nothing")] = False,
) -> None:
    """Create the roles that own and use the tables: once per cluster, harmless again."""
    if print_sql:
        typer.echo(migrate.roles())
    else:
        asyncio.run(migrate.create_roles(load().owner_url))


@database.command()
def upgrade() -> None:
    """Bring the database to the newest revision."""
    settings = load()
    logs.configure(settings)
    asyncio.run(migrate.upgrade(settings.owner_url))


@database.command()
def check() -> None:
    """Exit with 1 unless the database answers and is at the newest revision."""
    pending = asyncio.run(migrate.pending(load().database_url.get_secret_value()))
    if pending:
        sys.exit(f"error: pending revisions: {', '.join(pending)}\nhint: {_hint('db upgrade')}")
    typer.echo("The database is at the newest revision.")
