"""The command line: arguments in, exit code out. What is heavy is imported when it is needed."""

import gc
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, cast

import typer
from typer.exceptions import TyperException

from fastpg_new.errors import BadInput, FastpgNewError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
updates = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
_HELP = {"help_option_names": ["-h", "--help"]}


def main() -> None:
    """The installed command."""
    gc.disable()  # a process of a second: nothing that is imported is ever freed
    _open_standard_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line; every failure ends here, as an exit code."""
    try:
        # What is no command is the name of a new service, so there is no group of commands.
        if arguments[:1] == ["update"]:
            return updates(arguments[1:], prog_name="fastpg-new update", standalone_mode=False) or 0
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


@app.command(context_settings=_HELP, epilog="fastpg-new update --help: bring it up to date, later.")
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


@updates.command(context_settings=_HELP)
def update(
    path: Annotated[
        Path | None, typer.Argument(help="Directory of the project, if it is not this one.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Release to go to, not the newest.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="KEY=VALUE", help="Change an answer; repeatable."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether there is a newer one: exit code 4.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, write nothing.")
    ] = False,
    test: Annotated[
        bool,
        typer.Option("--test", help="Run the project's tests first, on the merge: minutes."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--continue", help="Finish an update whose conflicts are solved.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Give up an update with conflicts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    no_lock: Annotated[bool, typer.Option("--no-lock", help="Do not run uv lock.")] = False,
) -> int:
    """Bring a service to the newest release of its template, without losing a line of yours.

    Exit codes: 0 done, 1 failed, 2 bad input, 3 conflicts or a newer project, 4 (--check) outdated.
    """
    from fastpg_new import answers, update
    from fastpg_new.report import Report

    if sum([check, dry_run, resume, abort]) > 1:
        raise BadInput(
            "--check, --dry-run, --continue and --abort exclude each other", "give one of them"
        )
    if (resume or abort) and (to or data or test):
        raise BadInput("--continue and --abort take no other options", "leave them out")
    report, project = Report(as_json=as_json, quiet=quiet), path or Path()
    if abort:
        update.abort(project)
        report.said("Everything is as it was before the update.")
        return 0
    if resume:
        finished = update.proceed(project, report, lock=not no_lock)
        report.finished(finished)
        return finished.exit_code
    request = update.Request(
        path=project,
        answers=answers.given(data or [], None),
        to=to,
        dry_run=dry_run,
        check=check,
        test=test,
        lock=not no_lock,
    )
    updated = update.update(request, report)
    report.updated(updated)
    return updated.exit_code


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
