"""Whatever stops us, there is a whole project or nothing."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpg_new.staging import workspace

from .conftest import SMALL_TEMPLATE, Run, everything, make_template, tree

FAST = ("--defaults", "--no-git", "--quiet")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(
    variables: dict[str, str], here: Path, temporary: Path, small_template: Path
) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, template: Path = small_template) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fastpg_new", *FAST, *arguments]
        process = subprocess.Popen(
            [*command, f"--template={template}"],
            cwd=here, env=variables | {"TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A shell's background jobs, such as a whole run of CI, are made to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def staging(place: Path) -> list[Path]:
    return list(place.glob(".*.fastpg-new-*"))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("attempt", range(6))
def test_a_signal_at_any_moment_leaves_a_whole_project_or_nothing(
    number: signal.Signals, attempt: int, start: Start, here: Path, temporary: Path
) -> None:
    process = start("shop")
    wait_for(lambda: list(temporary.iterdir()) or process.poll() is not None)
    time.sleep(random.Random(f"{number} {attempt}").uniform(0, 0.8))  # noqa: S311 (no secret)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in {0, 130}, errors
    if process.returncode == 130:
        assert errors.startswith("error: interrupted\nhint: ")
        assert (here / "shop").exists() == ("complete" in errors)
    if (here / "shop").exists():
        assert len({*tree(here / "shop")} - {"uv.lock"}) == len(SMALL_TEMPLATE)
    assert staging(here) == []
    assert everything(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_files_are_rendered_leaves_nothing(
    number: signal.Signals, start: Start, here: Path, temporary: Path, tmp_path: Path,
    variables: dict[str, str],
) -> None:  # fmt: skip
    (tmp_path / "long").mkdir()
    many = {f"z/{count}.txt.jinja": "{{ project_name }}" for count in range(300)}
    template = make_template(tmp_path / "long", SMALL_TEMPLATE | many, variables)
    process = start("far/shop", template=template)
    wait_for(lambda: [file for place in staging(here) for file in place.rglob("*.toml")])
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (
        130, "error: interrupted\nhint: nothing was created\n")  # fmt: skip
    assert everything(here) == []
    assert everything(temporary) == []


def test_what_a_killed_run_leaves_the_next_one_removes(
    start: Start, here: Path, temporary: Path
) -> None:
    process = start("shop")
    wait_for(lambda: staging(here))
    process.kill()
    process.communicate()
    assert staging(here)
    assert staging(temporary)
    time.sleep(0.5)  # a git that it started ends
    following = start("shed", "--no-lock")
    assert following.wait(timeout=30) == 0
    assert [path.name for path in here.iterdir()] == ["shed"]
    assert everything(temporary) == []


def test_the_staging_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    with workspace(tmp_path, "shop") as first:
        first.mkdir()
        with workspace(tmp_path, "shop"):
            assert first.is_dir()
    assert everything(tmp_path) == []


def test_what_only_looks_like_staging_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / ".shop.fastpg-new-abcdefgh"
    (mine / "work").mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    (tmp_path / ".shop.fastpg-new-link0000").symlink_to(mine)
    (tmp_path / ".shop.fastpg-new-backup").mkdir()
    before = everything(tmp_path)
    with workspace(tmp_path, "shop"):
        pass
    assert everything(tmp_path) == before


@pytest.mark.parametrize("content", ["{{ 'x' * 400000 }}", "x" * 400000])
def test_a_full_disk_leaves_nothing(
    content: str, fastpg: Run, here: Path, tmp_path: Path, temporary: Path,
    variables: dict[str, str],
) -> None:  # fmt: skip
    (tmp_path / "big").mkdir()
    big = make_template(tmp_path / "big", SMALL_TEMPLATE | {"README.md.jinja": content}, variables)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    failed = fastpg("shop", *FAST, f"--template={big}", preexec_fn=limit)
    assert failed.returncode == 1
    assert [line.split(":")[0] for line in failed.stderr.splitlines()] == ["error", "hint"]
    assert everything(here) == []
    assert everything(temporary) == []


def test_a_place_that_cannot_be_written_is_an_error(
    fastpg: Run, tmp_path: Path, small_template: Path, temporary: Path
) -> None:
    place = Path("/proc/self" if os.geteuid() == 0 else tmp_path / "fixed")
    if os.geteuid() != 0:
        place.mkdir(mode=0o555)
    failed = fastpg(str(place / "shop"), *FAST, f"--template={small_template}")
    assert failed.returncode == 1
    assert [line.split(":")[0] for line in failed.stderr.splitlines()] == ["error", "hint"]
    assert everything(temporary) == []


@pytest.mark.parametrize("instead", ["time.sleep(30)", "raise OSError(9, 'Bad file descriptor')"])
def test_an_interrupt_that_is_swallowed_is_one(instead: str, tmp_path: Path) -> None:
    source = f"""
import time
from pathlib import Path
from fastpg_new.staging import listening, workspace

with listening(), workspace(Path(), "shop") as work:
    work.mkdir()
    try:
        print("ready", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        {instead}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert errors.splitlines()[-1] == b"KeyboardInterrupt"
    assert list(tmp_path.iterdir()) == []
