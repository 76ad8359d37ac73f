"""The embedded server: real processes, real signals, as root and as anybody else."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest

from dev import postgres

PROJECT = Path(postgres.__file__).parents[1]
SOON = 5.0


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """A directory that every user can enter, unlike root's `tmp_path`."""
    memory = Path("/dev/shm")  # where fsync costs nothing
    with TemporaryDirectory(prefix="pg-test-", dir=memory if memory.exists() else "/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name, "data")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


def query(url: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def expected_uid() -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    return int(os.environ.get("SUDO_UID", "0")) or pwd.getpwnam("nobody").pw_uid


def state_and_parent(pid: int) -> tuple[str, int]:
    if sys.platform == "linux":  # slim images have no ps
        with suppress(FileNotFoundError, ProcessLookupError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            return state, int(parent)
        return "gone", 0
    ps = subprocess.run(["ps", "-o", "stat=,ppid=", "-p", str(pid)], stdout=subprocess.PIPE)
    state, parent = ps.stdout.decode().split() or ("gone", "0")
    return state, int(parent)


def is_alive(pid: int) -> bool:
    return state_and_parent(pid)[0][0] not in "gZ"


def parent_of(pid: int) -> int:
    return state_and_parent(pid)[1]


def becomes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Caller:
    """Another process that runs a server, says where, and then does as it is told."""

    def __init__(self, then: str = "time.sleep(60)", arguments: str = "") -> None:
        source = f"""
import json, os, signal, subprocess, sys, time
from pathlib import Path
from dev import postgres

# A background job, such as a whole run of CI, is made to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def say(**facts):
    print(json.dumps(facts, default=str), flush=True)

with postgres.running({arguments}) as server:
    say(pid=server.pid, data=server.data_directory, socket=server.socket_directory)
    {then}
"""
        self.process = subprocess.Popen(
            [sys.executable, "-c", source],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.server = self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        facts: dict[str, Any] = json.loads(self.process.stdout.readline())
        return facts

    def has_left_nothing(self) -> bool:
        places = [Path(self.server["data"]).parent, Path(self.server["socket"])]
        return not is_alive(self.server["pid"]) and not any(place.exists() for place in places)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_server_answers_over_its_socket(server: postgres.Server) -> None:
    version = query(server.url(), "SHOW server_version_num")

    assert int(str(version)) // 10_000 >= postgres.OLDEST_MAJOR


def test_a_database_is_utf8_with_c_order(server: postgres.Server) -> None:
    assert query(server.url(), "SHOW server_encoding") == "UTF8"
    assert query(server.url(), "SELECT 'Z' < 'a' AND upper('ö') = 'Ö'") is True


def test_an_address_quotes_what_needs_it(server: postgres.Server) -> None:
    query(server.url(), 'CREATE DATABASE "a/b?c d"')

    assert query(server.url("a/b?c d"), "SELECT current_database()") == "a/b?c d"


def test_only_the_servers_user_can_enter_its_directories(server: postgres.Server) -> None:
    for private in (server.socket_directory, server.data_directory, server.data_directory.parent):
        facts = private.stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (expected_uid(), 0o700)


def test_nothing_listens_on_tcp(server: postgres.Server) -> None:
    assert query(server.url(), "SHOW listen_addresses") == ""


def test_a_throw_away_server_does_not_wait_for_disks(server: postgres.Server) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert query(server.url(), f"SHOW {setting}") == "off"


def test_a_throw_away_server_leaves_nothing_behind() -> None:
    with Caller(then="pass") as caller:
        assert caller.process.wait(SOON) == 0
        assert caller.has_left_nothing()


def test_kept_data_are_there_at_the_next_start(data_directory: Path) -> None:
    with postgres.running(data_directory) as server:
        query(server.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
        major = int(str(query(server.url(), "SHOW server_version_num"))) // 10_000
        assert server.data_directory == data_directory / str(major) / "data"
        assert query(server.url(), "SHOW fsync") == "on"

    with postgres.running(data_directory) as server:
        assert query(server.url(), "SELECT answer FROM kept") == 42


def test_data_survive_a_power_cut(data_directory: Path) -> None:
    with postgres.running(data_directory) as server:
        query(server.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(server.pid, signal.SIGKILL)
    assert (server.data_directory / "postmaster.pid").exists()

    with postgres.running(data_directory) as server:
        assert query(server.url(), "SELECT answer FROM kept") == 42


def test_a_killed_initdb_does_not_block_the_next_start(data_directory: Path) -> None:
    with postgres.running(data_directory) as server:
        home = server.data_directory.parent
    shutil.move(home / "data", home / "new-half")
    (home / "new-half" / "PG_VERSION").unlink()

    with postgres.running(data_directory) as server:
        assert query(server.url(), "SELECT 1") == 1
        assert not (home / "new-half").exists()


def test_one_directory_has_one_server_and_the_refusal_names_it(data_directory: Path) -> None:
    with postgres.running(data_directory) as server:
        refusal = pytest.raises(postgres.PostgresUnavailable, match=f"`poe dev`.* {server.pid}:")
        with refusal, postgres.running(data_directory):
            pass

        assert query(server.url(), "SELECT 1") == 1


def test_a_failed_start_tells_the_servers_last_words(data_directory: Path) -> None:
    with postgres.running(data_directory) as server:
        control = server.data_directory / "global" / "pg_control"
    good = control.read_bytes()
    control.write_bytes(b"\0" * len(good))

    started = time.monotonic()
    with (
        pytest.raises(postgres.PostgresUnavailable, match="FATAL"),
        postgres.running(data_directory),
    ):
        pass
    assert time.monotonic() - started < postgres.START_SECONDS

    control.write_bytes(good)
    with postgres.running(data_directory) as server:  # so no process and no lock was left
        assert query(server.url(), "SELECT 1") == 1


def test_data_below_a_closed_directory_live_where_the_server_can_go(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with postgres.running(closed / "data") as first:
        query(first.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
    with postgres.running(closed / "data") as second:
        assert query(second.url(), "SELECT answer FROM kept") == 42

    assert second.data_directory == first.data_directory
    assert first.data_directory.stat().st_uid == expected_uid()
    assert closed.stat().st_mode & 0o777 == 0o700
    is_outside = not first.data_directory.is_relative_to(closed)
    assert is_outside == (os.geteuid() == 0)
    shutil.rmtree(first.data_directory.parents[1])


def test_the_callers_environment_does_not_reach_the_server(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {"PGDATA": "/nowhere", "PGPORT": "1", "PGOPTIONS": "-c x", "TZ": "Asia/Tokyo"}
    for name, value in (hostile | {"LC_ALL": "xx_XX", "LANG": "xx_XX", "SECRET": "s"}).items():
        monkeypatch.setenv(name, value)

    with postgres.running(data_directory) as server:
        url = server.url()
        monkeypatch.delenv("PGOPTIONS")
        assert query(url, "SHOW timezone") == "UTC"
        query(url, "CREATE TABLE seen (line text)")
        query(url, "COPY seen FROM PROGRAM 'env'")
        seen = str(query(url, "SELECT string_agg(line, ' ') FROM seen"))
        assert not [name for name in ("Tokyo", "/nowhere", "xx_XX", "SECRET") if name in seen]


def test_a_killed_caller_takes_the_server_along() -> None:
    with Caller() as caller:
        caller.process.kill()

        assert becomes_true(caller.has_left_nothing)


@pytest.mark.parametrize(
    "child",
    [
        "child = subprocess.Popen(['sleep', '60'], close_fds=False).pid",
        "child = os.fork() or (time.sleep(60), os._exit(0))",
    ],
    ids=["executed", "forked"],
)
def test_a_child_that_outlives_the_caller_does_not_keep_the_server(child: str) -> None:
    with Caller(then=f"{child}; say(child=child); time.sleep(60)") as caller:
        survivor = caller.hear()["child"]
        try:
            caller.process.kill()

            assert becomes_true(caller.has_left_nothing)
            assert is_alive(survivor)
        finally:
            os.kill(survivor, signal.SIGKILL)


def test_ctrl_c_leaves_the_server_to_the_caller() -> None:
    patient = """
    try: say(ready=True); time.sleep(60)
    except KeyboardInterrupt: time.sleep(0.3); os.kill(server.pid, 0); say(interrupted=True)
    """.strip()
    with Caller(then=patient) as caller:
        caller.hear()
        os.killpg(caller.process.pid, signal.SIGINT)

        assert caller.hear() == {"interrupted": True}
        assert caller.process.wait(SOON) == 0
        assert caller.has_left_nothing()


def test_a_terminated_supervisor_cleans_up() -> None:
    with Caller() as caller:
        os.kill(parent_of(caller.server["pid"]), signal.SIGTERM)

        assert becomes_true(caller.has_left_nothing)


if sys.platform == "linux":  # nothing else tells a process that its parent has died

    def test_a_killed_supervisor_takes_the_server_along() -> None:
        with postgres.running() as server:
            os.kill(parent_of(server.pid), signal.SIGKILL)

            assert becomes_true(lambda: not is_alive(server.pid))
        assert not server.socket_directory.exists()
        assert not server.data_directory.parent.exists()


def test_servers_started_at_once_all_come_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # empty, unless we are root
    source = "from dev import postgres\nwith postgres.running() as server: print(server.pid)"
    path = {"PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", source],
            cwd=PROJECT,
            env=os.environ | path,
            stdout=subprocess.PIPE,
        )
        for _ in range(8)
    ]

    pids = [start.communicate()[0].strip() for start in starts]

    assert [start.returncode for start in starts] == [0] * 8
    assert len(set(pids)) == 8


def test_without_binaries_the_message_names_three_ways(tmp_path: Path) -> None:
    impostor = tmp_path / "postgres"
    impostor.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n")
    impostor.chmod(0o755)
    (tmp_path / "initdb").touch()

    with pytest.raises(postgres.PostgresUnavailable) as refusal:
        postgres._first_usable([tmp_path, tmp_path / "absent"])

    for way in ("uv sync --group postgres", "install PostgreSQL 15", "DATABASE_URL"):
        assert way in str(refusal.value)
