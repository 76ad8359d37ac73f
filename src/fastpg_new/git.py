"""Git, without what surrounds us: no inherited GIT_DIR, no user configuration where none is due."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from fastpg_new.errors import FastpgNewError

# What an inherited configuration may also be.
_TASTES = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_DEFAULT_HASH")


class GitFailed(FastpgNewError):
    """A git command failed; the message is what it complained about."""

    def __init__(self, complaint: str) -> None:
        super().__init__(f"git failed: {complaint}", "check the repository and the space left")


class Repository:
    """Git in one directory, in one environment, with settings that outdo any configuration."""

    def __init__(self, path: Path, env: Mapping[str, str], settings: Iterable[str]) -> None:
        self._path = path
        self._env = env
        self._settings = [argument for setting in settings for argument in ("-c", setting)]

    def __call__(
        self,
        *arguments: str,
        given: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run git and return what it prints."""
        everything = {**self._env, **(env or {})}
        return git(*self._settings, *arguments, cwd=cwd or self._path, env=everything, given=given)

    def names(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> list[str]:
        """Run git, which ends each of its answers with a NUL."""
        return [name for name in self(*arguments, cwd=cwd, env=env).split("\0") if name]


def git(*arguments: str, cwd: Path, env: Mapping[str, str], given: str = "") -> str:
    """Run git, with something to read if it is given, and return what it prints."""
    command = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=env,
        input=os.fsencode(given),
        capture_output=True,
        check=False,
    )
    if command.returncode != 0:
        raise GitFailed(_complaint(os.fsdecode(command.stderr), command.returncode))
    return os.fsdecode(command.stdout).rstrip("\n")


def _complaint(said: str, code: int) -> str:
    """The line that says what is wrong; before it may be progress, and after it advice."""
    lines = said.strip().splitlines()
    wrong = [line for line in lines if line.startswith(("fatal: ", "error: "))]
    return (wrong or lines[-1:] or [f"git ended with {code}"])[0]


def environment() -> dict[str, str]:
    """Our environment without the variables that tie git to another repository."""
    return {name: value for name, value in os.environ.items() if name not in _local_variables()}


def isolated(configuration: Path) -> dict[str, str]:
    """An environment in which git sees no configuration but the one written here.

    It is a file rather than GIT_CONFIG_COUNT because git hides the latter from the upload-pack it
    starts, which then refuses a repository of another user ("dubious ownership").
    """
    configuration.write_text('[safe]\ndirectory = *\n[protocol "file"]\nallow = user\n')
    inherited = environment()
    ours = {name: value for name, value in inherited.items() if not name.startswith(_TASTES)}
    return ours | {
        "GIT_CONFIG_GLOBAL": str(configuration),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


@cache
def _local_variables() -> frozenset[str]:
    if not shutil.which("git"):
        raise FastpgNewError("git is not on PATH", "install git 2.32 or newer")
    # Whatever is wrong with the user's configuration is said when that is needed.
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    listed = git("rev-parse", "--local-env-vars", cwd=Path("/"), env=env)
    return frozenset(listed.split()) | {"GIT_ALLOW_PROTOCOL"}


def quoted(value: str) -> str:
    """A value as git's configuration, and its list of borrowed repositories, have it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
