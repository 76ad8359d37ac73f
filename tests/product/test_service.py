"""The rendered services pass their own checks, on a real PostgreSQL."""

import re
import shutil
from pathlib import Path

import pytest

from tests.product.conftest import DEFAULT, OFF, ON, Service, create, parameters


@pytest.mark.parametrize("service", parameters(DEFAULT, OFF, ON), indirect=True)
def test_its_own_check_is_green(service: Service) -> None:
    service.run("uv", "run", "poe", "check")


def test_without_the_example_domain_everything_stays_green(tmp_path: Path) -> None:
    service = create(DEFAULT, tmp_path)
    shutil.rmtree(service.package / "notes")
    shutil.rmtree(service.path / "tests" / "notes")
    (service.package / "database/migrations/versions/0002_notes.py").unlink()
    app = service.package / "app.py"
    lines = app.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not re.search(r"\bnotes\b", line)]
    assert len(lines) - len(kept) == 2  # its import and its use
    app.write_text("".join(kept))
    service.run("uv", "sync", "--quiet")
    service.run("uv", "run", "poe", "check")
