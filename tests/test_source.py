"""Where the template comes from, and what a project remembers of it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import copier
import pytest
import yaml

from fastpg_new import addresses, source
from fastpg_new.render import render

from .conftest import ROOT, SMALL_TEMPLATE, Run, everything, git, make_template, tree

FAST = ("--defaults", "--no-lock", "--no-git", "--quiet")
CANONICAL = "https://fastpg-new.invalid/fastpg-new.git"

Remembered = Callable[[Path], dict[str, str]]


def remembered(project: Path) -> dict[str, str]:
    answers: dict[str, str] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return answers


@pytest.fixture
def checkout(tmp_path: Path, variables: dict[str, str]) -> Path:
    """A checkout of the generator, with a small template."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return make_template(root, SMALL_TEMPLATE, variables)


@pytest.fixture
def from_checkout(fastpg: Run, checkout: Path) -> Run:
    def run(*arguments: str, root: Path = checkout, **env: str) -> subprocess.CompletedProcess[str]:
        done = fastpg(*arguments, *FAST, env=env | {"PYTHONPATH": str(root / "src")})
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_a_checkout_renders_what_is_committed_and_nothing_else(
    from_checkout: Run, checkout: Path, here: Path, variables: dict[str, str]
) -> None:
    from_checkout("shop")
    (here / "shop").rename(here / "clean")
    (checkout / "template/README.md.jinja").write_text("changed")
    (checkout / "template/untracked").touch()
    (checkout / "template/staged").touch()
    git("add", "template/staged", cwd=checkout, env=variables)
    (checkout / "copier.yml").write_text("project_name: {type: str}")
    from_checkout("shop")
    assert tree(here / "shop") == tree(here / "clean")


def test_a_given_directory_is_rendered_as_committed_too(
    fastpg: Run, checkout: Path, here: Path
) -> None:
    (checkout / "template/untracked").touch()
    assert fastpg("shop", *FAST, f"--template={checkout}").returncode == 0
    assert not (here / "shop/untracked").exists()


def test_a_checkout_without_an_origin_remembers_the_canonical_address(
    from_checkout: Run, checkout: Path, here: Path, variables: dict[str, str]
) -> None:
    from_checkout("shop")
    short = git("rev-parse", "--short", "HEAD", cwd=checkout, env=variables)
    assert remembered(here / "shop")["_src_path"] == CANONICAL
    assert remembered(here / "shop")["_commit"] == short


def test_a_checkout_remembers_its_origin_and_its_tag(
    from_checkout: Run, checkout: Path, here: Path, variables: dict[str, str]
) -> None:
    origin = "https://ann:secret@git.example/fastpg"
    git("remote", "add", "origin", origin, cwd=checkout, env=variables)
    git("tag", "v9.9.9", cwd=checkout, env=variables)
    from_checkout("shop")
    assert remembered(here / "shop")["_src_path"] == "git+https://git.example/fastpg"
    assert remembered(here / "shop")["_commit"] == "v9.9.9"


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://git.example/x.git", "https://git.example/x.git"),
        ("https://git.example/x", "git+https://git.example/x"),
        ("https://token@git.example/x.git", "https://git.example/x.git"),
        ("git+https://a:b@git.example/x", "git+https://git.example/x"),
        ("git@git.example:a/x.git", "git@git.example:a/x.git"),
        ("ssh://git@git.example:22/a/x", "git+ssh://git@git.example:22/a/x"),
        ("ssh://git:b@git.example/x.git", "ssh://git@git.example/x.git"),
        ("/home/ann/x.git", CANONICAL),
        ("../x", CANONICAL),
        ("file:///home/ann/x.git", CANONICAL),
    ],
)
def test_an_address_is_remembered_if_it_works_for_others(origin: str, address: str) -> None:
    assert addresses.public(origin) == address


def test_a_checkout_of_somebody_else_will_do(from_checkout: Run, here: Path) -> None:
    from_checkout("shop", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert (here / "shop/pyproject.toml").is_file()


@pytest.mark.parametrize("how", ["shallow", "detached", "worktree"])
def test_unusual_checkouts_will_do(
    how: str, from_checkout: Run, checkout: Path, here: Path, tmp_path: Path,
    variables: dict[str, str],
) -> None:  # fmt: skip
    git("commit", "--allow-empty", "-m", "Second", cwd=checkout, env=variables)
    other = tmp_path / "other"
    if how == "shallow":
        git("clone", "--depth=1", f"file://{checkout}", str(other), cwd=tmp_path, env=variables)
    elif how == "worktree":
        git("worktree", "add", "--detach", str(other), cwd=checkout, env=variables)
    else:
        git("clone", str(checkout), str(other), cwd=tmp_path, env=variables)
        git("checkout", "--detach", cwd=other, env=variables)
        git("commit", "--allow-empty", "-m", "On no branch", cwd=other, env=variables)
    from_checkout("shop", root=other)
    commit = remembered(here / "shop")["_commit"]
    head = git("rev-parse", "HEAD", cwd=other, env=variables)
    assert head.startswith(commit)


def test_line_endings_do_not_depend_on_the_user(
    from_checkout: Run, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "gitconfig").write_text("[core]\nautocrlf = true\neol = crlf\n")
    from_checkout("shop", GIT_CONFIG_GLOBAL=str(tmp_path / "gitconfig"))
    assert all(b"\r" not in content for _, content in tree(here / "shop").values())


def test_defaults_do_not_depend_on_the_user(from_checkout: Run, here: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yml").write_text("defaults: {ci: none, author: Eve}\n")
    from_checkout("shop", COPIER_SETTINGS_PATH=str(tmp_path / "settings.yml"))
    assert remembered(here / "shop")["author"] == ""


def test_copier_alone_gives_the_same_project_without_trust(
    fastpg: Run, here: Path, variables: dict[str, str]
) -> None:
    head = git("rev-parse", "HEAD", cwd=ROOT, env=variables)
    data = {"project_name": "my-shop", "description": 'It\'s {{ 7*7 }} "x"', "ci": "gitlab"}
    pairs = [f"--data={key}={value}" for key, value in data.items()]
    done = fastpg("my-shop", *FAST, *pairs, f"--template={ROOT}")
    assert done.returncode == 0, done.stderr
    copier.run_copy(str(ROOT), here / "alone", data, vcs_ref=head, defaults=True, quiet=True)
    assert tree(here / "alone") == tree(here / "my-shop")


def test_a_template_far_away_is_read_at_its_head(
    fastpg: Run, here: Path, small_template: Path
) -> None:
    done = fastpg("shop", *FAST, f"--template=file://{small_template}")
    assert done.returncode == 0, done.stderr
    assert remembered(here / "shop")["_src_path"] == f"git+file://{small_template}"


@pytest.mark.parametrize("content", [None, "- x", "a: [", "name: x"])
def test_a_repository_that_is_no_template_is_refused(
    content: str | None, fastpg: Run, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    root = tmp_path / "other"
    git("init", str(root), cwd=tmp_path, env=variables)
    if content:
        (root / "copier.yml").write_text(content)
        git("add", "-A", cwd=root, env=variables)
    git("commit", "--allow-empty", "-m", "x", cwd=root, env=variables)
    refused = fastpg("shop", *FAST, f"--template={root}")
    assert refused.returncode == 2
    assert [line.split(":")[0] for line in refused.stderr.splitlines()] == ["error", "hint"]
    assert everything(here) == []


@pytest.mark.parametrize("address", ["https://nowhere.invalid/x.git", "nothing/here", "/dev/null"])
def test_a_template_that_cannot_be_read_is_an_error(address: str, fastpg: Run, here: Path) -> None:
    failed = fastpg("shop", *FAST, f"--template={address}")
    assert failed.returncode in {1, 2}
    assert [line.split(":")[0] for line in failed.stderr.splitlines()] == ["error", "hint"]
    assert everything(here) == []


@pytest.mark.parametrize(
    "address",
    [
        "HTTPS://ada:secret@nowhere.invalid/x.git",
        "ssh://ada:secret@nowhere.invalid/x.git",
        "https://nowhere.invalid/x.git?private_token=secret",
        "https://ada:secret@[nowhere/x.git",
        "hg://ada:secret@nowhere.invalid/x",
    ],
)
def test_a_secret_in_an_address_is_not_shown(address: str, fastpg: Run, here: Path) -> None:
    failed = fastpg("shop", *FAST, f"--template={address}")
    assert failed.returncode in {1, 2}
    assert failed.stderr.startswith("error: ")
    assert "secret" not in failed.stdout + failed.stderr
    assert everything(here) == []


def test_a_project_can_be_updated_by_copier_alone(
    fastpg: Run, here: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "template").mkdir()
    root = make_template(tmp_path / "template", SMALL_TEMPLATE, variables)
    git("tag", "v1.0.0", cwd=root, env=variables)
    done = fastpg("shop", "--defaults", f"--template={root}")
    assert done.returncode == 0, done.stderr
    (root / "template/news").write_text("new")
    for command in (["add", "-A"], ["commit", "-m", "News"], ["tag", "v1.1.0"]):
        git(*command, cwd=root, env=variables)
    copier.run_update(here / "shop", defaults=True, overwrite=True, quiet=True)
    assert remembered(here / "shop")["_commit"] == "v1.1.0"
    assert (here / "shop/news").read_text() == "new"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """A clone with a release of its own and, beside it, the wheel, installed."""
    place = tmp_path_factory.mktemp("wheel")
    checkout = place / "checkout"

    def run(*command: str, cwd: Path = checkout) -> str:
        done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("git", "clone", "--no-tags", str(ROOT), str(checkout), cwd=place)
    changelog = (checkout / "CHANGELOG.md").read_text()
    title = "## Unreleased\n"
    (checkout / "CHANGELOG.md").write_text(changelog.replace(title, f"{title}\n- News.\n", 1))
    (checkout / "template/news.txt").write_text("new\n")
    run("git", "add", "--all")
    run("git", "commit", "--message", "News")
    said = run(sys.executable, "tools/release.py", "99.0.0")
    assert "is a reserved name" in said
    assert run("git", "describe") == "v99.0.0\n"
    run("git", "tag", "--delete", "v99.0.0")
    run("uv", "pip", "install", "--no-deps", f"--target={place}/site", *wheels(checkout))
    return place


def wheels(checkout: Path) -> list[str]:
    return [str(wheel) for wheel in (checkout / "dist").glob("*.whl")]


def test_a_wheel_renders_its_own_release_as_the_checkout_does(
    installed: Path, fastpg: Run, here: Path
) -> None:
    for name, path in (("wheel", installed / "site"), ("checkout", installed / "checkout/src")):
        done = fastpg("shop", *FAST, env={"PYTHONPATH": str(path)})
        assert done.returncode == 0, done.stderr
        (here / "shop").rename(here / name)
    assert remembered(here / "wheel")["_src_path"] == CANONICAL
    assert remembered(here / "wheel")["_commit"] == "v99.0.0"
    assert (here / "wheel/news.txt").is_file()
    assert tree(here / "wheel") == tree(here / "checkout")


def test_a_wheel_updates_what_an_older_release_made(
    installed: Path, fastpg: Run, here: Path, variables: dict[str, str]
) -> None:
    first = git("log", "--reverse", "--format=%H", "--grep=^Release ", cwd=ROOT, env=variables)
    older = here.parent / "older"
    git("clone", "--no-tags", str(ROOT), str(older), cwd=here, env=variables)
    git("checkout", first.splitlines()[0], cwd=older, env=variables)
    create = ("--defaults", "--no-lock", "--quiet")
    assert fastpg("shop", *create, env={"PYTHONPATH": str(older / "src")}).returncode == 0
    done = fastpg("update", "shop", "--no-lock", env={"PYTHONPATH": str(installed / "site")})
    assert done.returncode == 0, done.stderr
    assert remembered(here / "shop")["_commit"] == "v99.0.0"
    assert (here / "shop/news.txt").is_file()


@pytest.mark.larger
def test_a_wheel_of_roots_serves_another_user_without_a_network(
    installed: Path, variables: dict[str, str]
) -> None:
    assert os.geteuid() == 0, "only root can take the network away and be somebody else"
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        shutil.copytree(installed / "site", place / "site")
        (place / "home").mkdir()
        (place / "home/.gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n")
        (place / "scratch").mkdir()
        older = source.find(None, place / "scratch").at("v0.2.0")
        assert older is not None
        render(older, place / "home/older", {"project_name": "older"})
        for path in (place, *place.rglob("*")):
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        subprocess.run(["chown", "-R", "65534:65534", str(place / "home")], check=True)
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        env = variables | {
            "HOME": str(place / "home"),
            "PYTHONPATH": str(place / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

        def run(*command: str, cwd: Path = place / "home") -> None:
            isolated = ["unshare", "--net", *somebody, *command]
            done = subprocess.run(isolated, cwd=cwd, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr

        fastpg = (sys.executable, "-m", "fastpg_new")
        run(*fastpg, "shop", "--defaults", "--no-lock")
        for command in (["init"], ["add", "--all"], ["commit", "--message", "Older"]):
            run("git", *command, cwd=place / "home/older")
        run(*fastpg, "update", "older", "--no-lock")
        for name in ("shop", "older"):
            assert remembered(place / "home" / name)["_commit"] == "v99.0.0"


def test_a_wheel_needs_a_release_and_its_history(
    installed: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    def built(place: Path) -> str:
        build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel")
        return subprocess.run(
            build, cwd=place, env=variables, capture_output=True, text=True
        ).stderr

    address = f"file://{installed / 'checkout'}"
    git("clone", "--depth=1", address, str(tmp_path / "shallow"), cwd=tmp_path, env=variables)
    assert "git fetch --unshallow" in built(tmp_path / "shallow")
    git("clone", address, str(tmp_path / "dirty"), cwd=tmp_path, env=variables)
    pyproject = tmp_path / "dirty/pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("99.0.0", "99.0.1"))
    assert "99.0.1 is not released" in built(tmp_path / "dirty")


@pytest.mark.parametrize(
    ("version", "what"), [("0.0.1", "no version above"), ("1", "no version"), ("99.1.0", "nothing")]
)
def test_no_release_without_a_newer_version_and_notes(
    version: str, what: str, installed: Path, variables: dict[str, str]
) -> None:
    command = [sys.executable, "tools/release.py", version]
    cwd = installed / "checkout"
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert what in done.stderr
    assert git("status", "--porcelain", cwd=cwd, env=variables) == ""


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://git.example/fork.git", "https://git.example/fork.git"),
        ("file:///home/ann/fork", CANONICAL),
    ],
)
def test_an_installation_from_git_remembers_that_address(
    url: str, address: str, installed: Path, fastpg: Run, here: Path, tmp_path: Path
) -> None:
    shutil.copytree(installed / "site", tmp_path / "site")
    (information,) = (tmp_path / "site").glob("*.dist-info")
    (information / "direct_url.json").write_text(
        f'{{"url": "{url}", "vcs_info": {{"vcs": "git", "commit_id": "0"}}}}'
    )
    done = fastpg("shop", *FAST, env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.returncode == 0, done.stderr
    assert remembered(here / "shop")["_src_path"] == address
