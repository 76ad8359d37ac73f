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
@pytest.mark.parametrize("member", [OFF, ON], ids=str)
def test_other_services_pass_their_own_check(tmp_path: Path, member: Member) -> None:
    locked(member, tmp_path).run("uv", "run", "poe", "check")


@pytest.mark.larger
@pytest.mark.parametrize("member", [DEFAULT, OFF], ids=str)
def test_the_lowest_versions_that_are_declared_will_do(tmp_path: Path, member: Member) -> None:
    service = locked(member, tmp_path, "--resolution=lowest-direct")
    service.run("uv", "run", "--no-sync", "pytest", "--numprocesses=auto")


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


def passes_with_python(service: Service, version: str, **variables: str) -> None:
    # pyenv hides all but one version from PATH; elsewhere uv finds or fetches one by its number.
    hidden = Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(f"versions/{version}*/bin/python")
    python = str(next(hidden, version))
    service.run("uv", "sync", "--quiet", "--python", python)
    service.run("uv", "run", "--python", python, "pytest", "--numprocesses=auto", **variables)


@pytest.mark.larger
def test_the_newest_python_will_do(tmp_path: Path) -> None:
    passes_with_python(create(DEFAULT, tmp_path), "3.13")


@pytest.mark.larger
def test_an_older_postgresql_of_the_system_will_do(
    tmp_path: Path, older_postgresql: Cluster
) -> None:
    """With a Python between the oldest and the newest."""
    passes_with_python(create(DEFAULT, tmp_path), "3.12", DATABASE_URL=older_postgresql.url)


@pytest.mark.larger
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_answer_surprises_a_fuzzer(tmp_path: Path, seed: int) -> None:
    service = create(DEFAULT, tmp_path)
    fuzz = service.path / "tests" / "test_fuzz.py"
    text = fuzz.read_text()
    assert '"--max-examples", "5"' in text
    fuzz.write_text(text.replace('"5"', f'"150", "--seed", "{seed}"'))
    service.run("uv", "run", "pytest", "tests/test_fuzz.py")
