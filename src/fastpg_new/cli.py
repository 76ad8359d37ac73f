"""The command line: arguments in, exit code out. What is heavy is imported when it is needed."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, cast

import typer
from typer.exceptions import TyperException

from fastpg_new.errors import BadInput, FastpgNewError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """The installed command."""
    _open_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; every failure ends here, as an exit code."""
    try:
        return app(arguments, prog_name="fastpg-new", standalone_mode=False) or 0
    except FastpgNewError as error:
        return _failed(error, arguments)
    except TyperException as error:
        usage = BadInput(error.format_message(), "fastpg-new --help lists what can be given")
        return _failed(usage, arguments)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _failed(
            FastpgNewError(f"{error.strerror or error}{where}", "check permissions and space"),
            arguments,
        )


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fastpg-new {version('fastpg-new')}")
        raise typer.Exit


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def new(
    name: Annotated[
        str | None, typer.Argument(help="Name of the service, or a path that ends with it.")
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing; take the default answers.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="KEY=VALUE", help="Give an answer; repeatable."),
    ] = None,
    data_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Give the answers in a YAML file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, write none.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; ask nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    no_git: Annotated[
        bool, typer.Option("--no-git", help="Make no repository and no first commit.")
    ] = False,
    no_lock: Annotated[bool, typer.Option("--no-lock", help="Do not run uv lock.")] = False,
    template: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Another template: a git repository, near or far."),
    ] = None,
    version: Annotated[  # noqa: ARG001 (its callback acts)
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Create a FastAPI service on PostgreSQL that runs and passes its own tests."""
    from fastpg_new import answers, prompts
    from fastpg_new.create import Request, create
    from fastpg_new.report import Report

    report = Report(as_json=as_json, quiet=quiet)
    request = Request(
        path=name,
        answers=answers.given(data or [], data_file),
        interactive=prompts.possible() and not (defaults or as_json),
        defaults=defaults,
        template=template,
        dry_run=dry_run,
        lock=not no_lock,
        git=not no_git,
    )
    report.result(create(request, report))


def _failed(error: FastpgNewError, arguments: list[str]) -> int:
    from fastpg_new.report import Report

    Report(as_json="--json" in arguments).failure(error)
    return error.exit_code


def _open_standard_streams() -> None:
    """Make every text printable in every locale, and closed descriptors harmless."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="backslashreplace")
