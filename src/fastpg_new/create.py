"""A new service, from a name to its first commit."""

import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from fastpg_new import project, prompts, source
from fastpg_new.answers import NAME, Questions, command
from fastpg_new.errors import BadInput, Interrupted
from fastpg_new.render import render
from fastpg_new.report import Created, Report
from fastpg_new.staging import listening, workspace
from fastpg_new.target import Target


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    path: str | None
    answers: Mapping[str, str]
    interactive: bool
    defaults: bool = False
    template: str | None = None
    dry_run: bool = False
    lock: bool = True
    git: bool = True


def create(request: Request, report: Report) -> Created:
    """Validate the name, collect answers, render, rename into place, lock, commit."""
    target = None
    temporary = Path(tempfile.gettempdir())
    try:
        with listening(), workspace(temporary, "template") as scratch:
            scratch.mkdir()
            template = source.find(request.template, scratch)
            questions = Questions(template.read("copier.yml"))
            target = Target(_path(request, questions))
            answers = _checked(request, questions, target)
            prefilled = prompts.prefilled(questions) if request.interactive else None
            parent = temporary if request.dry_run else target.ancestor
            with workspace(parent, target.name) as new:
                recorded = render(template, new, answers, prefilled)
                answers = {key: recorded[key] for key in questions}  # in the order of asking
                created = _described(request, target, answers, new)
                if request.dry_run:
                    return created
                target.take(new)
            if request.interactive:
                report.summary(created)
            return _finished(request, target, created, report)
    except KeyboardInterrupt as error:
        remains = target.remains() if target else "nothing was created"
        raise Interrupted("interrupted", remains) from error


def _path(request: Request, questions: Questions) -> str:
    if request.path is not None:
        return request.path
    if NAME in request.answers:
        return request.answers[NAME]
    if request.interactive:
        return prompts.ask_name(questions)
    raise BadInput("no name is given", "write fastpg-new NAME, such as fastpg-new my-service")


def _checked(request: Request, questions: Questions, target: Target) -> dict[str, str]:
    """The answers given so far; nothing is written unless all of them are good."""
    if request.answers.get(NAME, target.name) != target.name:
        raise BadInput(f"{NAME} contradicts the name {target.shown}", "leave one of them out")
    answers = {NAME: target.name, **prompts.unasked(questions), **request.answers}
    questions.check(answers)
    target.must_be_free()
    if not (request.interactive or request.defaults) and (rest := questions.unanswered(answers)):
        raise BadInput(
            f"there is no terminal to ask for {', '.join(rest)}",
            "add --defaults, or answer with --data KEY=VALUE",
        )
    return answers


def _described(
    request: Request, target: Target, answers: Mapping[str, str], rendered: Path
) -> Created:
    files = [str(file.relative_to(rendered)) for file in rendered.rglob("*") if file.is_file()]
    options = [f"--template={request.template}"] if request.template else []
    options += [] if request.lock else ["--no-lock"]
    options += [] if request.git else ["--no-git"]
    uv = project.uv_command()
    return Created(
        path=str(target.path),
        shown=target.shown,
        dry_run=request.dry_run,
        answers=answers,
        files=sorted([*files, "uv.lock"] if request.lock else files),
        replay=command(target.shown, answers, options),
        next_steps=[
            shlex.join(["cd", target.shown]),
            shlex.join([uv, "run", "poe", "dev"]),
            shlex.join([uv, "run", "pytest"]),
        ],
    )


def _finished(request: Request, target: Target, created: Created, report: Report) -> Created:
    if request.lock:
        report.step("Locking dependencies with uv ...")
        remedy = f"the project in {target.path} is complete; run `uv lock` in it, then git init"
        lock = project.lock(target.path, remedy, progress=report.progress)
        created = replace(created, lock=lock)
    if request.git:
        message = f"Create {target.name} with fastpg-new {version('fastpg-new')}"
        created = replace(created, git=project.commit(target.path, message))
    return created
