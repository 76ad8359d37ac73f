"""Whatever is answered, the rendered project is right."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.product.conftest import DEFAULT, MATRIX, OFF, PROVIDERS, Service, parameters

TRACES_OF_IDENTITY = (
    "identity|oidc|openid|oauth|jwt|jwks|issuer|principal|persona|tenant|signed|bearer|"
    "access.token|authoriz|row.level|polic(y|ies)|anonymous"
)
TRACES_OF_TOKENS = {
    "aws": r"aws|sigv4|botocore",
    "gcp": r"gcp|gce_|cloudsqltoken",
    "azure": r"azure|ossrdbms|imds",
    "oauth": r"database_oauth|clientcredentials",
}
every_member = pytest.mark.parametrize("service", parameters(*MATRIX), indirect=True)


@every_member
class TestEveryMember:
    def test_nothing_of_the_template_is_left(self, service: Service) -> None:
        for file in service.files():
            if file.name == ".copier-answers.yml":
                continue
            lines = file.read_text().splitlines(keepends=True)
            text = "".join(line for line in lines if "7 * 7" not in line.replace("\\", ""))
            assert not re.search(r"(?<!\$)\{\{|\{%|\{#", text), file
            assert "fastpg" not in text or file.suffix == ".md", file  # updates have a command
            assert not re.search(r"[ \t]+$|\n\n\Z", text, re.MULTILINE) or file.suffix == ".md", (
                file
            )

    def test_formatter_linter_and_type_checker_are_content(
        self, service: Service, tools: dict[str, str]
    ) -> None:
        for check in (("ruff", "format", "--check"), ("ruff", "check"), ("mypy",)):
            service.run("uv", "run", *check, **tools)

    def test_text_answers_arrive_unchanged(self, service: Service) -> None:
        project = tomllib.loads((service.path / "pyproject.toml").read_text())["project"]
        answers = service.member.answers
        assert project["description"] == answers.get(
            "description", "A FastAPI service on PostgreSQL"
        )
        ada = {"name": "Ada Lovelace", "email": "ada@example.org"}
        author = answers.get("author", "")
        assert (
            project["authors"]
            == [ada if author.startswith("Ada") else {"name": author}][: len(author)]
        )

    def test_data_files_can_be_read(self, service: Service) -> None:
        for file in service.files():
            if file.suffix in {".yml", ".yaml"}:
                list(yaml.safe_load_all(file.read_text()))
            elif file.suffix == ".toml":
                tomllib.loads(file.read_text())

    def test_what_the_readme_names_exists(self, service: Service) -> None:
        """Here, since the service's own tests leave the README to its team."""
        readme = (service.path / "README.md").read_text()
        paths = re.findall(r"(?:`|\]\()((?:dev|docs|src|tests)/[\w./-]*)", readme)
        tasks = re.findall(r"uv run poe (\w+)", readme)
        project = tomllib.loads((service.path / "pyproject.toml").read_text())
        assert "docs/guide.md" in paths
        assert [path for path in paths if not (service.path / path).exists()] == []
        assert "dev" in tasks
        assert set(tasks) <= set(project["tool"]["poe"]["tasks"])

    def test_no_trace_of_another_ci(self, service: Service) -> None:
        chosen = service.member.answers["ci"]
        for other in {"github", "gitlab"} - {chosen}:
            for file in service.files():
                if file.name == "uv.lock":
                    continue
                # Addresses of other people's projects are no traces.
                text = re.sub(r"https?://\S+|ghcr\.io\S*", "", file.read_text())
                assert other not in text.lower(), file
                assert other not in str(file.relative_to(service.path)).lower()

    def test_no_trace_of_another_provider(self, service: Service) -> None:
        chosen = service.member.answers["identity"]
        others = set(PROVIDERS) - {chosen, "oidc"}
        traces = TRACES_OF_IDENTITY if chosen == "none" else "|".join(others)
        for file in service.files():
            assert not re.search(traces, str(file.relative_to(service.path)), re.IGNORECASE)
            if file.name not in {"uv.lock", ".copier-answers.yml"}:
                text = file.read_text().replace('convention = "google"', "")
                assert _is_about_tokens(file) or not re.search(
                    rf"\b({traces})", text, re.IGNORECASE
                ), file

    def test_no_trace_of_another_source_of_credentials(self, service: Service) -> None:
        chosen = service.member.answers["database_credentials"]
        traces = "|".join(words for kind, words in TRACES_OF_TOKENS.items() if kind != chosen)
        for file in service.files():
            if file.name != "uv.lock":
                path = str(file.relative_to(service.path))
                assert not re.search(
                    rf"\b({traces})", f"{path} {file.read_text()}", re.IGNORECASE
                ), file
        modules = {path.stem for path in (service.package / "credentials").glob("*.py")}
        needed = {"http", chosen} if chosen in TRACES_OF_TOKENS else set()
        assert modules & {"http", *TRACES_OF_TOKENS} == needed
        assert (service.path / "docs/credentials.md").exists() == (chosen != "password")


class TestBudget:
    @pytest.mark.parametrize(
        ("service", "most_files", "most_lines"),
        [(OFF, 69, 4960), (DEFAULT, 87, 6770)],
        indirect=["service"],
        ids=str,
    )
    def test_a_project_is_small(self, service: Service, most_files: int, most_lines: int) -> None:
        ours = [file for file in service.files() if _is_outside_tests(service.path, file)]
        assert len(ours) <= most_files
        python = [file.read_text() for file in ours if file.suffix == ".py"]
        lines = [line for text in python for line in text.splitlines() if line.strip()]
        assert len(lines) <= most_lines
        project = tomllib.loads((service.path / "pyproject.toml").read_text())["project"]
        assert len(project["dependencies"]) <= 12

    def test_instructions_for_agents_are_short(self, service: Service) -> None:
        assert len((service.path / "AGENTS.md").read_text().splitlines()) <= 60


def _is_about_tokens(file: Path) -> bool:
    """Whether it may talk of another identity than that of users."""
    return "credentials" in str(file) or file.name == ".env.example"


def _is_outside_tests(root: Path, file: Path) -> bool:
    return file.relative_to(root).parts[0] != "tests"
