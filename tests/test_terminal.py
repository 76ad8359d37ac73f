"""The prompts, at a real pseudo-terminal."""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
import yaml

from .conftest import Run, everything, git, tree

DOWN, ENTER, CLEAR = "\x1b[B", "\r", "\x15"
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def terminal(
    variables: dict[str, str], here: Path, temporary: Path, small_template: Path
) -> Terminal:
    """The command at a terminal of 60 columns."""

    def spawn(*arguments: str, **env: str) -> "pexpect.spawn[str]":
        command = ["-m", "fastpg_new", f"--template={small_template}", "--no-git", "--no-lock"]
        return pexpect.spawn(
            sys.executable, [*command, *arguments], cwd=str(here), encoding="utf-8", timeout=20,
            env=variables | {"TERM": "xterm", "TMPDIR": str(temporary)} | env,
            dimensions=(40, 60),
        )  # fmt: skip

    return spawn


def finished(process: "pexpect.spawn[str]") -> str:
    process.expect(pexpect.EOF)
    process.close()
    return str(process.before)


def test_a_name_and_five_questions_then_a_summary_and_a_command_that_needs_no_terminal(
    terminal: Terminal, fastpg: Run, here: Path
) -> None:
    process = terminal(NO_COLOR="1")
    process.expect("Name of the service")
    process.send("shop" + ENTER)
    process.expect("what the service does")
    process.send(CLEAR + "It's a [bold]shop[/] {{ 7*7 }}" + ENTER)
    process.expect("Author, ")
    process.send(ENTER)
    process.expect("Continuous integration")
    process.send(DOWN + ENTER)
    process.expect("access tokens")
    process.send(DOWN + ENTER)
    process.expect("proves to PostgreSQL")
    process.send(ENTER)
    output = finished(process)
    assert process.exitstatus == 0, output
    answers = yaml.safe_load((here / "shop/.copier-answers.yml").read_text())
    assert answers["author"] == "Ada [Countess] <ada@example.org>"
    assert (answers["ci"], answers["identity"]) == ("gitlab", "keycloak")
    assert "description   It's a [bold]shop[/] {{ 7*7 }}" in output
    (line,) = [line for line in output.splitlines() if line.startswith("fastpg-new ")]
    (here / "shop").rename(here / "asked")
    again = fastpg(*shlex.split(line)[1:])
    assert again.returncode == 0, again.stderr
    assert tree(here / "shop") == tree(here / "asked")


def test_what_is_given_is_not_asked(terminal: Terminal, here: Path) -> None:
    given = ("description=x", "ci=none", "identity=none", "database_credentials=password")
    process = terminal("shop", *(f"--data={answer}" for answer in given))
    process.expect("Author, ")
    process.send(CLEAR + ENTER)
    assert "Continuous integration" not in finished(process)
    assert "author: ''" in (here / "shop/.copier-answers.yml").read_text()


def test_defaults_ask_nothing(terminal: Terminal, here: Path) -> None:
    output = finished(terminal("shop", "--defaults"))
    assert "The same again" not in output
    assert "Created" in output
    assert "author: ''" in (here / "shop/.copier-answers.yml").read_text()


def test_a_bad_answer_is_refused_at_the_prompt(terminal: Terminal, here: Path) -> None:
    process = terminal()
    process.expect("Name of the service")
    process.send("class" + ENTER)
    process.expect("is a Python keyword")
    process.send(CLEAR + "shop" + ENTER)
    process.expect("what the service does")
    process.send("x" * 201 + ENTER)
    process.expect("longer than")
    process.send("\x03")
    assert "error: interrupted" in finished(process)
    assert process.exitstatus == 130
    assert everything(here) == []


def test_a_bad_name_is_refused_before_anything_is_asked(terminal: Terminal) -> None:
    process = terminal("class")
    assert "error: the name 'class' is a Python keyword" in finished(process)
    assert process.exitstatus == 2


@pytest.mark.parametrize("key", ["\x03", CLEAR + "\x04"], ids=["control-c", "control-d"])
@pytest.mark.parametrize("arguments", [(), ("shop",)])
def test_control_c_and_control_d_leave_nothing(
    key: str, arguments: tuple[str, ...], terminal: Terminal, here: Path, temporary: Path
) -> None:
    process = terminal(*arguments)
    process.expect("service")
    process.send(key)
    output = finished(process)
    assert process.exitstatus == 130
    assert "error: interrupted" in output
    assert "Traceback" not in output
    assert everything(here) == []
    assert everything(temporary) == []


def test_sigterm_at_a_prompt_leaves_nothing(
    terminal: Terminal, here: Path, temporary: Path
) -> None:
    process = terminal("shop")
    process.expect("what the service does")
    # In the instant of drawing, prompt_toolkit prints the interrupt that its loop swallows, before
    # ours comes again: nothing is left then either, but a traceback is seen.
    time.sleep(1)
    process.kill(15)
    output = finished(process)
    assert process.exitstatus == 130
    assert "Traceback" not in output
    assert everything(here) == []
    assert everything(temporary) == []


def test_a_name_of_git_that_is_no_answer_is_not_offered(
    terminal: Terminal, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    config = tmp_path / "gitconfig"
    env = variables | {"GIT_CONFIG_GLOBAL": str(config)}
    git("config", "--global", "user.name", "x" * 201, cwd=tmp_path, env=env)
    git("config", "--global", "user.email", "root@localhost", cwd=tmp_path, env=env)
    process = terminal("shop", GIT_CONFIG_GLOBAL=str(config))
    questions = (
        "what the service does",
        "Author, ",
        "Continuous integration",
        "access tokens",
    )
    for question in (*questions, "proves to PostgreSQL"):
        process.expect(question)
        process.send(ENTER)
    finished(process)
    assert process.exitstatus == 0
    assert "author: ''" in (here / "shop/.copier-answers.yml").read_text()


def test_colours_are_for_terminals_that_want_them(terminal: Terminal) -> None:
    assert "\x1b[1;32mCreated" in finished(terminal("one", "--defaults"))
    assert "\x1b[32m" not in finished(terminal("two", "--defaults", NO_COLOR="1"))
