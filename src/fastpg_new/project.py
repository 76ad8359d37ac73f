"""What follows the rendering: dependencies locked, a repository with a first commit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fastpg_new.errors import FastpgNewError
from fastpg_new.git import GitFailed, environment, git

# Neither hooks nor signing nor ignore rules of the user's get into the first commit's way, and
# nobody is its author by a guess from the host's name.
_SETTINGS = (
    "safe.directory=*",
    "core.hooksPath=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "commit.gpgSign=false",
    "user.useConfigOnly=true",
)
_GIT = [argument for setting in _SETTINGS for argument in ("-c", setting)]


def lock(project: Path, remedy: str, *, progress: bool) -> str:
    """Run `uv lock`; uv draws its own progress. `remedy` says what to do after a failure."""
    uv = _uv()
    if not uv:
        raise FastpgNewError("uv is not on PATH, so nothing is locked", f"install uv: {remedy}")
    command = _run(uv, "lock", project=project, shown=progress)
    if command.returncode != 0:
        complaint = " ".join(os.fsdecode(command.stdout or b"").split())
        raise FastpgNewError(
            f"`uv lock` failed {complaint}".rstrip(), f"check the network: {remedy}"
        )
    return "done"


def test(project: Path, *, progress: bool, steps: bool) -> None:
    """Run the project's own tests, which may need the steps that a person has yet to take."""
    command = _run(uv_command(), "run", "pytest", project=project, shown=progress)
    if command.returncode != 0:
        said = os.fsdecode(command.stdout or b"").strip().splitlines()
        remedy = "apply it without --test, and mend it"
        if steps:
            remedy = "apply it without --test, take the steps that --dry-run shows, test again"
        raise FastpgNewError(
            "the project's tests fail on the merge, which was not applied",
            f"{''.join(said[-1:]) or 'see above'}; {remedy}",
        )


def _run(*command: str, project: Path, shown: bool) -> subprocess.CompletedProcess[bytes]:
    env = {name: value for name, value in environment().items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        command,
        cwd=project,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shown else subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def uv_command() -> str:
    """How to call uv from where the user is: by its path, when PATH does not lead to it."""
    return "uv" if shutil.which("uv") else _uv() or "uv"


def _uv() -> str | None:
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def commit(project: Path, message: str) -> str:
    """Make the project a repository with one commit, and say what was done."""
    env = environment()
    if _inside_work_tree(project.parent, env):
        return "skipped: the project is inside another repository"
    git(*_GIT, "init", "--initial-branch=main", "--template=", cwd=project, env=env)
    try:
        git(*_GIT, "var", "GIT_COMMITTER_IDENT", cwd=project, env=env)
        git(*_GIT, "var", "GIT_AUTHOR_IDENT", cwd=project, env=env)
    except GitFailed:
        return "no first commit: git has no user.name and user.email"
    git(*_GIT, "add", "--all", cwd=project, env=env)
    git(*_GIT, "commit", "--message", message, cwd=project, env=env)
    return "first commit on main"


def _inside_work_tree(directory: Path, env: dict[str, str]) -> bool:
    try:
        return git(*_GIT, "rev-parse", "--is-inside-work-tree", cwd=directory, env=env) == "true"
    except GitFailed:
        return False
