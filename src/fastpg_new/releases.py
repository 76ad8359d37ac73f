"""Releases: the commits that change the version in pyproject.toml, and the bundle of them all."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastpg_new.errors import FastpgNewError
from fastpg_new.git import git, isolated

BUNDLE = "template.bundle"
CHANGELOG = "CHANGELOG.md"
# What a release consists of for those who render it.
_FILES = ("copier.yml", "template", CHANGELOG)
_RELEASED_AT = "2000-01-01T00:00:00+0000"


def released(repository: Path, head: str, env: Mapping[str, str]) -> dict[str, str]:
    """The commit of each release up to `head`, by tag, oldest first.

    Tags are not asked: a clone need not have them.
    """
    search = ("log", "--first-parent", "--reverse", "--format=%H", "-G^version = ")
    commits = git(*search, head, "--", "pyproject.toml", cwd=repository, env=env).split()
    versions = _versions(repository, [*commits, *(f"{commit}^" for commit in commits)], env)
    found: dict[str, str] = {}
    for commit in commits:
        before, after = versions[f"{commit}^"], versions[commit]
        # The commit that begins the file sets a version to work towards.
        if before and after and before != after:
            found.setdefault(f"v{after}", commit)
    return found


def mirror(checkout: Path, target: Path, env: Mapping[str, str]) -> None:
    """A bare repository with the commits of a checkout, at its HEAD, and a tag for each release."""
    head = git("rev-parse", "--verify", "HEAD^{commit}", cwd=checkout, env=env)
    init = ("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
    git(*init, str(target), cwd=checkout, env=env)
    parts = ("--git-path", "objects", "--git-path", "shallow")
    found = git("rev-parse", *parts, cwd=checkout, env=env).splitlines()
    objects, shallow = (checkout / path for path in found)
    (target / "objects/info").mkdir(exist_ok=True)
    (target / "objects/info/alternates").write_text(f"{objects}\n")
    if shallow.is_file():
        (target / "shallow").write_bytes(shallow.read_bytes())
    tags = git(
        "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags", cwd=checkout, env=env
    )
    refs = {ref: tagged for tagged, ref in (line.split(" ", 1) for line in tags.splitlines())}
    refs |= {f"refs/tags/{tag}": commit for tag, commit in released(target, head, env).items()}
    refs["refs/heads/main"] = head
    lines = "".join(f"create {ref} {commit}\n" for ref, commit in refs.items())
    git("update-ref", "--stdin", cwd=target, env=env, given=lines)


def bundle(checkout: Path, target: Path, scratch: Path) -> None:
    """Write all releases of a checkout into one file, byte for byte the same from every clone.

    Each is a commit that holds nothing but what is rendered.

    Raises:
        FastpgNewError: the checkout is shallow, or its version is not a release.
    """
    env = isolated(scratch / "gitconfig") | _signed_by_nobody()
    if git("rev-parse", "--is-shallow-repository", cwd=checkout, env=env) == "true":
        raise FastpgNewError("this clone has not all releases", "run git fetch --unshallow")
    repository = scratch / "releases.git"
    mirror(checkout, repository, env)
    head = git("rev-parse", "HEAD", cwd=repository, env=env)
    tags = released(repository, head, env)
    version = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    if next(reversed(tags), None) != f"v{version}":
        raise FastpgNewError(f"version {version} is not released", "run tools/release.py")
    parent: list[str] = []
    for tag, commit in tags.items():
        listed = git("ls-tree", commit, *_FILES, cwd=repository, env=env)
        tree = git("mktree", cwd=repository, env=env, given=f"{listed}\n")
        made = git("commit-tree", tree, *parent, "-m", tag, cwd=repository, env=env)
        git("update-ref", f"refs/tags/{tag}", made, cwd=repository, env=env)
        git("update-ref", "refs/heads/main", made, cwd=repository, env=env)
        parent = ["-p", made]
    packing = ("-c", "pack.threads=1", "-c", "repack.writeBitmaps=false")
    git(*packing, "repack", "-adfq", cwd=repository, env=env)
    (repository / "objects/info/alternates").unlink()
    git(
        *packing,
        "bundle",
        "create",
        "--quiet",
        str(target),
        "HEAD",
        "--all",
        cwd=repository,
        env=env,
    )


def _versions(
    repository: Path, commits: Sequence[str], env: Mapping[str, str]
) -> dict[str, str | None]:
    """The version at each commit, where there is one; one process of git tells them all."""
    asked = "".join(f"{commit}:pyproject.toml\n" for commit in commits)
    told = os.fsencode(git("cat-file", "--batch", cwd=repository, env=env, given=asked))
    found: dict[str, str | None] = {}
    for commit in commits:
        header, _, told = told.partition(b"\n")
        if header.endswith(b" missing"):
            found[commit] = None
        else:
            size = int(header.split()[-1])
            found[commit] = _version(os.fsdecode(told[:size]))
            told = told[size + 1 :]
    return found


def _version(pyproject: str) -> str | None:
    try:
        return str(tomllib.loads(pyproject)["project"]["version"])
    except (tomllib.TOMLDecodeError, LookupError, TypeError):
        return None


def _signed_by_nobody() -> dict[str, str]:
    return {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "fastpg-new"), ("EMAIL", "fastpg-new"), ("DATE", _RELEASED_AT))
    }
