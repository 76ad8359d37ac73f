"""A project at a newer release of its template, or with other answers."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from fastpg_new import changelog, project, source
from fastpg_new.answers import NAME, Questions
from fastpg_new.changelog import Section
from fastpg_new.errors import BadInput, FastpgNewError, Interrupted, NewerProject, Unsolved
from fastpg_new.existing import Project
from fastpg_new.merge import Merge, Workshop
from fastpg_new.releases import CHANGELOG
from fastpg_new.report import Report
from fastpg_new.source import Template
from fastpg_new.staging import held, listening, workspace


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    path: Path
    answers: Mapping[str, str] = field(default_factory=dict)
    to: str | None = None
    dry_run: bool = False
    check: bool = False
    test: bool = False
    lock: bool = True


@dataclass
class Answers:
    """What became of the answers."""

    added: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    reset: dict[str, str] = field(default_factory=dict)
    """Those that are answers no longer, with the reason."""
    changed: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """What a person has to do, since they changed."""


@dataclass
class Updated:
    """What came of it; also the document that --json prints."""

    path: str
    previous: str
    target: str
    status: Literal["current", "available", "previewed", "conflicts", "updated"]
    files: Merge = field(default_factory=Merge)
    answers: Answers = field(default_factory=Answers)
    changelog: list[Section] = field(default_factory=list)
    tests: str = "not run"
    lock: str = "unchanged"
    failure: str = ""
    """Why uv.lock could not be renewed; everything else is done."""

    @property
    def steps(self) -> dict[str, str]:
        """What a person has to do: release by release, the oldest first, then by answer."""
        steps = {section.title: section.steps for section in self.changelog[::-1] if section.steps}
        return steps | {f"{key} changed": text for key, text in self.answers.steps.items()}

    @property
    def exit_code(self) -> int:
        """As scripts need it: conflicts and outdated projects are no success."""
        if self.files.conflicts:
            return 3
        if self.failure:
            return 1
        return 4 if self.status == "available" else 0


@dataclass(frozen=True)
class Finished:
    """An update whose conflicts are solved; also the document that --json prints."""

    steps: dict[str, str]
    lock: str
    failure: str
    """Why uv.lock could not be renewed."""

    @property
    def exit_code(self) -> int:
        """1 when uv.lock is stale."""
        return 1 if self.failure else 0


def update(request: Request, report: Report) -> Updated:
    """Find the two releases, render both, merge them with the project, test, apply, lock."""
    remains = "nothing was changed"
    try:
        with listening(), workspace(Path(tempfile.gettempdir()), "update") as scratch:
            scratch.mkdir()
            existing = Project(request.path)
            existing.must_not_wait()
            template = source.remembered(existing.address, scratch)
            old, new = _releases(existing, template, request)
            questions = Questions(new.read("copier.yml"))
            questions.check(request.answers)
            if NAME in _changed(existing.answers, request.answers):
                raise BadInput(
                    f"a service keeps its name, here {existing.answers[NAME]}: its migrations and "
                    "its database's roles have it",
                    "make a new service, and take your code there; or rename this one by hand",
                )
            updated = Updated(str(existing.path), old.name, new.name, "current")
            if old.commit != new.commit:
                updated.changelog = _changes(old, new)
            elif not _changed(existing.answers, request.answers):
                return updated
            if request.check:
                updated.status = "available"
                return updated
            existing.must_be_clean()
            workshop = _merge(existing, old, new, questions, request, updated, scratch)
            names = [*updated.files.added, *updated.files.renamed.values()]
            existing.must_have_room(names)
            result = workshop.result(updated.files)
            if request.test and updated.files.conflicts:
                updated.tests = "not run, since there are conflicts"
            elif request.test:
                report.step("Testing what came of it ...")
                project.test(workshop.path, progress=report.talks, steps=bool(updated.steps))
                updated.tests = "passed"
            if request.dry_run:
                updated.status = "previewed"
                return updated
            existing.must_have_room(names)  # the tests took their time
            with held():
                changed = existing.apply(result, lock=request.lock, steps=updated.steps)
                remains = "the update is in the project; see git status"
            updated.status = "conflicts" if updated.files.conflicts else "updated"
            if not updated.files.conflicts and request.lock:
                updated.lock, updated.failure = _lock(existing, changed, report)
            return updated
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", remains) from error


def proceed(path: Path, report: Report, *, lock: bool) -> Finished:
    """Finish an update whose conflicts are solved."""
    with _interruptible("see git status"):
        existing = Project(path)
        if marked := existing.marked():
            places = [f"{file}: {', '.join(map(str, lines))}" for file, lines in marked.items()]
            raise Unsolved(
                f"markers of conflicts are left in {'; '.join(places)}",
                "edit these files, then --continue once more",
            )
        state = existing.finish()
        wanted = lock and state.lock
        renewed = _lock(existing, state.changed, report) if wanted else ("unchanged", "")
        return Finished(state.steps, *renewed)


def abort(path: Path) -> None:
    """Give up an update: the project is what it was before."""
    with _interruptible("see git status"):
        Project(path).abort()


@contextmanager
def _interruptible(remains: str) -> Iterator[None]:
    try:
        with listening():
            yield
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted", remains) from error


def _releases(existing: Project, template: Template, request: Request) -> tuple[Template, Template]:
    old = template.at(existing.commit)
    new: Template | None = template
    if request.to is not None:
        tag = f"v{request.to.removeprefix('v')}"
        new = template.at(tag) if tag in template.releases else None
    if new is None:
        known = ", ".join(template.releases) or "none"
        raise BadInput(f"there is no release {request.to}", f"the releases are {known}")
    if old is None or (old.commit != new.commit and old.contains(new)):
        if request.to and old:
            raise BadInput(
                f"the project is at {existing.commit}, which is newer than {request.to}",
                "there is no way back but git's",
            )
        raise NewerProject(
            f"the project is at {existing.commit}, which {template.address} does not have here",
            "upgrade fastpg-new: uv tool upgrade fastpg-new, or pip install --upgrade fastpg-new",
        )
    return old, new


def _changes(old: Template, new: Template) -> list[Section]:
    try:
        return changelog.since(new.read(CHANGELOG), old.name)
    except BadInput:  # a template need not have one
        return []


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in new.items() if old.get(key) != value}


def _merge(
    existing: Project,
    old: Template,
    new: Template,
    questions: Questions,
    request: Request,
    updated: Updated,
    scratch: Path,
) -> Workshop:
    from fastpg_new.render import render  # and all of Copier, which --check need not wait for

    answers, before = updated.answers, existing.answers
    for key, value in before.items():
        asked = key in questions and key not in request.answers
        if asked and (problem := questions.problem(key, value)):
            answers.reset[key] = f"{value!r} {problem}"
    wanted = {key: value for key, value in before.items() if key not in answers.reset}
    # What the new release no longer writes, because it is written once, is nothing to delete.
    exclude = yaml.safe_load(new.read("copier.yml")).get("_exclude") or []
    render(old, scratch / "old", before, operation="update", exclude=exclude)
    now = render(new, scratch / "new", wanted | dict(request.answers), operation="update")
    answers.added = {key: value for key, value in now.items() if key not in before}
    answers.dropped = {key: value for key, value in before.items() if key not in now}
    # A question that is not asked any more, or whose answer is secret, is not among them.
    answers.reset = {key: f"{why}; now {now.get(key)!r}" for key, why in answers.reset.items()}
    answers.changed = _changed(before, {key: now[key] for key in request.answers if key in now})
    answers.steps = questions.steps(before, now)
    workshop = Workshop(existing, scratch)
    updated.files = workshop.merge(scratch / "old", scratch / "new")
    return workshop


def _lock(existing: Project, changed: list[str], report: Report) -> tuple[str, str]:
    """Renew uv.lock, after the merge and outside of it, where it can be stale.

    Returns what became of it, and why it could not be renewed.
    """
    if not existing.tracks("uv.lock"):
        return "none", ""
    if f"{existing.prefix}pyproject.toml" not in changed:
        return "unchanged", ""
    report.step("Locking dependencies with uv ...")
    remedy = "the update is complete but for uv.lock; run `uv lock`"
    try:
        project.lock(existing.path, remedy, progress=report.progress)
    except FastpgNewError as error:
        return f"stale: {error.hint}", error.message
    existing.stage("uv.lock")
    return "renewed", ""
