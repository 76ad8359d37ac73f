"""The rendered services pass their own checks, on a real PostgreSQL."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.product.conftest import DEFAULT, OFF, ON, Cluster, Member, Service, create


def locked(member: Member, parent: Path, *options: str) -> Service:
    service = create(member, parent, "--no-lock")
    service.run("uv", "lock", "--quiet", *options)
    service.run("uv", "sync", "--locked", "--quiet", *options)
    return service


def test_the_default_service_passes_its_own_check(tmp_path: Path) -> None:
    locked(DEFAULT, tmp_path).run("uv", "run", "poe", "check")


@pytest.mark.larger
def test_the_smallest_service_passes_its_own_check(tmp_path: Path) -> None:
    locked(OFF, tmp_path).run("uv", "run", "poe", "check")


@pytest.mark.larger
def test_the_oldest_that_is_declared_will_do(tmp_path: Path, older_postgresql: Cluster) -> None:
    """The lowest versions of all dependencies, on an older PostgreSQL, which is the system's."""
    service = locked(DEFAULT, tmp_path, "--resolution=lowest-direct")
    url = {"DATABASE_URL": older_postgresql.url}
    service.run("uv", "run", "--no-sync", "pytest", "--numprocesses=auto", **url)


@pytest.mark.larger
def test_the_newest_python_will_do(tmp_path: Path) -> None:
    """With every answer another one."""
    service = create(ON, tmp_path)
    # pyenv hides all but one version from PATH; elsewhere uv finds or fetches one by its number.
    hidden = Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob("versions/3.13*/bin/python")
    python = str(next(hidden, "3.13"))
    service.run("uv", "sync", "--quiet", "--python", python)
    service.run("uv", "run", "--python", python, "pytest", "--numprocesses=auto")


@pytest.mark.faults
def test_the_default_service_survives_its_faults(tmp_path: Path) -> None:
    report = locked(DEFAULT, tmp_path).run("uv", "run", "poe", "faults")
    print(report.partition(" figures ")[2])  # noqa: T201  (they are to be quoted)


@pytest.mark.larger
def test_without_the_example_domain_everything_stays_green(tmp_path: Path) -> None:
    service = create(DEFAULT, tmp_path)
    shutil.rmtree(service.package / "notes")
    shutil.rmtree(service.path / "tests" / "notes")
    (service.package / "database/migrations/versions/0004_notes.py").unlink()
    access = service.package / "database/access.toml"
    access.write_text(access.read_text().partition("[notes]")[0])
    app = service.package / "app.py"
    lines = app.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not re.search(r"\bnotes\b", line)]
    assert len(lines) - len(kept) == 2  # its import and its use
    app.write_text("".join(kept))
    service.run("uv", "run", "poe", "check")


@pytest.mark.larger
def test_no_answer_surprises_a_fuzzer(tmp_path: Path) -> None:
    service = create(DEFAULT, tmp_path)
    fuzz = service.path / "tests" / "test_fuzz.py"
    text = fuzz.read_text()
    assert '"--max-examples", "5"' in text
    fuzz.write_text(text.replace('"5"', '"100", "--seed", "1"'))
    service.run("uv", "run", "pytest", "tests/test_fuzz.py")
