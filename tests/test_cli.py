"""The command line, in surroundings good and bad."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import VERSION, Run, everything

FAST = ("--defaults", "--no-lock", "--no-git")


@pytest.fixture
def small(small_template: Path) -> str:
    return f"--template={small_template}"


def test_the_version(fastpg: Run) -> None:
    assert fastpg("--version").stdout == f"fastpg-new {VERSION}\n"


def test_help_names_every_option_and_imports_nothing_heavy(fastpg: Run) -> None:
    shown = fastpg("--help")
    for option in ("--defaults", "--data", "--data-file", "--dry-run", "--json", "--quiet",
                   "--no-git", "--no-lock", "--template", "--version", "--install-completion"):  # fmt: skip
        assert option in shown.stdout
    heavy = "{'copier', 'rich', 'questionary', 'yaml', 'jinja2', 'pydantic'}"
    code = f"import sys, fastpg_new.cli as c; c.run(['--help']); print({heavy} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("set()\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_to_shells(shell: str, fastpg: Run) -> None:
    asked = {"_FASTPG_NEW_COMPLETE": f"complete_{shell}", "COMP_WORDS": "fastpg-new --dr"}
    asked |= {"_TYPER_COMPLETE_ARGS": "fastpg-new --dr", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "--dry-run" in fastpg(env=asked).stdout


@pytest.mark.parametrize("arguments", [["--nonsense"], ["a", "b"], ["--data"], ["x", "--data=y"]])
def test_bad_usage_is_two_lines_and_two(arguments: list[str], fastpg: Run) -> None:
    refused = fastpg(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert [line.split(":")[0] for line in refused.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize("command", ["update", "add", "remove", "doctor"])
def test_names_of_commands_are_no_names_of_services(command: str, fastpg: Run) -> None:
    refused = fastpg("--defaults", command)
    assert refused.returncode == 2
    assert "is a command of fastpg-new" in refused.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
        {"NO_COLOR": "1", "TERM": "dumb"},
        {"HOME": None},
        {"HOME": "/nonexistent"},
        {"FORCE_COLOR": "1"},
    ],
    ids=str,
)
def test_any_surroundings_and_any_directory_will_do(
    env: dict[str, str], fastpg: Run, small: str, here: Path
) -> None:
    place = here / "Ünï [bold]🐘 {{ 7*7 }} $HOME 'q'"
    place.mkdir()
    words = "[red]x" if "PYTHONUTF8" in env else "Ünï [red]🐘"
    text = f"--data=description={words}"
    done = fastpg("shop", *FAST, small, text, env=env, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f'description = "{words}"' in (place / "shop/pyproject.toml").read_text("utf-8")
    again = fastpg("shop", *FAST, small, text, env=env, cwd=place)
    assert again.returncode == 2
    assert again.stderr.startswith("error: shop exists and is not empty")


def test_brackets_in_errors_stay(fastpg: Run) -> None:
    assert "the name 'x[bold]' may" in fastpg("--defaults", "x[bold]").stderr


def test_an_error_is_one_line_whatever_it_quotes(fastpg: Run, here: Path, small: str) -> None:
    strange = here / "a\nb\x1b[31m"
    (strange / "shop").mkdir(parents=True)
    (strange / "shop/file").touch()
    refused = fastpg(str(strange / "shop"), *FAST, small)
    assert refused.returncode == 2
    assert [line.split(":")[0] for line in refused.stderr.splitlines()] == ["error", "hint"]
    assert "\x1b" not in refused.stderr


def test_a_name_in_no_encoding_is_refused(fastpg: Run, here: Path) -> None:
    refused = fastpg(os.fsdecode(b"x\xff"), "--defaults")
    assert refused.returncode == 2
    assert everything(here) == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "| true"])
def test_closed_streams_do_no_harm(
    closed: str, small: str, here: Path, variables: dict[str, str]
) -> None:
    command = f'"{sys.executable}" -m fastpg_new shop --defaults --no-git {small} {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=here, env=variables, capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert (here / "shop/uv.lock").is_file()


def test_output_that_cannot_be_written_is_an_error(
    small: str, here: Path, variables: dict[str, str]
) -> None:
    if not Path("/dev/full").exists():  # only Linux has one
        return
    command = f'"{sys.executable}" -m fastpg_new shop --defaults --json {small} > /dev/full'
    done = subprocess.run(
        ["sh", "-c", command], cwd=here, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert (here / "shop/uv.lock").is_file()


def test_a_working_directory_that_is_gone_is_an_error(
    small: str, here: Path, variables: dict[str, str]
) -> None:
    (here / "gone").mkdir()
    command = (
        f'cd gone && rmdir ../gone && "{sys.executable}" -m fastpg_new shop --defaults {small}'
    )
    done = subprocess.run(
        ["sh", "-c", command], cwd=here, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
