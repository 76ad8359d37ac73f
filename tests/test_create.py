"""From a name to a first commit."""

import json
import os
import shlex
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from fastpg_new.cli import run

from .conftest import SMALL_TEMPLATE, VERSION, Run, everything, git, make_template, tree

FAST = ("--defaults", "--no-lock", "--no-git")


@pytest.fixture
def small(small_template: Path) -> str:
    return f"--template={small_template}"


def test_a_name_becomes_a_locked_and_committed_project(
    fastpg: Run, here: Path, small: str, variables: dict[str, str]
) -> None:
    done = fastpg("shop", "--defaults", small)
    assert (done.returncode, done.stderr) == (0, "Locking dependencies with uv ...\n")
    assert done.stdout.splitlines()[-4:] == [
        "Next steps:", "  cd shop", "  uv run poe dev", "  uv run pytest"]  # fmt: skip
    project = here / "shop"
    assert tomllib.loads((project / "uv.lock").read_text())["package"][0]["name"] == "shop"
    assert git("log", "--format=%an %s", cwd=project, env=variables) == (
        f"Ada [Countess] Create shop with fastpg-new {VERSION}"
    )
    assert git("branch", "--show-current", cwd=project, env=variables) == "main"
    assert git("status", "--porcelain", cwd=project, env=variables) == ""
    assert "uv.lock" in git("ls-files", cwd=project, env=variables).splitlines()


def test_nothing_but_the_project_is_left(
    fastpg: Run, here: Path, temporary: Path, small: str
) -> None:
    assert fastpg("shop", *FAST, small).returncode == 0
    assert [path.name for path in here.iterdir()] == ["shop"]
    assert list(temporary.iterdir()) == []


def test_a_path_ends_with_the_name_and_its_parents_are_made(
    fastpg: Run, here: Path, small: str
) -> None:
    done = fastpg("far/a way/shop", *FAST, small)
    assert done.returncode == 0
    assert "  cd 'far/a way/shop'\n" in done.stdout
    assert 'name = "shop"' in (here / "far/a way/shop/pyproject.toml").read_text()


def test_parents_are_not_made_for_a_project_that_is_refused(
    fastpg: Run, here: Path, small: str
) -> None:
    assert fastpg("far/away/shop", *FAST, small, "--data=ci=x").returncode == 2
    assert everything(here) == []


def test_an_empty_directory_is_taken(fastpg: Run, here: Path, small: str) -> None:
    (here / "shop").mkdir()
    assert fastpg("shop/", *FAST, small).returncode == 0
    assert (here / "shop/pyproject.toml").is_file()


def test_a_directory_with_anything_in_it_is_refused(fastpg: Run, here: Path, small: str) -> None:
    (here / "shop").mkdir()
    (here / "shop" / ".hidden").touch()
    refused = fastpg("shop", *FAST, small)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: shop exists and is not empty\nhint: ")
    assert everything(here) == ["shop", "shop/.hidden"]


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to an empty directory"])
def test_what_is_no_directory_is_refused(kind: str, fastpg: Run, here: Path, small: str) -> None:
    if kind == "file":
        (here / "shop").write_text("mine")
    else:
        (here / "shop").symlink_to(here / "gone" if kind == "dangling link" else here.parent)
    assert fastpg("shop", *FAST, small).returncode == 2
    assert [path.name for path in here.iterdir()] == ["shop"]


def test_a_parent_that_is_a_file_is_refused(fastpg: Run, here: Path, small: str) -> None:
    (here / "file").touch()
    refused = fastpg("file/shop", *FAST, small)
    assert refused.returncode == 2
    assert "is not a directory" in refused.stderr


def test_the_current_directory_is_not_pulled_from_under_the_shell(
    fastpg: Run, here: Path, small: str
) -> None:
    (here / "shop").mkdir()
    refused = fastpg("../shop", *FAST, small, cwd=here / "shop")
    assert refused.returncode == 2
    assert "is the current directory" in refused.stderr


def test_a_dry_run_lists_what_is_then_written(fastpg: Run, here: Path) -> None:
    listed = fastpg("shop", *FAST, "--dry-run")
    assert listed.returncode == 0
    assert everything(here) == []
    assert fastpg("shop", *FAST).returncode == 0
    assert listed.stdout.splitlines() == sorted(tree(here / "shop"))


def test_a_dry_run_counts_the_lock_file(fastpg: Run, small: str) -> None:
    listed = fastpg("shop", "--defaults", "--dry-run", small)
    assert "uv.lock" in listed.stdout.splitlines()


def test_json_is_one_document(fastpg: Run, here: Path, small: str) -> None:
    done = fastpg("shop", "--defaults", "--json", small)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["path"] == str(here / "shop")
    assert document["answers"]["project_name"] == "shop"
    assert document["files"] == sorted(tree(here / "shop"))
    assert (document["lock"], document["git"]) == ("done", "first commit on main")
    assert document["next_steps"][0] == "cd shop"


def test_an_error_is_a_json_document_too(fastpg: Run) -> None:
    refused = fastpg("class", "--defaults", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["exit_code"] == 2
    assert refused.stderr.startswith("error: the name 'class' is a Python keyword\nhint: ")


def test_quiet_says_nothing(fastpg: Run, small: str) -> None:
    done = fastpg("shop", "--defaults", "--quiet", small)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_terminal_missing_answers_are_an_error(fastpg: Run, here: Path) -> None:
    refused = fastpg("shop", "--data=ci=none", "--data=identity=none")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: there is no terminal to ask for description, author, database_credentials\n"
        "hint: add --defaults, or answer with --data KEY=VALUE\n"
    )
    assert everything(here) == []


def test_all_answers_need_no_defaults(fastpg: Run, small: str, here: Path) -> None:
    (here / "answers.yml").write_text(
        "description: d\nauthor: a <a@b.org>\ndatabase_credentials: password\n"
    )
    done = fastpg(
        "shop",
        "--data-file=answers.yml",
        "-d",
        "ci=none",
        "-d",
        "identity=none",
        "--no-lock",
        small,
    )
    assert done.returncode == 0, done.stderr


def test_a_name_can_be_an_answer(fastpg: Run, small: str, here: Path) -> None:
    assert fastpg(*FAST, small, "--data=project_name=shop").returncode == 0
    assert (here / "shop").is_dir()
    assert fastpg("shed", *FAST, small, "--data=project_name=shop").returncode == 2
    assert fastpg(*FAST, small).returncode == 2


def test_the_same_command_again_gives_the_same_bytes(fastpg: Run, small: str, here: Path) -> None:
    text = 'it\'s "$HOME" `x` \\ {{ 7*7 }} 🐘'
    first = fastpg("shop", *FAST, small, f"--data=description={text}", "--json")
    document = json.loads(first.stdout)
    (here / "shop").rename(here / "first")
    again = shlex.split(document["replay"])
    assert again[0] == "fastpg-new"
    assert fastpg(*again[1:], "--quiet").returncode == 0
    assert tree(here / "shop") == tree(here / "first")


def test_executables_stay_executable_and_the_umask_counts(
    fastpg: Run, small: str, here: Path
) -> None:
    assert fastpg("shop", *FAST, small, umask=0o077).returncode == 0
    modes = {name: stat.filemode(mode) for name, (mode, _) in tree(here / "shop").items()}
    assert modes["run"] == "?rwx------"
    assert modes["README.md"] == "?rw-------"
    assert stat.S_IMODE((here / "shop").stat().st_mode) == 0o700


def test_inside_a_repository_no_other_is_made(
    fastpg: Run, small: str, here: Path, variables: dict[str, str]
) -> None:
    git("init", cwd=here, env=variables)
    done = fastpg("apps/shop", "--defaults", "--no-lock", small)
    assert done.returncode == 0
    assert "skipped: the project is inside another repository" in done.stdout
    assert not (here / "apps/shop/.git").exists()


@pytest.mark.parametrize("nowhere", ["empty", None])
def test_without_an_identity_or_a_home_there_is_no_commit(
    nowhere: str | None, fastpg: Run, small: str, here: Path, tmp_path: Path
) -> None:
    home = str(tmp_path / nowhere) if nowhere else None
    config = {"HOME": home, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull}
    done = fastpg("shop", "--defaults", small, env=config)
    assert done.returncode == 0, done.stderr
    assert "no first commit: git has no user.name and user.email" in done.stdout
    assert (here / "shop/.git").is_dir()
    assert (here / "shop/uv.lock").is_file()


def test_hooks_signing_templates_and_ignores_of_the_user_do_not_matter(
    fastpg: Run, small: str, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    (tmp_path / "template" / "info").mkdir()
    (tmp_path / "template" / "info" / "exclude").write_text("run\n")
    (tmp_path / "ignore").write_text("*.md\nuv.lock\n")
    (tmp_path / ".gitconfig").write_text(
        f"[user]\nname = A\nemail = a@b.org\n[init]\ntemplateDir = {hooks.parent}\n"
        f"[core]\nhooksPath = {hooks}\nexcludesFile = {tmp_path / 'ignore'}\nautocrlf = true\n"
        "[commit]\ngpgSign = true\n[gpg]\nprogram = false\n"
    )
    done = fastpg("shop", "--defaults", small, env={"HOME": str(tmp_path)})
    assert "first commit on main" in done.stdout, done.stderr
    committed = git("ls-files", cwd=here / "shop", env=variables).splitlines()
    assert {"README.md", "uv.lock", "run"} <= set(committed)
    assert b"\r" not in (here / "shop/README.md").read_bytes()


def test_an_inherited_git_directory_is_left_alone(
    fastpg: Run, small: str, tmp_path: Path, variables: dict[str, str]
) -> None:
    git("init", "other", cwd=tmp_path, env=variables)
    inherited = {"GIT_DIR": str(tmp_path / "other/.git"), "GIT_INDEX_FILE": str(tmp_path / "index")}
    before = everything(tmp_path / "other")
    assert "first commit on main" in fastpg("shop", "--defaults", small, env=inherited).stdout
    assert everything(tmp_path / "other") == before
    assert not (tmp_path / "index").exists()


@pytest.fixture
def without_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with all tools but uv, and none beside Python either."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for directory in reversed(os.environ["PATH"].split(":")):
        for tool in Path(directory).glob("*"):
            (tools / tool.name).unlink(missing_ok=True)
            (tools / tool.name).symlink_to(tool)
    (tools / "uv").unlink(missing_ok=True)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(sys, "executable", str(tools / "python"))


@pytest.mark.usefixtures("without_uv")
def test_a_uv_that_is_not_on_the_path_is_called_by_its_path(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = tmp_path / "venv" / "uv"
    beside.parent.mkdir()
    beside.symlink_to("/bin/true")
    monkeypatch.setattr(sys, "executable", str(beside.with_name("python")))
    assert run([str(tmp_path / "shop"), "--defaults", "--no-git", small]) == 0
    assert f"  {beside} run pytest\n" in capsys.readouterr().out


@pytest.mark.usefixtures("without_uv")
def test_without_uv_the_project_stays_and_the_error_says_so(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(tmp_path / "shop"), "--defaults", "--quiet", small]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: uv is not on PATH")
    assert f"hint: install uv: the project in {tmp_path / 'shop'} is complete" in message
    assert (tmp_path / "shop/pyproject.toml").is_file()


def test_without_the_network_the_project_stays_and_the_error_says_so(
    fastpg: Run, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    needs = SMALL_TEMPLATE["pyproject.toml.jinja"] + 'dependencies = ["no-such-thing-anywhere"]\n'
    root = tmp_path / "needy"
    root.mkdir()
    make_template(root, SMALL_TEMPLATE | {"pyproject.toml.jinja": needs}, variables)
    failed = fastpg("shop", "--defaults", f"--template={root}")
    assert failed.returncode == 1
    lines = failed.stderr.splitlines()
    assert lines[-2].startswith("error: `uv lock` failed")
    assert "no-such-thing-anywhere" in lines[-2]
    assert lines[-1].startswith("hint: check the network")
    assert (here / "shop/pyproject.toml").is_file()


def test_without_git_the_error_says_so(fastpg: Run, here: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    failed = fastpg("shop", *FAST, env={"PATH": str(tmp_path / "bin")})
    assert failed.returncode == 1
    assert failed.stderr == "error: git is not on PATH\nhint: install git 2.32 or newer\n"
    assert everything(here) == []


def test_a_template_with_code_of_its_own_is_refused(
    fastpg: Run, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    root = tmp_path / "unsafe"
    root.mkdir()
    make_template(root, SMALL_TEMPLATE, variables)
    with (root / "copier.yml").open("a") as file:
        file.write("_tasks: ['touch executed']\n")
    git("commit", "-qam", "Tasks", cwd=root, env=variables)
    refused = fastpg("shop", *FAST, f"--template={root}")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the template runs code of its own\nhint: ")
    assert everything(here) == []


def test_a_broken_git_configuration_is_an_error_and_no_traceback(
    fastpg: Run, small: str, tmp_path: Path
) -> None:
    (tmp_path / ".gitconfig").write_text("[user\nname = x\n")
    done = fastpg("shop", "--defaults", "--no-lock", small, env={"HOME": str(tmp_path)})
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert done.stdout or done.stderr.startswith("error: ")
