"""What an update does to a project, with a small template of several releases."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, SMALL_TEMPLATE, Run, git, make_template, tree

QUIET = ("--defaults", "--no-lock", "--quiet")
FUNCTION = "def one() -> int:\n    return 1\n\n\n# between\n\n\ndef two() -> int:\n    return 2\n"
FILES = SMALL_TEMPLATE | {
    "src/{{package_name}}/code.py": FUNCTION,
    "src/{{package_name}}/notes/__init__.py": "",
    "src/{{package_name}}/notes/router.py": "router = 'notes'\n" * 9,
    "src/{{package_name}}/migrations/0001.py": "revision = '0001'\n",
    "docs/guide.md": "".join(f"Line {number} of the guide.\n" for number in range(20)),
    "old.txt": "An old file of the template.\n",
}


class Generator:
    """A checkout whose commits we make."""

    def __init__(self, root: Path, variables: Mapping[str, str]) -> None:
        self.root = root
        self._variables = variables

    def begin(self) -> None:
        """Make the template and its first release."""
        root = self.root
        shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", root)
        make_template(root, FILES, self._variables)
        self.edit("pyproject.toml", 'version = "', 'version = "0.')
        self.edit("copier.yml", "_exclude:\n", f"_exclude:\n  - {ONCE}\n")
        (root / "copier.yml").write_text((root / "copier.yml").read_text() + "\nteam: nobody\n")
        (root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
        self.release("1.0.0")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text, path
        (self.root / path).write_text(text.replace(old, new, 1))

    def write(self, path: str, content: str) -> None:
        file = self.root / "template" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def release(self, version: str, notes: str = "- News.\n") -> None:
        lines = (self.root / "pyproject.toml").read_text().splitlines()
        lines = [f'version = "{version}"' if x.startswith("version = ") else x for x in lines]
        (self.root / "pyproject.toml").write_text("\n".join(lines) + "\n")
        title = "## Unreleased\n"
        self.edit("CHANGELOG.md", title, f"{title}\n## {version} (2026-01-01)\n\n{notes}")
        self.git("add", "--all")
        self.git("commit", "-m", f"Release {version}")

    def git(self, *arguments: str) -> str:
        return git(*arguments, cwd=self.root, env=self._variables)


ONCE = "\"{% if _copier_operation == 'update' %}migrations{% endif %}\""


class Shop:
    """A project, and what we do to it."""

    def __init__(self, path: Path, generator: Generator, fastpg: Run, env: dict[str, str]):
        self.path = path
        self.env = env
        self.generator = generator
        self._fastpg = fastpg

    def fastpg(
        self, *arguments: str, env: Mapping[str, str] | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        code = {"PYTHONPATH": str(self.generator.root / "src")}
        return self._fastpg(*arguments, env={**code, **(env or {})}, **options)

    def update(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.fastpg("update", str(self.path), *arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def updated(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.update("--json", *arguments, code=code).stdout)
        return document

    def git(self, *arguments: str) -> str:
        return git(*arguments, cwd=self.path, env=self.env)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--message", "Mine")

    def read(self, path: str) -> str:
        return (self.path / path).read_text()

    def append(self, path: str, text: str) -> None:
        (self.path / path).write_text(self.read(path) + text)

    def replace(self, path: str, old: str, new: str) -> None:
        assert old in self.read(path)
        (self.path / path).write_text(self.read(path).replace(old, new, 1))

    @property
    def commit_of_template(self) -> str:
        return str(yaml.safe_load(self.read(".copier-answers.yml"))["_commit"])


@pytest.fixture(scope="session")
def beginnings(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """A directory with a generator that has one release, and a project of it, committed."""
    root = tmp_path_factory.mktemp("beginnings")
    generator = Generator(root / "generator", variables)
    generator.root.mkdir()
    generator.begin()
    code = {"PYTHONPATH": str(generator.root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    create = [sys.executable, "-m", "fastpg_new", "shop", *QUIET]
    subprocess.run(create, cwd=root, env=variables | code, check=True)
    return root


@pytest.fixture
def generator(beginnings: Path, tmp_path: Path, variables: dict[str, str]) -> Generator:
    root = shutil.copytree(beginnings / "generator", tmp_path / "generator")
    return Generator(root, variables)


@pytest.fixture
def shop(
    beginnings: Path, generator: Generator, fastpg: Run, here: Path, variables: dict[str, str]
) -> Shop:
    """The project of the first release."""
    path = shutil.copytree(beginnings / "shop", here / "shop", symlinks=True)
    made = Shop(path, generator, fastpg, variables)
    made.git("update-index", "--refresh")  # which knows the files by their inodes
    assert made.commit_of_template == "v1.0.0"
    return made


class TestClean:
    def test_both_sides_are_kept_and_the_second_run_does_nothing(self, shop: Shop) -> None:
        shop.append("src/shop/code.py", "# mine\n")
        (shop.path / "mine.py").touch()
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        files = shop.updated()["files"]
        assert isinstance(files, dict)
        assert files["merged"] == ["src/shop/code.py"]
        assert files["added"] == ["new.txt"]
        assert "return 11" in shop.read("src/shop/code.py")
        assert shop.read("src/shop/code.py").endswith("# mine\n")
        assert shop.commit_of_template == "v1.1.0"
        assert "nothing to do" in shop.update().stdout
        shop.commit()
        before = tree(shop.path)
        assert shop.updated()["status"] == "current"
        assert tree(shop.path) == before
        assert shop.git("status", "--porcelain") == ""

    def test_an_unedited_project_is_a_fresh_one_afterwards(self, shop: Shop) -> None:
        generator = shop.generator
        generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        generator.git("mv", "template/old.txt", "template/older.txt")
        generator.git("rm", "-q", "template/src/{{package_name}}/notes/router.py")
        generator.git("update-index", "--chmod=-x", "template/run")
        (generator.root / "template/run").chmod(0o644)
        generator.release("1.1.0")
        shop.update()
        assert shop.fastpg("shop", *QUIET, cwd=shop.env["HOME"]).returncode == 0
        fresh = Path(shop.env["HOME"], "shop")
        try:
            assert tree(shop.path) == tree(fresh)
        finally:
            shutil.rmtree(fresh)

    def test_it_goes_to_any_release_that_is_asked_for(self, shop: Shop) -> None:
        for version in ("1.1.0", "1.2.0"):
            shop.generator.write("version", version)
            shop.generator.release(version)
        shop.update("--to", "1.1.0")
        assert shop.read("version") == "1.1.0"
        shop.commit()
        assert "newer than v1.0.0" in shop.update("--to", "v1.0.0", code=2).stderr
        assert "v1.0.0, v1.1.0, v1.2.0" in shop.update("--to", "9", code=2).stderr
        shop.update("--to", "1.2.0")

    def test_it_says_what_changed_and_what_is_left_to_do(self, shop: Shop) -> None:
        shop.generator.release("1.1.0", "- First [bold].\n\n### Steps\n\n1. Look here.\n")
        shop.generator.release("1.2.0", "- Second.\n")
        said = shop.update("--dry-run").stdout
        assert "- First [bold]." in said
        assert "- Second." in said
        assert "News" not in said
        assert said.index("What is left for you") < said.index("1. Look here.")

    def test_tests_that_nobody_asked_for_are_not_mentioned(self, shop: Shop) -> None:
        shop.generator.edit("template/old.txt", "old", "new")
        shop.generator.release("1.1.0")
        assert "  tests  " not in shop.update("--dry-run").stdout
        assert "  tests  " not in shop.update().stdout

    def test_files_that_are_written_once_stay(self, shop: Shop) -> None:
        shop.generator.edit("template/src/{{package_name}}/migrations/0001.py", "1", "2")
        shop.generator.write("src/{{package_name}}/migrations/0002.py", "")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.git("status", "--porcelain") == "M  .copier-answers.yml"

    def test_what_becomes_written_once_is_not_deleted(self, shop: Shop) -> None:
        shop.generator.edit("copier.yml", ONCE, ONCE.replace("migrations", "docs"))
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.git("status", "--porcelain") == "M  .copier-answers.yml"

    def test_the_lock_file_is_renewed_after_the_merge(self, shop: Shop) -> None:
        subprocess.run(["uv", "lock"], cwd=shop.path, env=shop.env, check=True, capture_output=True)
        shop.commit()
        shop.generator.edit("template/pyproject.toml.jinja", "0.1.0", "0.2.0")
        shop.generator.release("1.1.0")
        assert shop.updated()["lock"] == "renewed"
        assert 'version = "0.2.0"' in shop.read("uv.lock")
        assert "M  uv.lock" in shop.git("status", "--porcelain")

    def test_a_lock_file_that_cannot_be_renewed_hides_no_step(self, shop: Shop) -> None:
        (shop.path / "uv.lock").write_text("no lock file")
        shop.commit()
        shop.generator.edit("template/pyproject.toml.jinja", "0.1.0", "0.2.0")
        shop.generator.release("1.1.0", "- News.\n\n### Steps\n\n1. Look here.\n")
        failed = shop.update(code=1)
        assert "1. Look here." in failed.stdout
        assert "run `uv lock`" in failed.stdout
        assert failed.stderr.splitlines()[-1].startswith("error: `uv lock` failed")


class TestWhatTheUserChanged:
    def test_an_edited_file_survives_its_removal(self, shop: Shop) -> None:
        shop.append("old.txt", "mine\n")
        shop.commit()
        shop.generator.git("rm", "-q", "template/old.txt")
        shop.generator.release("1.1.0")
        files = shop.updated()["files"]
        assert isinstance(files, dict)
        assert files["kept"] == ["old.txt"]
        assert shop.read("old.txt").endswith("mine\n")

    def test_edits_follow_a_file_that_the_template_renames(self, shop: Shop) -> None:
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        shop.generator.git("mv", "template/docs/guide.md", "template/docs/manual.md")
        shop.generator.edit("template/docs/manual.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        files = shop.updated()["files"]
        assert isinstance(files, dict)
        assert files["renamed"] == {"docs/guide.md": "docs/manual.md"}
        assert shop.read("docs/manual.md").endswith("mine\n")
        assert "Row 3" in shop.read("docs/manual.md")

    def test_what_the_user_deleted_stays_deleted(self, shop: Shop) -> None:
        shutil.rmtree(shop.path / "src/shop/notes")
        (shop.path / "old.txt").unlink()
        shop.commit()
        shop.generator.edit("template/old.txt", "old", "new")
        shop.generator.edit("template/src/{{package_name}}/notes/router.py", "notes", "n")
        shop.generator.write("src/{{package_name}}/notes/more.py", "more = 1\n")
        shop.generator.release("1.1.0")
        files = shop.updated()["files"]
        assert isinstance(files, dict)
        assert set(files["left_out"]) == {
            "old.txt",
            "src/shop/notes/router.py",
            "src/shop/notes/more.py",
        }
        assert not (shop.path / "src/shop/notes").exists()
        assert not (shop.path / "old.txt").exists()

    def test_a_file_that_the_user_deleted_keeps_no_other_away(self, shop: Shop) -> None:
        shop.git("rm", "-q", "docs/guide.md")
        shop.commit()
        shop.generator.write("docs/manual.md", "new\n")
        shop.generator.release("1.1.0")
        files = shop.updated()["files"]
        assert (files["added"], files["left_out"]) == (["docs/manual.md"], [])

    def test_changes_follow_a_package_that_the_user_renamed(self, shop: Shop) -> None:
        shop.git("mv", "src/shop", "src/store")
        shop.replace("src/store/__init__.py", "shop", "store")
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.write("src/{{package_name}}/more.py", "more = 1\n")
        shop.generator.write("src/{{package_name}}/parts/part.py", "part = 1\n")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.read("src/store/parts/part.py") == "part = 1\n"
        assert "return 11" in shop.read("src/store/code.py")
        assert shop.read("src/store/more.py") == "more = 1\n"
        assert not (shop.path / "src/shop").exists()

    def test_changes_of_files_that_the_user_renamed_come_with_a_hint(self, shop: Shop) -> None:
        shop.git("mv", "src/shop/code.py", "src/shop/numbers.py")
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        said = shop.update("--dry-run").stdout
        hint = "Changed where you renamed them; imports in new lines may still need your names"
        assert f"{hint}:\n  src/shop/code.py -> src/shop/numbers.py\n" in said
        files = shop.updated()["files"]
        assert files["followed"] == {"src/shop/code.py": "src/shop/numbers.py"}
        assert files["merged"] == ["docs/guide.md"]

    def test_files_of_the_users_follow_a_directory_that_the_template_renames(
        self, shop: Shop
    ) -> None:
        (shop.path / "src/shop/notes/mine.py").write_text("mine = 1\n")
        (shop.path / "src/shop/notes/parts").mkdir()
        (shop.path / "src/shop/notes/parts/part.py").write_text("part = 1\n")
        shop.commit()
        package = "template/src/{{package_name}}"
        shop.generator.git("mv", f"{package}/notes", f"{package}/remarks")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.read("src/shop/remarks/mine.py") == "mine = 1\n"
        assert shop.read("src/shop/remarks/parts/part.py") == "part = 1\n"
        assert not (shop.path / "src/shop/notes").exists()

    def test_line_ends_are_the_users(self, shop: Shop) -> None:
        for path in shop.path.rglob("*"):
            if path.is_file() and ".git" not in path.parts:
                path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        shop.update()
        content = (shop.path / "src/shop/code.py").read_bytes()
        assert content == FUNCTION.replace("return 1", "return 11").replace("\n", "\r\n").encode()
        assert (shop.path / "new.txt").read_bytes() == b"new\r\n"

    def test_the_same_addition_on_both_sides_is_no_conflict(self, shop: Shop) -> None:
        (shop.path / "new.txt").write_text("new\n")
        shop.commit()
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        shop.update()

    def test_history_may_be_squashed_or_shallow(self, shop: Shop, tmp_path: Path) -> None:
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        shop.git("checkout", "--orphan", "squashed")
        shop.commit()
        shop.git("branch", "-D", "main")
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        clone = tmp_path / "clone"
        git("clone", "--depth=1", f"file://{shop.path}", str(clone), cwd=tmp_path, env=shop.env)
        for path in (clone, shop.path):
            assert shop.fastpg("update", str(path)).returncode == 0
            guide = (path / "docs/guide.md").read_text()
            assert "Row 3" in guide
            assert guide.endswith("mine\n")


class TestConflicts:
    @pytest.fixture
    def conflict(self, shop: Shop) -> Shop:
        """A project with edits where the template has others, and elsewhere."""
        shop.replace("src/shop/code.py", "return 1", "return 111")
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        return shop

    def test_they_are_marked_named_and_no_success(self, conflict: Shop) -> None:
        said = conflict.update(code=3).stdout
        assert "src/shop/code.py: lines 2-6" in said
        assert "<<<<<<< before updating\n    return 111\n=======\n    return 11\n>>>>>>> " in (
            conflict.read("src/shop/code.py")
        )
        assert "UU src/shop/code.py" in conflict.git("status", "--porcelain")
        assert conflict.update(code=3).stderr.startswith("error: an update waits for its conflicts")
        assert conflict.update("--check", code=3)

    def test_they_end_with_continue(self, conflict: Shop) -> None:
        conflict.update(code=3)
        refused = conflict.update("--continue", code=3)
        assert "src/shop/code.py: 2, 4, 6" in refused.stderr
        text = conflict.read("src/shop/code.py")
        for marker in ("<<<<<<< before updating\n", ">>>>>>> after updating\n"):
            text = text.replace(marker, "")
        (conflict.path / "src/shop/code.py").write_text(text)
        assert "code.py: 3" in conflict.update("--continue", code=3).stderr
        (conflict.path / "src/shop/code.py").write_text(text.replace("=======\n", ""))
        conflict.update("--continue")
        assert all(line[1] == " " for line in conflict.git("status", "--porcelain").splitlines())
        conflict.git("commit", "--message", "Update")
        assert conflict.git("status", "--porcelain") == ""
        assert conflict.updated()["status"] == "current"

    def test_markers_that_were_committed_are_markers(self, conflict: Shop) -> None:
        conflict.update(code=3)
        conflict.commit()
        assert "code.py: 2, 4, 6" in conflict.update("--continue", code=3).stderr
        assert "hint: to lose them, too: git reset" in conflict.update("--abort", code=2).stderr

    def test_they_end_with_abort(self, conflict: Shop) -> None:
        before = tree(conflict.path)
        conflict.update(code=3)
        (conflict.path / "untracked").write_text("mine\n")
        conflict.append("src/shop/notes/router.py", "# edited meanwhile\n")
        conflict.update("--abort")
        (conflict.path / "untracked").unlink()
        assert conflict.git("status", "--porcelain") == "M src/shop/notes/router.py"
        conflict.git("checkout", "--", "src/shop/notes/router.py")
        assert tree(conflict.path) == before
        assert conflict.git("status", "--porcelain") == ""
        assert "no update waits" in conflict.update("--abort", code=2).stderr
        assert "no update waits" in conflict.update("--continue", code=2).stderr

    def test_they_end_with_abort_whoever_renamed_what(self, conflict: Shop) -> None:
        conflict.git("mv", "docs/guide.md", "docs/mine.md")
        conflict.replace("docs/mine.md", "Line 3", "My line 3")
        conflict.commit()
        conflict.generator.git("mv", "template/docs/guide.md", "template/docs/manual.md")
        conflict.generator.release("1.2.0")
        before = tree(conflict.path)
        assert "docs/mine.md: lines" in conflict.update(code=3).stdout
        assert not (conflict.path / "docs/manual.md").exists()
        conflict.update("--abort")
        assert conflict.git("status", "--porcelain") == ""
        assert tree(conflict.path) == before

    def test_what_both_renamed_has_the_users_name(self, shop: Shop) -> None:
        shop.git("mv", "docs/guide.md", "docs/mine.md")
        shop.append("docs/mine.md", "Mine\n========\n<<<<<<<< HEAD:x\n")
        shop.commit()
        shop.generator.git("mv", "template/docs/guide.md", "template/docs/manual.md")
        shop.generator.edit("template/docs/manual.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        shop.update()
        assert "Row 3" in shop.read("docs/mine.md")
        assert shop.read("docs/mine.md").endswith("Mine\n========\n<<<<<<<< HEAD:x\n")
        assert not (shop.path / "docs/manual.md").exists()

    def test_what_was_undone_by_other_means_is_left_alone(self, conflict: Shop) -> None:
        conflict.update(code=3)
        conflict.git("reset", "--hard")
        assert "clear it away with --abort" in conflict.update(code=3).stderr
        conflict.append("docs/guide.md", "more of mine\n")
        assert "not in the index" in conflict.update("--continue", code=3).stderr
        conflict.update("--abort")
        assert conflict.read("docs/guide.md").endswith("more of mine\n")

    def test_what_was_undone_before_a_commit_is_neither_finished_nor_lost(
        self, conflict: Shop
    ) -> None:
        conflict.update(code=3)
        conflict.git("reset", "--hard")
        conflict.append("docs/guide.md", "more of mine\n")
        conflict.commit()
        assert "not in the index" in conflict.update("--continue", code=3).stderr
        conflict.update("--abort")
        assert conflict.read("docs/guide.md").endswith("more of mine\n")
        assert conflict.commit_of_template == "v1.0.0"

    def test_what_was_unstaged_is_still_in_the_files(self, conflict: Shop) -> None:
        before = tree(conflict.path)
        conflict.update(code=3)
        conflict.git("reset", "--quiet")
        assert "in the files, though not in the index" in conflict.update("--abort", code=2).stderr
        conflict.git("add", "--all")
        conflict.git("reset", "--quiet", "src/shop/code.py")
        conflict.update("--abort")
        assert tree(conflict.path) == before

    def test_a_name_is_no_pattern(self, conflict: Shop) -> None:
        (conflict.path / "A.txt").write_text("mine\n")
        conflict.commit()
        conflict.generator.write("[A-Z].txt", "new\n")
        conflict.generator.release("1.2.0")
        conflict.update(code=3)
        conflict.append("A.txt", "more of mine\n")
        conflict.update("--abort")
        assert conflict.read("A.txt") == "mine\nmore of mine\n"
        assert not (conflict.path / "[A-Z].txt").exists()

    def test_a_directory_in_the_place_of_a_conflict_is_not_added(self, conflict: Shop) -> None:
        conflict.update(code=3)
        code = conflict.path / "src/shop/code.py"
        code.unlink()
        code.mkdir()
        (code / "secret").touch()
        assert "is not merged" in conflict.update("--continue", code=3).stderr
        assert "secret" not in conflict.git("ls-files")

    def test_markers_are_counted(self, conflict: Shop) -> None:
        conflict.append(
            "src/shop/code.py", "<<<<<<< before updating\n=======\n>>>>>>> after updating\n"
        )
        conflict.commit()
        conflict.update(code=3)
        conflict.update("--continue", code=3)

    @pytest.mark.parametrize("halfway", [False, True])
    def test_one_that_was_killed_can_be_undone(
        self, halfway: bool, conflict: Shop, tmp_path: Path
    ) -> None:
        before = tree(conflict.path)
        (tmp_path / "bin").mkdir()
        killer = tmp_path / "bin/git"
        real = shutil.which("git")
        write = f"cd {conflict.path}; echo new > new.txt; echo x > docs/guide.md"
        killer.write_text(
            f'#!/bin/sh\ncase "$*" in *"-m -u HEAD"*|*--dry-run*) ;; *"read-tree -m -u"*) '
            f'{write if halfway else ":"}; kill -9 $PPID; exit 1;; esac\nexec {real} "$@"\n'
        )
        killer.chmod(0o755)
        path = f"{killer.parent}{os.pathsep}{conflict.env['PATH']}"
        killed = conflict.fastpg("update", str(conflict.path), env={"PATH": path})
        assert killed.returncode == -9
        assert "not in the index" in conflict.update("--continue", code=3).stderr
        conflict.update("--abort")
        assert tree(conflict.path) == before
        assert conflict.git("status", "--porcelain") == ""

    def test_a_binary_file_stays_as_the_user_has_it(self, shop: Shop) -> None:
        shop.generator.write("logo", "\0old")
        shop.generator.release("1.1.0")
        shop.update()
        (shop.path / "logo").write_text("\0mine")
        shop.commit()
        shop.generator.write("logo", "\0new")
        shop.generator.release("1.2.0")
        assert "logo: yours is kept as it was" in shop.update(code=3).stdout
        assert shop.read("logo") == "\0mine"
        shop.git("checkout", "--theirs", "logo")
        assert shop.read("logo") == "\0new"
        assert "logo is not merged\nhint: git add" in shop.update("--continue", code=3).stderr
        shop.git("add", "logo")
        shop.update("--continue")

    def test_a_link_of_the_users_is_decided_by_the_user(self, shop: Shop) -> None:
        (shop.path / "old.txt").unlink()
        (shop.path / "old.txt").symlink_to("run")
        shop.commit()
        shop.generator.edit("template/old.txt", "old", "new")
        shop.generator.release("1.1.0")
        shop.update(code=3)
        assert str((shop.path / "old.txt").readlink()) == "run"
        assert "is not merged" in shop.update("--continue", code=3).stderr
        shop.update("--abort")
        assert shop.git("status", "--porcelain") == ""

    def test_a_file_that_is_gone_is_not_solved(self, conflict: Shop) -> None:
        conflict.update(code=3)
        code = conflict.path / "src/shop/code.py"
        code.rename(code.with_name("mine.py"))
        assert "code.py is not merged" in conflict.update("--continue", code=3).stderr
        conflict.git("rm", "-q", "src/shop/code.py")
        conflict.update("--continue")

    def test_an_encoding_hides_no_marker(self, shop: Shop) -> None:
        (shop.path / ".gitattributes").write_text("code.py working-tree-encoding=UTF-16\n")
        shop.replace("src/shop/code.py", "return 1", "return 111")
        code = shop.path / "src/shop/code.py"
        code.write_text(code.read_text(), "utf-16")
        shop.commit()
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.release("1.1.0")
        shop.update(code=3)
        assert "src/shop/code.py: 2, 4, 6" in shop.update("--continue", code=3).stderr

    def test_converted_line_ends_do_not_stop_their_end(self, conflict: Shop) -> None:
        conflict.git("config", "core.autocrlf", "input")
        conflict.git("config", "core.safecrlf", "true")
        conflict.update(code=3)
        (conflict.path / "src/shop/code.py").write_bytes(b"mine\r\n")
        conflict.update("--continue")

    def test_abort_deletes_nothing_that_git_does_not_know(self, conflict: Shop) -> None:
        conflict.generator.git("rm", "-q", "template/old.txt")
        conflict.generator.release("1.2.0")
        before = tree(conflict.path)
        conflict.update(code=3)
        (conflict.path / "old.txt").write_text("mine\n")
        assert "there is old.txt, unknown to git" in conflict.update("--abort", code=2).stderr
        assert conflict.read("old.txt") == "mine\n"
        (conflict.path / "old.txt").unlink()
        (conflict.path / "new.txt").unlink()
        (conflict.path / "new.txt").mkdir()
        (conflict.path / "new.txt/mine").touch()
        assert "there is new.txt/, unknown to git" in conflict.update("--abort", code=2).stderr
        shutil.rmtree(conflict.path / "new.txt")
        conflict.update("--abort")
        assert tree(conflict.path) == before

    def test_their_end_repeats_the_steps_and_heeds_no_lock(self, conflict: Shop) -> None:
        (conflict.path / "uv.lock").write_text("no lock file")
        conflict.commit()
        conflict.generator.edit("template/pyproject.toml.jinja", "0.1.0", "0.2.0")
        conflict.generator.release("1.2.0", "- News.\n\n### Steps\n\n1. Look here.\n")
        for options, code, lock in (("--no-lock",), 0, "unchanged"), ((), 1, "stale"):
            conflict.update(*options, code=3)
            (conflict.path / "src/shop/code.py").write_text("mine\n")
            done = conflict.update("--continue", code=code)
            assert "1. Look here." in done.stdout
            assert f"uv.lock  {lock}" in done.stdout
            assert ("error: `uv lock` failed" in done.stderr) == (code == 1)
            conflict.git("reset", "-q", "--hard")

    def test_a_file_added_by_both(self, shop: Shop) -> None:
        (shop.path / "new.txt").write_text("mine\n")
        shop.commit()
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        shop.update(code=3)
        assert "mine\n=======\nnew\n" in shop.read("new.txt")

    def test_a_dry_run_foresees_them_and_writes_nothing(self, conflict: Shop) -> None:
        before = sorted(conflict.path.rglob("*"))
        said = conflict.update("--dry-run", code=3).stdout
        assert "src/shop/code.py: lines 2-6" in said
        assert "  tests  " not in said
        assert sorted(conflict.path.rglob("*")) == before
        assert conflict.git("status", "--porcelain") == ""


class TestWhatHappensMeanwhile:
    @pytest.fixture
    def busy(self, shop: Shop) -> Shop:
        """A project in which somebody works while its tests run."""
        runner = shop.path.parent / "bin"
        runner.mkdir()
        (runner / "uv").write_text(f"#!/bin/sh\ncd {shop.path}\n. {runner}/work\n")
        (runner / "uv").chmod(0o755)
        shop.env = shop.env | {"PATH": f"{runner}{os.pathsep}{shop.env['PATH']}"}
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        return shop

    def test_an_edit_at_the_last_moment_is_not_taken_back(self, shop: Shop) -> None:
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        late = shop.path.parent / "bin/git"
        late.parent.mkdir()
        late.write_text(
            '#!/bin/sh\ncase "$*" in *"-m -u HEAD"*|*--dry-run*) ;; *"read-tree -m -u"*) '
            f"echo mine >> {shop.path}/docs/guide.md;; esac\n"
            f'exec {shutil.which("git")} "$@"\n'
        )
        late.chmod(0o755)
        path = f"{late.parent}{os.pathsep}{shop.env['PATH']}"
        failed = shop.fastpg("update", str(shop.path), env={"PATH": path})
        assert failed.returncode == 1
        assert shop.read("docs/guide.md").endswith("19 of the guide.\nmine\n")
        assert shop.git("status", "--porcelain") == "M docs/guide.md"

    def test_another_update_is_not_mixed_with_it(self, busy: Shop) -> None:
        busy.append("docs/guide.md", "mine\n")
        busy.commit()
        state = "$(git rev-parse --git-path fastpg-new-update-e3b0c44298fc.json)"
        (busy.path.parent / "bin/work").write_text(f"touch {state}\n")
        refused = busy.fastpg("update", str(busy.path), "--test", env=busy.env)
        assert refused.returncode == 3
        assert "another update of it has begun" in refused.stderr
        assert busy.git("status", "--porcelain") == ""

    @pytest.mark.parametrize("hidden", [False, True])
    def test_an_edit_is_not_written_over(self, hidden: bool, busy: Shop) -> None:
        if hidden:
            busy.git("update-index", "--assume-unchanged", "docs/guide.md")
        (busy.path.parent / "bin/work").write_text("echo mine >> docs/guide.md\n")
        failed = busy.fastpg("update", str(busy.path), "--test", env=busy.env)
        assert failed.returncode == 1
        assert busy.read("docs/guide.md").endswith("mine\n")
        assert "Row 3" not in busy.read("docs/guide.md")

    def test_a_commit_is_not_taken_back(self, busy: Shop) -> None:
        (busy.path.parent / "bin/work").write_text("echo x > old.txt; git commit -qam Mine\n")
        refused = busy.fastpg("update", str(busy.path), "--test", env=busy.env)
        assert "there are commits since the update began" in refused.stderr
        assert busy.git("status", "--porcelain") == ""
        assert busy.read("old.txt") == "x\n"


class TestRefusals:
    def test_changes_that_are_not_committed(self, shop: Shop) -> None:
        shop.generator.release("1.1.0")
        shop.append("docs/guide.md", "mine\n")
        refused = shop.update(code=2)
        assert refused.stderr.startswith(
            "error: there are changes that are not committed: docs/guide.md\nhint: commit"
        )
        shop.git("add", "--all")
        assert shop.update(code=2).stderr == refused.stderr

    def test_untracked_files_in_the_way(self, shop: Shop) -> None:
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        (shop.path / "new.txt").write_text("mine\n")
        (shop.path / "other.txt").write_text("mine\n")
        before = sorted(shop.path.rglob("*"))
        assert "new.txt" in shop.update(code=2).stderr
        assert shop.read("new.txt") == "mine\n"
        assert sorted(shop.path.rglob("*")) == before

    def test_a_file_of_the_templates_may_become_a_directory(self, shop: Shop) -> None:
        shop.generator.git("rm", "-q", "template/old.txt")
        shop.generator.write("old.txt/new.txt", "new\n")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.read("old.txt/new.txt") == "new\n"

    @pytest.mark.parametrize(("mine", "theirs"), [("a", "a/b"), ("a/b", "a")])
    def test_a_file_where_there_is_a_directory(self, mine: str, theirs: str, shop: Shop) -> None:
        (shop.path / mine).parent.mkdir(exist_ok=True)
        (shop.path / mine).touch()
        shop.commit()
        shop.generator.write(theirs, "new\n")
        shop.generator.release("1.1.0")
        what = "file" if mine == "a" else "directory"
        refused = shop.update(code=2).stderr
        assert f"error: the template has {theirs} now, and a is a {what} of yours" in refused
        assert shop.git("status", "--porcelain") == ""

    def test_a_sparse_checkout(self, shop: Shop) -> None:
        shop.git("sparse-checkout", "set", "src")
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        refused = shop.update(code=2).stderr
        assert "docs/guide.md is not checked out" in refused
        assert "hint: git sparse-checkout disable" in refused

    def test_a_sparse_checkout_gets_what_is_new(self, shop: Shop) -> None:
        shop.git("sparse-checkout", "set", "src", "docs")
        shop.generator.write("extra/new.txt", "new\n")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.read("extra/new.txt") == "new\n"
        assert shop.git("status", "--porcelain").splitlines()[1:] == ["A  extra/new.txt"]

    @pytest.mark.parametrize("options", [(), ("--dry-run",)])
    def test_an_index_that_somebody_else_writes(self, options: tuple[str], shop: Shop) -> None:
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        (shop.path / ".git/index.lock").touch()
        refused = shop.update(*options, code=1).stderr
        assert ".git/index.lock': File exists" in refused
        assert "Line 3" in shop.read("docs/guide.md")

    def test_a_repository_of_somebody_else(self, shop: Shop) -> None:
        refused = shop.fastpg(
            "update", str(shop.path), env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
        )
        assert "dubious ownership" in refused.stderr
        assert "hint: mend what git complains of" in refused.stderr

    @pytest.mark.parametrize(
        "rules",
        ["validator: '{% if %}'", "choices: [[A, x], [B, y]]", "validator: '{{ team + 1 }}'"],
    )
    def test_rules_that_only_copier_understands(self, rules: str, shop: Shop) -> None:
        shop.generator.edit("copier.yml", "team: nobody", f"team:\n  default: x\n  {rules}")
        shop.generator.release("1.1.0")
        assert "hint: update with Copier itself" in shop.update(code=2).stderr

    def test_an_ignored_file_where_a_directory_comes(self, shop: Shop) -> None:
        (shop.path / ".gitignore").write_text("/extra\n")
        shop.commit()
        (shop.path / "extra").write_text("mine\n")
        shop.generator.write("extra/new.txt", "new\n")
        shop.generator.release("1.1.0")
        assert "would write over what is not committed: extra/new.txt" in shop.update(code=2).stderr
        assert shop.read("extra") == "mine\n"

    def test_a_repository_that_the_project_brings_runs_nothing(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        vendor = shop.path / "vendor"
        git("init", "-q", "--bare", "-b", "main", str(vendor), cwd=tmp_path, env=shop.env)
        for key, value in (
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.url", "x@nowhere.invalid:y"),
            ("remote.origin.promisor", "true"),
            ("core.sshCommand", f"touch {tmp_path}/ran; false #"),
        ):
            git("config", key, value, cwd=vendor, env=shop.env)
        (vendor / "refs/heads/main").write_text(f"{'12' * 20}\n")
        shop.replace(".copier-answers.yml", "https://fastpg-new.invalid/fastpg-new.git", "./vendor")
        shop.commit()
        refused = shop.fastpg("update", "--check", cwd=shop.path)
        assert "vendor is not a git repository with a commit" in refused.stderr
        assert not (tmp_path / "ran").exists()

    def test_a_directory_without_a_project(self, shop: Shop, tmp_path: Path) -> None:
        assert ".copier-answers.yml" in shop.fastpg("update", str(tmp_path)).stderr
        shutil.rmtree(shop.path / ".git")
        refused = shop.update(code=2)
        assert "hint: git init" in refused.stderr

    @pytest.mark.parametrize("content", ["", "- x", "a: [", "project_name: shop\n", "\xff"])
    def test_a_broken_answers_file(self, content: str, shop: Shop) -> None:
        (shop.path / ".copier-answers.yml").write_text(content, "latin-1")
        shop.commit()
        assert "does not say which release" in shop.update(code=2).stderr

    def test_a_project_newer_than_the_tool(self, shop: Shop) -> None:
        shop.replace(".copier-answers.yml", "v1.0.0", "v2.0.0")
        shop.commit()
        for options in ((), ("--check",)):
            refused = shop.update(*options, code=3)
            assert "the project is at v2.0.0" in refused.stderr
            assert "hint: upgrade fastpg-new" in refused.stderr

    def test_options_that_contradict_each_other(self, shop: Shop) -> None:
        shop.update("--check", "--dry-run", code=2)
        shop.update("--abort", "--continue", code=2)
        shop.update("--continue", "--to", "1", code=2)


class TestAnswers:
    def test_one_can_be_changed_later(self, shop: Shop) -> None:
        document = shop.updated("--data", "description=Sells things")
        assert document["answers"]["changed"] == {"description": "Sells things"}
        assert "Sells things" in shop.read("pyproject.toml")
        assert "nosuch" in shop.update("--data", "nosuch=1", code=2).stderr
        shop.update("--data", "ci=nosuch", code=2)

    @pytest.mark.parametrize("options", [(), ("--check",), ("--dry-run",)])
    def test_a_service_keeps_its_name(self, options: tuple[str], shop: Shop) -> None:
        before = tree(shop.path)
        refused = shop.update("--data", "project_name=store", *options, code=2).stderr
        assert refused.startswith("error: a service keeps its name, here shop: ")
        assert "hint: make a new service, and take your code there" in refused
        assert tree(shop.path) == before
        shop.update("--data", "project_name=shop")

    @pytest.mark.parametrize(
        ("key", "there", "back"),
        [
            ("identity", "the section *Identity, later* of", "There is no short way back"),
            ("database_credentials", "see docs/credentials.md", "put passwords"),
        ],
    )
    def test_what_another_one_leaves_to_a_person_is_a_step(
        self, key: str, there: str, back: str, shop: Shop
    ) -> None:
        first, other = {"identity": ("none", "okta")}.get(key, ("password", "aws"))
        if key == "identity":
            shop.update("--data", "identity=none")
            shop.commit()
        for value, words in (other, there), (first, back):
            said = shop.update("--data", f"{key}={value}", "--dry-run").stdout
            assert said.index("What is left for you to do") < said.index(f"since {key} changed")
            assert words in said[said.index(f"since {key} changed") :]
            document = shop.updated("--data", f"{key}={value}", "--data", "team=Crows")
            assert list(document["answers"]["steps"]) == [key]
            assert words in document["answers"]["steps"][key]
            shop.commit()

    def test_its_step_is_repeated_when_conflicts_are_solved(self, shop: Shop) -> None:
        shop.replace("pyproject.toml", "FastAPI", "small")
        shop.commit()
        data = ("--data", "database_credentials=aws", "--data", "description=Sells things")
        assert "docs/credentials.md" in shop.update(*data, code=3).stdout
        (shop.path / "pyproject.toml").write_text("[project]\n")
        assert "docs/credentials.md" in shop.update("--continue").stdout

    def test_one_that_leaves_nothing_to_do_is_no_step(self, shop: Shop) -> None:
        assert shop.updated("--data", "identity=okta")["answers"]["steps"] == {}

    def test_those_added_dropped_renamed_or_reset_are_reported(self, shop: Shop) -> None:
        shop.update("--data", "team=Crows", "--data", "ci=gitlab")
        shop.commit()
        copier_yml = shop.generator.root / "copier.yml"
        text = copier_yml.read_text()
        text = text.replace("team: nobody", "crew:\n  default: \"{{ team | default('nobody') }}\"")
        text = text.replace("GitLab CI: gitlab", "Woodpecker: woodpecker")
        copier_yml.write_text(text + "\ncolour: red\n")
        shop.generator.release("1.1.0")
        answers = shop.updated()["answers"]
        assert isinstance(answers, dict)
        assert answers["added"] == {"crew": "Crows", "colour": "red"}
        assert answers["dropped"] == {"team": "Crows"}
        assert answers["reset"] == {
            "ci": "'gitlab' must be one of github, woodpecker, none; now 'github'"
        }

    def test_one_that_is_not_asked_any_more(self, shop: Shop) -> None:
        shop.generator.edit("copier.yml", "team: nobody", "team:\n  default: x\n  when: '{{ 0 }}'")
        shop.generator.release("1.1.0")
        answers = shop.updated("--data", "team=Crows")["answers"]
        assert (answers["changed"], answers["dropped"]) == ({}, {"team": "nobody"})

    def test_one_cannot_talk_to_the_terminal(self, shop: Shop) -> None:
        shop.replace(".copier-answers.yml", "nobody", '"\\e[31mred"')
        shop.commit()
        shop.generator.edit("copier.yml", "team: nobody", "")
        shop.generator.release("1.1.0")
        assert "team: [31mred" in shop.update().stdout


class TestSurroundings:
    def test_a_subfolder_of_a_repository(self, shop: Shop, here: Path) -> None:
        shutil.rmtree(shop.path / ".git")
        (here / "README.md").write_text("# Everything\n")
        git("init", "-q", str(here), cwd=here, env=shop.env)
        shop.append("docs/guide.md", "mine\n")
        shop.replace("src/shop/code.py", "return 1", "return 111")
        git("add", "--all", cwd=here, env=shop.env)
        git("commit", "-m", "All", cwd=here, env=shop.env)
        (here / "README.md").write_text("# Everything, changed\n")
        (here / "staged").touch()
        git("add", "staged", cwd=here, env=shop.env)
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.git("mv", "template/old.txt", "template/older.txt")
        shop.generator.release("1.1.0")
        before = tree(here)
        for _ in range(2):
            assert shop.fastpg("update", cwd=shop.path / "src/shop").returncode == 3
            assert "Row 3" in shop.read("docs/guide.md")
            assert git("status", "--porcelain", cwd=here, env=shop.env).splitlines() == [
                "M README.md",  # without its space, which strip() took
                "M  shop/.copier-answers.yml",
                "M  shop/docs/guide.md",
                "R  shop/old.txt -> shop/older.txt",
                "UU shop/src/shop/code.py",
                "A  staged",
            ]
            assert shop.fastpg("update", "--abort", cwd=shop.path / "src").returncode == 0
            assert tree(here) == before

    def test_a_git_hook(self, shop: Shop, tmp_path: Path) -> None:
        shop.generator.write("new.txt", "new\n")
        shop.generator.release("1.1.0")
        index = {"GIT_INDEX_FILE": str(tmp_path / "index"), "GIT_DIR": str(tmp_path / "nowhere")}
        done = shop.fastpg("update", cwd=shop.path, env=index)
        assert done.returncode == 0, done.stderr
        assert "A  new.txt" in shop.git("status", "--porcelain")

    def test_neither_hooks_nor_configuration_of_the_user_get_in_the_way(self, shop: Shop) -> None:
        for key, value in (
            ("merge.conflictStyle", "zdiff3"),
            ("core.autocrlf", "true"),
            ("diff.noprefix", "true"),
            ("merge.renames", "false"),
            ("status.short", "true"),
            ("color.ui", "always"),
        ):
            shop.git("config", key, value)
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        for hook in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
            path = shop.path / ".git/hooks" / hook
            path.parent.mkdir(exist_ok=True)
            path.write_text("#!/bin/sh\nexit 1\n")
            path.chmod(0o755)
        for key, value in (
            ("diff.orderFile", "nowhere"),
            ("url.nowhere.insteadOf", "/"),
            ("transfer.hideRefs", "refs/"),
        ):
            shop.git("config", key, value)
        shop.generator.git("mv", "template/docs/guide.md", "template/docs/manual.md")
        shop.generator.release("1.1.0")
        shop.update()
        assert shop.read("docs/manual.md").endswith("mine\n")

    @pytest.mark.parametrize("name", ["new\nline", 'quoted "it"', "\udcff", "a:b"])
    def test_a_path_that_is_unusual(self, name: str, shop: Shop) -> None:
        directory = shop.path.parent / name
        directory.mkdir()
        shop.path = shop.path.rename(directory / "shop")
        shop.append("docs/guide.md", "mine\n")
        shop.commit()
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        assert shop.updated()["files"]["merged"] == ["docs/guide.md"]

    def test_a_filter_that_fails_leaves_a_way_out(self, shop: Shop) -> None:
        (shop.path / ".gitattributes").write_text("*.md filter=broken\n")
        shop.commit()
        before = tree(shop.path)
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        shop.git("config", "filter.broken.clean", "cat")
        shop.git("config", "filter.broken.smudge", "false")
        shop.git("config", "filter.broken.required", "true")
        failed = shop.update(code=1)
        assert "hint: mend that, then --abort the update" in failed.stderr
        shop.git("config", "filter.broken.smudge", "cat")
        shop.update("--abort")
        assert tree(shop.path) == before

    def test_a_repository_with_longer_hashes(self, shop: Shop) -> None:
        shutil.rmtree(shop.path / ".git")
        shop.git("init", "-q", "--object-format=sha256")
        shop.append("old.txt", "mine\n")
        shop.commit()
        shop.generator.edit("template/old.txt", "old", "new")
        shop.generator.git("rm", "-q", "template/docs/guide.md")
        shop.generator.release("1.1.0")
        shop.update(code=3)
        shop.update("--abort")
        assert shop.git("status", "--porcelain") == ""

    def test_variables_that_stand_for_configuration(self, shop: Shop) -> None:
        shop.append("old.txt", "mine\n")
        shop.commit()
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.release("1.1.0")
        env = {"GIT_DEFAULT_HASH": "sha256", "GIT_AUTHOR_NAME": "", "GIT_COMMITTER_EMAIL": ""}
        updated = shop.fastpg("update", str(shop.path), env=env)
        assert updated.returncode == 0, updated.stderr

    def test_files_that_can_be_run_stay_so(self, shop: Shop) -> None:
        shop.append("run", "exit 1\n")
        shop.commit()
        shop.generator.edit("template/run", "#!/bin/sh", "#!/bin/bash")
        shop.generator.release("1.1.0")
        shop.update(code=3)
        assert (shop.path / "run").stat().st_mode & stat.S_IXUSR

    def test_two_projects_of_a_repository_do_not_know_each_other(
        self, shop: Shop, here: Path
    ) -> None:
        shutil.rmtree(shop.path / ".git")
        shop.replace("src/shop/code.py", "return 1", "return 111")
        shutil.copytree(shop.path, here / "other")
        git("init", "-q", str(here), cwd=here, env=shop.env)
        git("add", "--all", cwd=here, env=shop.env)
        git("commit", "-m", "All", cwd=here, env=shop.env)
        shop.generator.edit("template/src/{{package_name}}/code.py", "return 1", "return 11")
        shop.generator.release("1.1.0")
        before = tree(here)
        assert shop.fastpg("update", "shop").returncode == 3
        refused = shop.fastpg("update", "other")
        assert refused.returncode == 2
        assert "shop/src/shop/code.py is not merged" in refused.stderr
        assert shop.fastpg("update", "other", "--abort").returncode == 2
        assert shop.fastpg("update", "shop", "--abort").returncode == 0
        assert tree(here) == before

    def test_a_project_below_another_is_none_of_its_business(self, shop: Shop) -> None:
        below = shop.path / "services/other"
        shop.fastpg(str(below), *QUIET)
        shop.git("rm", "-rq", "src")
        shop.commit()
        before = tree(below)
        shop.generator.git("mv", "template/old.txt", "template/older.txt")
        shop.generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        shop.generator.write("src/{{package_name}}/new.py", "new = 1\n")
        shop.generator.release("1.1.0")
        shop.update()
        assert tree(below) == before
        assert "services" not in shop.git("status", "--porcelain")
        assert not (shop.path / "src").exists()


class TestOwnTests:
    @pytest.fixture
    def tested(self, shop: Shop) -> Shop:
        """A project whose tests need nothing but Python."""
        runner = shop.path.parent / "bin"
        runner.mkdir()
        (runner / "uv").write_text(
            f"#!/bin/sh\n[ \"$1 $2\" = 'run pytest' ] && exec {sys.executable} check.py\n"
        )
        (runner / "uv").chmod(0o755)
        shop.env = shop.env | {"PATH": f"{runner}{os.pathsep}{shop.env['PATH']}"}
        (shop.path / "check.py").write_text(
            "import sys\ntext = open('old.txt').read()\nprint('old.txt says', text)\n"
            "sys.exit('broken' in text)\n"
        )
        shop.commit()
        return shop

    @pytest.mark.parametrize(
        ("notes", "remedy"),
        [
            ("- News.\n", "apply it without --test, and mend it"),
            ("### Steps\n\n1. Do.\n", "take the steps that --dry-run shows"),
        ],
    )
    def test_a_merge_that_fails_them_is_not_applied(
        self, tested: Shop, notes: str, remedy: str
    ) -> None:
        tested.generator.edit("template/old.txt", "old", "broken")
        tested.generator.release("1.1.0", notes)
        before = sorted(tested.path.rglob("*"))
        failed = tested.fastpg("update", str(tested.path), "--test", env=tested.env)
        assert failed.returncode == 1
        assert "was not applied" in failed.stderr
        assert "An broken file" in failed.stderr
        assert remedy in failed.stderr
        assert sorted(tested.path.rglob("*")) == before
        assert tested.git("status", "--porcelain") == ""

    def test_a_merge_that_passes_them_is_applied(self, tested: Shop) -> None:
        tested.generator.edit("template/old.txt", "old", "new")
        tested.generator.release("1.1.0")
        done = tested.fastpg("update", str(tested.path), "--test", "--dry-run", env=tested.env)
        assert "  tests    passed" in done.stdout
        done = tested.fastpg("update", str(tested.path), "--test", "--json", env=tested.env)
        assert json.loads(done.stdout)["tests"] == "passed"
        assert "new" in tested.read("old.txt")


class TestCheck:
    def test_its_exit_code_says_whether_there_is_a_newer_release(self, shop: Shop) -> None:
        assert shop.updated("--check")["status"] == "current"
        shop.generator.release("1.1.0")
        said = shop.update("--check", code=4).stdout
        assert said.endswith("is at v1.0.0; there is v1.1.0.\n")
        assert shop.updated("--check", code=4)["target"] == "v1.1.0"
        assert shop.git("status", "--porcelain") == ""

    def test_other_answers_are_no_release(self, shop: Shop) -> None:
        said = shop.update("--check", "--data", "team=Crows", code=4).stdout
        assert said.endswith("is at v1.0.0; its answers would change.\n")

    def test_a_title_without_words_is_none(self, shop: Shop) -> None:
        shop.generator.edit("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n##   \n")
        shop.generator.release("1.1.0")
        document = shop.updated("--check", code=4)
        assert (document["files"], document["answers"]) == (None, None)  # nobody has looked


class TestCopierAlone:
    @pytest.mark.parametrize("edited", [False, True])
    def test_its_update_gives_the_same_tree(self, edited: bool, shop: Shop, tmp_path: Path) -> None:
        if edited:
            shop.append("docs/guide.md", "mine\n")
            shop.replace("src/shop/code.py", "# between\n", "# between\n# mine\n")
            (shop.path / "old.txt").unlink()
            (shop.path / "mine.txt").write_text("mine\n")
            shop.commit()
        generator = shop.generator
        generator.git("tag", "v1.0.0")
        generator.edit("template/docs/guide.md", "Line 3", "Row 3")
        generator.edit("template/src/{{package_name}}/code.py", "return 2", "return 22")
        generator.edit("template/old.txt", "old", "new")
        generator.write("src/{{package_name}}/more.py", "more = 1\n")
        generator.git("rm", "-q", "template/src/{{package_name}}/notes/router.py")
        generator.release("1.1.0")
        generator.git("tag", "v1.1.0")
        alone = tmp_path / "alone"
        git("clone", "-q", str(shop.path), str(alone), cwd=tmp_path, env=shop.env)
        shop.update()
        (tmp_path / "gitconfig").write_text(
            f'[url "{generator.root}"]\ninsteadOf = https://fastpg-new.invalid/fastpg-new.git\n'
            "[user]\nname = Ada\nemail = ada@example.org\n"
        )
        subprocess.run(
            [sys.executable, "-m", "copier", "update", "--defaults"],
            cwd=alone,
            env=shop.env | {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")},
            check=True,
            capture_output=True,
        )
        assert tree(alone) == tree(shop.path)
