"""Where the template comes from: a checkout, the installed release, or a given address."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from plumbum import local

from fastpg_new import addresses, releases
from fastpg_new.errors import BadInput, FastpgNewError
from fastpg_new.git import GitFailed, environment, git, isolated

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE.parent.parent
_BUNDLE = _PACKAGE / releases.BUNDLE


@dataclass(frozen=True)
class Template:
    """One commit of a template, and the address under which a project remembers it."""

    address: str
    repository: Path
    commit: str
    scratch: Path

    def read(self, path: str) -> str:
        """A file of the template as it is committed."""
        try:
            return self._git("show", f"{self.commit}:{path}")
        except GitFailed as error:
            raise BadInput(
                f"{self.address} has no {path}", "give the address of a template"
            ) from error

    def at(self, revision: str) -> "Template | None":
        """The template at another commit, if there is such a one."""
        try:
            # Never "HEAD", for which Copier would add what is not committed.
            found = self._git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        except GitFailed:
            return None
        return replace(self, commit=found)

    def checkout(self) -> Path:
        """The directory with its files."""
        directory = self.scratch / self.commit
        if not directory.exists():
            self._git("worktree", "add", "--quiet", "--detach", str(directory), self.commit)
            if (directory / ".gitmodules").exists():
                env = isolated(self.scratch / "gitconfig")
                git("submodule", "update", "--init", "--recursive", cwd=directory, env=env)
        return directory.resolve()

    @property
    def name(self) -> str:
        """The release it is at, or the distance from one: what a project will remember."""
        return self._git("describe", "--tags", "--always", self.commit)

    @property
    def releases(self) -> list[str]:
        """The tags of all releases, oldest first."""
        return self._git("tag", "--list", "v*", "--sort=version:refname").splitlines()

    def contains(self, other: "Template") -> bool:
        """Whether this commit has the other in its history."""
        try:
            self._git("merge-base", "--is-ancestor", other.commit, self.commit)
        except GitFailed:
            return False
        return True

    def _git(self, *arguments: str) -> str:
        env = isolated(self.scratch / "gitconfig")
        return git(*arguments, cwd=self.repository, env=env)


def find(address: str | None, scratch: Path) -> Template:
    """The template to render; what is needed to read it goes to `scratch`."""
    env = isolated(scratch / "gitconfig")
    if address:
        try:
            recorded, repository = _given(address, scratch)
        except (ValueError, RuntimeError) as error:  # of urllib and pathlib
            raise BadInput(
                addresses.shown(f"{address!r} is no address of a template"),
                "give the directory or the address of one",
            ) from error
    elif _is_checkout(_ROOT, env):
        recorded, repository = _checkout_address(_ROOT, env), scratch / "template.git"
        releases.mirror(_ROOT, repository, env)
    else:
        recorded, repository = addresses.installed_from(), scratch / "template.git"
        git("clone", "--quiet", "--mirror", str(_BUNDLE), str(repository), cwd=scratch, env=env)
    return Template(recorded, repository, _head(repository, recorded, env), scratch)


def remembered(address: str, scratch: Path) -> Template:
    """The template that a project remembers; ours even before it had an address."""
    ours = find(None, scratch)
    if address in {ours.address, addresses.canonical()}:
        return ours
    other = scratch / "other"
    other.mkdir()
    return find(address, other)


@contextmanager
def undisturbed(scratch: Path) -> Iterator[None]:
    """Let Copier's git see nothing of the user's, and Copier write nothing elsewhere."""
    wanted = isolated(scratch / "gitconfig") | {"TMPDIR": str(scratch)}
    environ, directory = dict(os.environ), tempfile.tempdir
    with local.env():  # a copy of the environment, made when plumbum was imported
        try:
            for variables in (os.environ, local.env):
                variables.clear()
                variables.update(wanted)
            tempfile.tempdir = str(scratch)
            yield
        finally:
            tempfile.tempdir = directory
            os.environ.clear()
            os.environ.update(environ)


def _given(address: str, scratch: Path) -> tuple[str, Path]:
    repository = scratch / "template.git"
    if not addresses.is_remote(address):
        path = str(Path(address).expanduser().resolve())
        # Not read where it is: a project may name a repository whose configuration runs programs.
        env = isolated(scratch / "gitconfig")
        try:
            git(
                "clone", "--mirror", "--no-local", "--", path, str(repository), cwd=scratch, env=env
            )
        except GitFailed as error:
            raise BadInput(
                f"{addresses.shown(address)} is not a git repository with a commit",
                "give the directory or the address of one",
            ) from error
        return path, repository
    recorded = addresses.recorded(address)
    url = addresses.git_url(address)
    try:
        # In the user's own configuration, which may hold the credentials.
        git("clone", "--mirror", "--", url, str(repository), cwd=scratch, env=environment())
    except GitFailed as error:
        raise FastpgNewError(
            addresses.shown(f"the template at {recorded} cannot be read: {error.message}"),
            "check the address, the network and your access to it",
        ) from error
    return recorded, repository


def _is_checkout(root: Path, env: dict[str, str]) -> bool:
    if not ((root / "copier.yml").is_file() and (root / "template").is_dir()):
        return False
    try:
        top = git("rev-parse", "--show-toplevel", cwd=root, env=env)
    except GitFailed:
        return False
    return Path(top).resolve() == root.resolve()


def _checkout_address(root: Path, env: dict[str, str]) -> str:
    try:
        return addresses.public(git("config", "--get", "remote.origin.url", cwd=root, env=env))
    except GitFailed:
        return addresses.canonical()


def _head(repository: Path, address: str, env: dict[str, str]) -> str:
    """A hash and never "HEAD", for which Copier would add what is not committed."""
    try:
        return git("rev-parse", "--verify", "HEAD^{commit}", cwd=repository, env=env)
    except (GitFailed, OSError) as error:
        raise BadInput(
            f"{address} is not a git repository with a commit",
            "give the directory or the address of one",
        ) from error
