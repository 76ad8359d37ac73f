"""Real processes, a real git, a real uv; a small template where the big one adds nothing."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
Run = Callable[..., subprocess.CompletedProcess[str]]
Tree = dict[str, tuple[int, bytes]]

SMALL_TEMPLATE = {
    "{{_copier_conf.answers_file}}.jinja": "{{ _copier_answers | to_nice_yaml }}",
    "pyproject.toml.jinja": (
        '[project]\nname = "{{ project_name }}"\nversion = "0.1.0"\n'
        'requires-python = ">=3.11"\n'
        "description = {{ description_toml }}\nauthors = {{ author_toml }}\n"
    ),
    "README.md.jinja": "# {{ project_name }}\n\n{{ description_markdown }}\n",
    "service.yaml.jinja": "description: {{ description_toml }}\n",
    "src/{{package_name}}/__init__.py.jinja": "import {{ package_name }}\n",
    "run": "#!/bin/sh\n",
}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with nothing but a git identity."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\nname = Ada [Countess]\nemail = ada@example.org\n")
    return home


@pytest.fixture(scope="session")
def variables(home: Path) -> dict[str, str]:
    """The environment of the commands under test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    uv = {"UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"} | uv


@pytest.fixture
def fastpg(variables: dict[str, str], here: Path, temporary: Path) -> Run:
    """The command in a process of its own."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        env = variables | {"TMPDIR": str(temporary)} | dict(options.pop("env", {}))  # type: ignore[call-overload]
        defaults = {"cwd": here, "stdin": subprocess.DEVNULL, "capture_output": True}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [sys.executable, "-m", "fastpg_new", *arguments],
            env={name: value for name, value in env.items() if value is not None},
            text=True,
            errors="surrogateescape",
            check=False,
            **(defaults | options),  # type: ignore[call-overload]
        )
        return done

    return run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the command runs."""
    here = tmp_path / "here"
    here.mkdir()
    return here


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The directory of temporary files of the command."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return temporary


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """A repository with our questions and a handful of files."""
    return make_template(tmp_path_factory.mktemp("small"), SMALL_TEMPLATE, variables)


def make_template(root: Path, files: Mapping[str, str], variables: Mapping[str, str]) -> Path:
    shutil.copy(ROOT / "copier.yml", root)
    for name, content in files.items():
        path = root / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "template" / "run").touch()
    (root / "template" / "run").chmod(0o755)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Template"]):
        git(*command, cwd=root, env=variables)
    return root


def git(*arguments: str, cwd: Path, env: Mapping[str, str]) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env=dict(env), check=True, capture_output=True, text=True
    ).stdout.strip()


def tree(root: Path) -> Tree:
    """Every file below a directory, with its mode and content; without git's own."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def everything(root: Path) -> list[str]:
    """Every path below a directory."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))
