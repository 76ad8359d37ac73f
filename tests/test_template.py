"""The template in Copier's own hands."""

from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

CI_FILES = {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_there_is_no_trace_of_a_ci_that_was_not_chosen(ci: str, copie: Copie) -> None:
    result = copie.copy(extra_answers={"project_name": "shop", "ci": ci})
    assert result.exit_code == 0, result.exception
    project = result.project_dir or Path()
    assert [name for name, file in CI_FILES.items() if (project / file).exists()] == (
        [ci] if ci in CI_FILES else []
    )
    words = {"github", "gitlab"} - {ci}
    for file in project.rglob("*"):
        if file.is_file() and file.name != ".copier-answers.yml":
            text = file.read_text().lower()
            assert not [word for word in words if f".{word}" in text], file


def test_no_answer_that_is_computed_is_remembered(copie: Copie) -> None:
    result = copie.copy(extra_answers={"project_name": "shop"})
    assert result.exit_code == 0, result.exception
    assert sorted(result.answers) == [
        "author", "ci", "database_credentials", "description", "identity", "project_name",
        "repository"]  # fmt: skip
