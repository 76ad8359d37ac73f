"""Projects of every release, edited as people edit them, brought to every later release."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest

from fastpg_new import releases, source
from fastpg_new.answers import Questions
from fastpg_new.git import isolated
from fastpg_new.render import render
from fastpg_new.report import Report
from fastpg_new.source import Template
from fastpg_new.update import Request, Updated, proceed, update
from tests.conftest import ROOT, git, tree
from tests.product.conftest import MATRIX, Member, Service

pytestmark = [pytest.mark.larger]
ENV = {
    **os.environ,
    **{f"GIT_{role}_NAME": "Ada" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "ada@example.org" for role in ("AUTHOR", "COMMITTER")},
}
QUIET = Report(quiet=True)
# What an update leaves to the user, from the first day on.
WRITTEN_ONCE = re.compile(r"src/\w+/database/migrations/versions/.*|README\.md")
Edit = Callable[[Path], object]


def _releases() -> list[str]:
    """All of them, oldest first; the newest may be the very commit that is tested."""
    environment = {name: value for name, value in os.environ.items() if name != "GIT_DIR"}
    return list(releases.released(ROOT, "HEAD", environment))


RELEASES = _releases()
PAIRS = [*combinations(RELEASES, 2), *((release, "HEAD") for release in RELEASES)]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return source.find(None, tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def rendered(
    template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, Member], Path]]:
    """A project as a release writes it, with the answers that it knows."""
    made: dict[tuple[str, str], Path] = {}

    def at(release: str, member: Member) -> Path:
        key = (release, str(member))
        if key not in made:
            path = tmp_path_factory.mktemp("rendered") / member.name
            there = template.at(release)
            assert there is not None
            known = Questions(there.read("copier.yml"))
            answers = {"project_name": member.name, **member.answers}
            render(there, path, {key: answers[key] for key in answers if key in known})
            made[key] = path
        return made[key]

    yield at
    for path in made.values():
        shutil.rmtree(path)


def committed(path: Path, message: str = "Mine") -> None:
    if not (path / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", cwd=path, env=ENV)
    git("add", "--all", "--force", cwd=path, env=ENV)
    git("commit", "--quiet", "--allow-empty", "--message", message, cwd=path, env=ENV)


def updated(path: Path, to: str, **data: str) -> Updated:
    request = Request(path, answers=data, to=None if to == "HEAD" else to, lock=False)
    return update(request, QUIET)


@pytest.mark.parametrize("member", MATRIX, ids=str)
@pytest.mark.parametrize("release", RELEASES)
def test_an_unedited_project_becomes_a_fresh_one(
    release: str,
    member: Member,
    rendered: Callable[[str, Member], Path],
    template: Template,
    tmp_path: Path,
) -> None:
    project = tmp_path / member.name
    shutil.copytree(rendered(release, member), project)
    committed(project)
    outcome = updated(project, "HEAD")
    assert outcome.exit_code == 0
    answers = {key: value for key, value in _answers(project).items() if not key.startswith("_")}
    render(template, tmp_path / "fresh", answers)
    assert _kept_current(project) == _kept_current(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("answer", "value"), [("identity", "entra"), ("database_credentials", "aws")]
)
def test_another_answer_gives_what_a_fresh_project_has(
    answer: str,
    value: str,
    rendered: Callable[[str, Member], Path],
    template: Template,
    tmp_path: Path,
) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(rendered("HEAD", Member()), project)
    committed(project)
    for wanted in (value, _answers(project)[answer]):  # and back
        outcome = updated(project, "HEAD", **{answer: wanted})
        assert (outcome.exit_code, outcome.files.left_out) == (0, [])
        answers = {"project_name": "my-service", answer: wanted}
        render(template, tmp_path / wanted, answers)
        assert _kept_current(project) == _kept_current(tmp_path / wanted)
        committed(project)


def _answers(project: Path) -> dict[str, str]:
    import yaml

    remembered: dict[str, str] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return remembered


def _kept_current(project: Path) -> dict[str, tuple[int, bytes]]:
    return {path: entry for path, entry in tree(project).items() if not WRITTEN_ONCE.match(path)}


# Every line that somebody wrote has this in it, and no line of a template.
MINE = "my-own-line"


def insert(path: Path, after: str, *lines: str) -> None:
    text = path.read_text()
    found = re.search(after, text, re.MULTILINE)
    assert found, (path, after)
    end = text.index("\n", found.end() - 1) + 1
    path.write_text(text[:end] + "".join(f"{line}\n" for line in lines) + text[end:])


def append(path: Path, *lines: str) -> None:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def package(project: Path) -> Path:
    (found,) = (path.parent for path in project.glob("src/*/app.py"))
    return found


def python_files(project: Path) -> list[Path]:
    return sorted([*project.glob("src/**/*.py"), *project.glob("tests/**/*.py")])


def a_readme_of_its_own(project: Path) -> None:
    (project / "README.md").write_text(f"# {MINE}\n\nAll different. {MINE}\n")


def a_readme_with_a_chapter(project: Path) -> None:
    append(project / "README.md", "", f"## {MINE}", "", f"More about this. {MINE}")


def a_setting(project: Path) -> None:
    append(package(project) / "settings.py", f"SHOP = '{MINE}'  # {MINE}")


def a_router(project: Path) -> None:
    insert(package(project) / "app.py", r"include_router\(", f"    app.state.mine = '{MINE}'")
    insert(package(project) / "app.py", r"^from \.notes", f"# {MINE}")


def a_domain(project: Path) -> None:
    for name in ("models", "router", "service"):
        file = package(project) / "orders" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'"""{MINE}."""\n')
    (project / "tests/orders").mkdir()
    (project / "tests/orders/test_orders.py").write_text(f"# {MINE}\n")


def dependencies(project: Path) -> None:
    insert(project / "pyproject.toml", r'^    "fastapi-offline', f'    "orjson>=3",  # {MINE}')
    append(project / "pyproject.toml", "", "[tool.mine]", f'name = "{MINE}"')


def the_same_lines(project: Path) -> None:
    file = project / "pyproject.toml"
    file.write_text(file.read_text().replace('"fastapi>=', f'# {MINE}\n    "fastapi>=0.1,>=', 1))
    for path in python_files(project):
        text = path.read_text()
        path.write_text(re.sub(r'\A"""', f'"""{MINE}: ', text))


def no_example(project: Path) -> None:
    shutil.rmtree(package(project) / "notes")
    shutil.rmtree(project / "tests/notes")


def no_faults(project: Path) -> None:
    shutil.rmtree(project / "tests/faults")
    (project / "compose.yaml").unlink()
    (project / "Dockerfile").unlink()


def another_package(project: Path) -> None:
    old = package(project)
    old.rename(old.parent / "shop")
    for path in [*python_files(project), project / "pyproject.toml"]:
        path.write_text(path.read_text().replace(old.name, "shop"))
    append(project / "src/shop/app.py", f"# {MINE}")


def another_module(project: Path) -> None:
    (package(project) / "health.py").rename(package(project) / "liveness.py")
    append(package(project) / "liveness.py", f"# {MINE}")
    app = package(project) / "app.py"
    app.write_text(app.read_text().replace("health", "liveness"))


def other_line_ends(project: Path) -> None:
    append(package(project) / "app.py", f"# {MINE}")
    for path in project.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def a_squashed_history(project: Path) -> None:
    append(package(project) / "cli.py", f"# {MINE}")
    git("checkout", "--quiet", "--orphan", "squashed", cwd=project, env=ENV)
    committed(project)
    git("branch", "-D", "main", cwd=project, env=ENV)


def squashed_migrations(project: Path) -> None:
    first, *others = sorted(package(project).glob("database/migrations/versions/*.py"))
    for other in others:
        other.unlink()
    append(first, f"# {MINE}")


def a_migration(project: Path) -> None:
    versions = package(project) / "database/migrations/versions"
    (versions / "0005_orders.py").write_text(f'"""{MINE}"""\nrevision = "0005"\n')


def a_privilege(project: Path) -> None:
    append(package(project) / "database/access.toml", "", f"[orders]  # {MINE}")
    insert(package(project) / "database/roles.sql", r"^", f"-- {MINE}")


def an_image(project: Path) -> None:
    insert(project / "Dockerfile", r"^FROM .*", f"LABEL mine={MINE}")
    append(project / "compose.yaml", f"# {MINE}")


def a_pipeline(project: Path) -> None:
    append(project / ".github/workflows/ci.yml", "  mine:", f"    name: {MINE}")


def a_line_in_every_file(project: Path) -> None:
    for path in python_files(project):
        append(path, f"# {MINE}")


def a_first_line_in_every_file(project: Path) -> None:
    for path in python_files(project):
        path.write_text(f"# {MINE}\n{path.read_text()}")


def another_place_for_tests(project: Path) -> None:
    (project / "tests").rename(project / "checks")
    append(project / "checks/conftest.py", f"# {MINE}")
    (project / "checks/test_mine.py").write_text(f"# {MINE}\n")


def odd_files(project: Path) -> None:
    (project / "ünïcode und Leerzeichen.txt").write_text(f"{MINE}\n")
    (project / "docs").mkdir(exist_ok=True)
    (project / "docs" / "link.md").symlink_to("../README.md")
    (project / "logo.png").write_bytes(b"\0" + MINE.encode())
    (project / "dev/__main__.py").chmod(0o755)


def a_rewritten_module(project: Path) -> None:
    (package(project) / "logs.py").write_text(f'"""{MINE}"""\n\nLOG = "{MINE}"\n')
    (package(project) / "limits.py").write_text(f'"""{MINE}"""\n')


def a_shorter_agents_file(project: Path) -> None:
    text = (project / "AGENTS.md").read_text().splitlines(keepends=True)
    (project / "AGENTS.md").write_text("".join(text[::2]) + f"{MINE}\n")


EDITS: list[Edit] = [
    a_readme_of_its_own, a_readme_with_a_chapter, a_setting, a_router, a_domain, dependencies,
    the_same_lines, no_example, no_faults, another_package, another_module, other_line_ends,
    a_squashed_history, squashed_migrations, a_migration, a_privilege, an_image, a_pipeline,
    a_line_in_every_file, a_first_line_in_every_file, another_place_for_tests, odd_files,
    a_rewritten_module, a_shorter_agents_file,
]  # fmt: skip


def lines_of_mine(project: Path) -> list[bytes]:
    found = []
    for path in project.rglob("*"):
        if path.is_file() and ".git" not in path.relative_to(project).parts:
            found += [line for line in path.read_bytes().splitlines() if MINE.encode() in line]
    return sorted(found)


def marked(project: Path) -> bool:
    """Whether git finds a marker of a conflict."""
    search = ["git", "grep", "-qE", "^(<<<<<<<|>>>>>>>) "]
    return subprocess.run(search, cwd=project, env=ENV, check=False).returncode == 0


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_no_line_is_lost(
    edit: Edit, pair: tuple[str, str], rendered: Callable[[str, Member], Path], tmp_path: Path
) -> None:
    old, new = pair
    project = tmp_path / "my-service"
    shutil.copytree(rendered(old, Member()), project, symlinks=True)
    committed(project, "Create")
    assert not lines_of_mine(project)
    edit(project)
    committed(project)
    mine = lines_of_mine(project)
    absent = set(rendered_paths(rendered(old, Member()), project))
    outcome = updated(project, new)
    assert set(mine) <= set(lines_of_mine(project))
    assert not [path for path in absent if (project / path).exists()]
    assert marked(project) == bool(outcome.files.conflicts)
    assert outcome.exit_code == (3 if outcome.files.conflicts else 0)
    if outcome.files.conflicts:
        for path in outcome.files.conflicts:
            text = (project / path).read_bytes()
            text = re.sub(rb"(?m)^(<{7}|={7}|>{7})( .*)?\r?\n", b"", text)
            (project / path).write_bytes(text)
        proceed(project, QUIET, lock=False)
    git("commit", "--quiet", "--allow-empty", "--message", "Update", cwd=project, env=ENV)
    assert git("status", "--porcelain", cwd=project, env=ENV) == ""
    assert updated(project, new).status == "current"
    assert mine == lines_of_mine(project) or outcome.files.conflicts


def rendered_paths(rendered: Path, project: Path) -> Iterator[Path]:
    """What the user deleted."""
    for path in rendered.rglob("*"):
        if path.is_file() and not (project / path.relative_to(rendered)).exists():
            yield path.relative_to(rendered)


def follow(project: Path, outcome: Updated) -> None:
    """Do what an update leaves to people: a revision for each step that has the body of one."""
    versions = package(project) / "database/migrations/versions"
    for section in reversed(outcome.changelog):
        for body in re.findall(r"```python\n(.*?)```", section.steps, re.DOTALL):
            head = max(path.name[:4] for path in versions.glob("*.py"))
            revision = f"{int(head) + 1:04}"
            text = "\n".join(line.removeprefix("   ") for line in body.splitlines()).strip()
            (versions / f"{revision}_step.py").write_text(
                f'"""Step"""\n\nfrom alembic import op\n\nrevision = "{revision}"\n'
                f'down_revision: str | None = "{head}"\nbranch_labels: str | None = None\n'
                f"depends_on: str | None = None\n\n\n{text}\n"
            )


def test_an_edited_project_passes_its_own_checks_afterwards(
    rendered: Callable[[str, Member], Path], tmp_path: Path
) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(rendered(RELEASES[0], Member()), project)
    committed(project, "Create")
    for edit in (a_readme_of_its_own, a_setting, a_router, a_domain):
        edit(project)
    committed(project)
    outcome = updated(project, "HEAD")
    assert outcome.exit_code == 0
    follow(project, outcome)
    service = Service(Member(), project)
    service.run("uv", "run", "poe", "format")
    service.run("uv", "run", "poe", "check")


# What Copier alone would lose, repeat or mark: ours follows the user's renames and line ends, and puts
# nothing new into a directory that the user deleted.
BETTER_THAN_COPIER = {
    another_package, another_module, another_place_for_tests, other_line_ends, no_example,
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_copier_alone_gives_the_same_tree(
    edit: Edit, rendered: Callable[[str, Member], Path], template: Template, tmp_path: Path
) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(rendered(RELEASES[0], Member()), project, symlinks=True)
    committed(project, "Create")
    edit(project)
    committed(project)
    alone = tmp_path / "alone"
    git("clone", "--quiet", str(project), str(alone), cwd=tmp_path, env=ENV)
    newest = template.at("HEAD")
    assert newest is not None
    outcome = updated(project, "HEAD")
    env = isolated(tmp_path / "gitconfig")
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f'[url "{template.repository}"]\ninsteadOf = {template.address}\n')
    subprocess.run(
        [sys.executable, "-m", "copier", "update", "--defaults", "--vcs-ref", newest.commit],
        cwd=alone,
        env=ENV | env | {"COPIER_CACHE_DIR": str(tmp_path / "cache")},
        check=True,
        capture_output=True,
    )
    if not outcome.files.conflicts and edit not in BETTER_THAN_COPIER:
        assert tree(alone) == tree(project)
