"""What the user sees: results on standard output, progress and errors on standard error."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from fastpg_new.errors import FastpgNewError

if TYPE_CHECKING:
    from fastpg_new.update import Finished, Updated

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_COMMIT = "See git diff --cached, then commit."


@dataclass(frozen=True)
class Created:
    """What came of it; also the document that --json prints."""

    path: str
    shown: str
    dry_run: bool
    answers: Mapping[str, str]
    files: list[str]
    replay: str
    next_steps: list[str]
    lock: str = "skipped"
    git: str = "skipped"


class Report:
    """One of three voices: for people, for programs (--json), or silent (--quiet)."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._json = as_json
        self._talks = not (as_json or quiet)

    @property
    def talks(self) -> bool:
        """Whether there are words for people."""
        return self._talks

    @property
    def progress(self) -> bool:
        """Whether somebody watches while we work."""
        return self._talks and sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Something that takes a while begins."""
        if self._talks:
            _write(sys.stderr, text)

    def summary(self, created: Created) -> None:
        """What was answered at the prompts, and how to give the same answers without them."""
        rows = [f"  {key:<13} {value}" for key, value in created.answers.items()]
        self._say("", *rows, "", "The same again, without questions:", (created.replay, "cyan"), "")

    def result(self, created: Created) -> None:
        """The end."""
        if self._json:
            _write(sys.stdout, json.dumps(asdict(created), indent=2))
        elif created.dry_run:
            _write(sys.stdout, "\n".join(created.files))
        else:
            self._say(
                (f"Created {created.shown} ({len(created.files)} files)", "bold green"),
                f"  uv.lock     {created.lock}",
                f"  repository  {created.git}",
                "",
                "Next steps:",
                *((f"  {step}", "cyan") for step in created.next_steps),
            )

    def updated(self, updated: "Updated") -> None:
        """What an update did, or would do."""
        if self._json:
            document = asdict(updated) | {"exit_code": updated.exit_code}
            if updated.status == "available":  # nobody has looked yet
                document |= {"files": None, "answers": None}
            _write(sys.stdout, json.dumps(document, indent=2))
        elif updated.status == "current":
            self._say(f"{updated.path} is at {updated.target}; there is nothing to do.")
        elif updated.status == "available":
            news = f"there is {updated.target}"
            if updated.previous == updated.target:
                news = "its answers would change"
            self._say(f"{updated.path} is at {updated.previous}; {news}.")
        else:
            self._say(*_update(updated))
        if updated.failure:
            _write(sys.stderr, f"error: {_one_line(updated.failure)}")
        elif updated.files.conflicts and not self._talks:
            _write(sys.stderr, f"error: conflicts in {', '.join(updated.files.conflicts)}")

    def finished(self, finished: "Finished") -> None:
        """What an update is after its conflicts."""
        if self._json:
            document = asdict(finished) | {"exit_code": finished.exit_code}
            _write(sys.stdout, json.dumps(document, indent=2))
        lock = f"  uv.lock  {finished.lock}"
        self._say("The update is complete.", *_steps(finished.steps), "", lock, "", _COMMIT)
        if finished.failure:
            _write(sys.stderr, f"error: {_one_line(finished.failure)}")

    def said(self, text: str) -> None:
        """The end, in a sentence."""
        if self._json:
            _write(sys.stdout, json.dumps({"status": text}, indent=2))
        self._say(text)

    def failure(self, error: FastpgNewError) -> None:
        """One line that says what is wrong, and one that says what to do."""
        if self._json:
            document = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
            _write(sys.stdout, json.dumps(document, indent=2))
        _write(sys.stderr, f"error: {_one_line(error.message)}\nhint: {_one_line(error.hint)}")

    def _say(self, *lines: str | tuple[str, str]) -> None:
        """Print texts, some with a style. Rich finds no markup in them: they hold users' words."""
        if not self._talks:
            return
        console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
        with console.capture() as captured:
            for line in lines:
                text, style = (line, None) if isinstance(line, str) else line
                console.print(_CONTROLS.sub("", text), style=style)
        _write(sys.stdout, captured.get().rstrip("\n"))


def _update(updated: "Updated") -> Iterator[str | tuple[str, str]]:
    files, answers = updated.files, updated.answers
    verb = "Would update" if updated.status == "previewed" else "Updated"
    came_from = f" from {updated.previous}" if updated.previous != updated.target else ""
    yield (f"{verb} {updated.path}{came_from} to {updated.target}", "bold green")
    for title, lines in (
        ("Changed by the template", files.updated),
        ("Changed by the template, and by you elsewhere", files.merged),
        (
            "Changed where you renamed them; imports in new lines may still need your names",
            [f"{old} -> {new}" for old, new in files.followed.items()],
        ),
        ("New", files.added),
        ("Renamed", [f"{old} -> {new}" for old, new in files.renamed.items()]),
        ("Removed", files.removed),
        ("Kept, since you changed them; the template has them no longer", files.kept),
        ("Left out, since you deleted them or their directory", files.left_out),
        ("Answers added", [f"{key}: {value or '(empty)'}" for key, value in answers.added.items()]),
        ("Answers changed", [f"{key}: {value}" for key, value in answers.changed.items()]),
        ("Answers dropped", [f"{key}: {value}" for key, value in answers.dropped.items()]),
        ("Answers reset", [f"{key}: {value}" for key, value in answers.reset.items()]),
    ):
        if lines:
            yield from ("", f"{title}:", *(f"  {line}" for line in lines))
    for section in updated.changelog:
        yield from ("", (section.title, "bold"), section.changes)
    yield from _steps(updated.steps)
    if files.conflicts:
        yield from ("", ("Conflicts:", "bold red"))
        for path, lines in files.conflicts.items():
            yield f"  {path}: {_places(lines)}"
    outcome = [f"  tests    {updated.tests}"] if updated.tests != "not run" else []
    if updated.status == "updated":
        outcome.append(f"  uv.lock  {updated.lock}")
    if outcome:
        yield from ("", *outcome)
    if updated.status == "previewed":
        yield from ("", "Nothing was written.")
    elif files.conflicts:
        yield from (
            "",
            "In these files keep what you need of both sides; their imports may have changed, too.",
            f"Edit these files, then: {_command(updated, '--continue')}",
            f"Or give up, and have everything as before: {_command(updated, '--abort')}",
        )
    elif updated.status == "updated":
        yield from ("", _COMMIT)


def _steps(steps: Mapping[str, str]) -> Iterator[str | tuple[str, str]]:
    if steps:
        yield from ("", ("What is left for you to do:", "bold yellow"))
    for title, text in steps.items():
        yield from ("not released yet" if title == "Unreleased" else f"since {title}", text)


def _command(updated: "Updated", option: str) -> str:
    elsewhere = [] if Path.cwd() == Path(updated.path) else [updated.path]
    return shlex.join(["fastpg-new", "update", *elsewhere, option])


def _places(lines: list[str]) -> str:
    return f"lines {', '.join(lines)}" if lines else "yours is kept as it was"


def _write(stream: TextIO, text: str) -> None:
    """Write at once; a reader who has left is no failure of ours."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # Or Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
