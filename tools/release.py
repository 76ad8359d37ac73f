"""Makes a release: `uv run tools/release.py 1.2.0` on a clean main, with notes under Unreleased.

A release is the commit that changes the version. It is built twice, from this checkout and from a
fresh clone, and what the wheel renders is compared with what the checkout renders, before it gets
its tag. Whatever fails, the commit is taken back.
"""

import argparse
import datetime
import filecmp
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT, CHANGELOG = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
ANSWERS: tuple[list[str], ...] = (
    ["--data=identity=none", "--data=ci=none"],
    ["--data=identity=keycloak", "--data=database_credentials=azure"],
    [],
)


def main() -> None:
    """Bump, describe, commit, build, verify, tag; publish where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", help="such as 1.2.0, without a v")
    parser.add_argument("--publish", action="store_true", help="push it, and upload what was built")
    arguments = parser.parse_args()
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    _must_be_possible(arguments.version, project["version"])
    address = project["urls"]["Template"]
    if ".invalid/" in address:
        print(f"note: {address} is a reserved name: nobody can fetch a template from there.")
        if arguments.publish:
            sys.exit(
                "error: a release that cannot be updated is not published\n"
                "hint: set [project.urls] Template in pyproject.toml to the repository's address"
            )
    _write(arguments.version)
    _git("commit", "--quiet", "--all", "--message", f"Release {arguments.version}")
    try:
        _verify(arguments.version)
        _git("tag", f"v{arguments.version}", "--message", f"Release {arguments.version}")
    except BaseException:
        _git("reset", "--quiet", "--hard", "HEAD~1")
        raise
    print(f"Released {arguments.version}: wheel and sdist are in dist/, the tag is set.")
    if arguments.publish:
        _git("push", "--atomic", "origin", "HEAD", f"v{arguments.version}")
        _run("uv", "publish", *map(str, _built(ROOT / "dist", arguments.version)))


def _must_be_possible(version: str, current: str) -> None:
    if not VERSION.fullmatch(version) or _order(version) <= _order(current):
        sys.exit(f"error: {version} is no version above {current}\nhint: write it as 1.2.0")
    if _git("status", "--porcelain"):
        sys.exit("error: there are changes that are not committed\nhint: commit them")
    if not _notes().strip():
        sys.exit("error: CHANGELOG.md has nothing under Unreleased\nhint: say what changed")


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _notes() -> str:
    after = CHANGELOG.read_text().partition("## Unreleased\n")[2]
    return re.split(r"^## ", after, maxsplit=1, flags=re.MULTILINE)[0]


def _write(version: str) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    title = "## Unreleased\n"
    CHANGELOG.write_text(
        CHANGELOG.read_text().replace(title, f"{title}\n## {version} ({today})\n", 1)
    )
    PYPROJECT.write_text(
        re.sub(
            r'^version = ".*"$', f'version = "{version}"', PYPROJECT.read_text(), flags=re.MULTILINE
        )
    )


def _verify(version: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        _run("git", "clone", "--quiet", "--no-tags", str(ROOT), str(scratch / "clone"))
        for place in (ROOT, scratch / "clone"):
            _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", cwd=place)
        sdist = _built(ROOT / "dist", version)[0]
        _run("tar", "xf", str(sdist), "--strip-components=1", "--one-top-level=sdist", cwd=scratch)
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=scratch / "sdist")
        (wheel,) = (scratch / "sdist/dist").glob("*.whl")
        (ROOT / "dist" / wheel.name).write_bytes(wheel.read_bytes())
        _same(sdist, _built(scratch / "clone/dist", version)[0], "builds of two clones")
        _run("uv", "pip", "install", "--quiet", "--no-deps", f"--target={scratch}/site", str(wheel))
        for number, answers in enumerate(ANSWERS):
            for name, code in (("wheel", scratch / "site"), ("checkout", ROOT / "src")):
                project = scratch / f"{name}-{number}" / "my-service"
                options = ["--defaults", "--quiet", "--no-lock", "--no-git", *answers]
                command = (sys.executable, "-m", "fastpg_new", str(project), *options)
                _run(*command, cwd=scratch, PYTHONPATH=str(code))
            paths = {
                str(path.relative_to(scratch / f"{name}-{number}"))
                for name in ("wheel", "checkout")
                for path in (scratch / f"{name}-{number}").rglob("*")
                if path.is_file()
            }
            for path in paths:
                sides = (scratch / f"wheel-{number}" / path, scratch / f"checkout-{number}" / path)
                _same(*sides, f"wheel's and checkout's {path}")


def _same(one: Path, other: Path, what: str) -> None:
    if not (one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)):
        sys.exit(f"error: {what} differ")


def _built(place: Path, version: str) -> list[Path]:
    return sorted(place.glob(f"fastpg_new-{version}*"), key=lambda path: path.suffix)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def _run(*command: str, cwd: Path = ROOT, **env: str) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | env, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed\n{done.stdout}{done.stderr}".rstrip())


if __name__ == "__main__":
    main()
