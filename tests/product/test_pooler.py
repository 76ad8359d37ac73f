"""The service behind PgBouncer, and beside a replica."""

import asyncio
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.product.conftest import DEFAULT, Cluster, Service, create
from tests.product.processes import running

pytestmark = [pytest.mark.larger, pytest.mark.xdist_group("pooler")]

ISSUER = {"OIDC_ISSUER": "http://127.0.0.1:9", "OIDC_AUDIENCE": "api"}
DEV = ("uv", "run", "poe", "dev", "--port", "0")
SERVE = ("uv", "run", "my-service", "serve", "--port", "0")
READY = r"(http://127\.0\.0\.1:\d+)/docs[\s\S]*startup complete"
SERVING = r"running on (http://127\.0\.0\.1:\d+)"


@pytest.fixture
def pooler(older_postgresql: Cluster) -> Iterator[str]:
    """The application's login at a PgBouncer that has fewer connections than the service."""
    directory = older_postgresql.directory
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users, settings = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text('"my_service_app" ""\n')
    settings.write_text(
        f"[databases]\n* = host={directory}\n"
        "[pgbouncer]\npool_mode = transaction\nauth_type = trust\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_file = {users}\ndefault_pool_size = 4\n"
    )
    process = subprocess.Popen(
        ["/usr/sbin/pgbouncer", settings], user="postgres", group="postgres", cwd="/"
    )
    try:
        _wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield f"postgresql://my_service_app@127.0.0.1:{port}/postgres"
    finally:
        process.kill()
        process.wait()


def test_claims_that_are_signed_are_refused_at_the_start(
    tmp_path: Path, older_postgresql: Cluster, pooler: str
) -> None:
    service = create(DEFAULT, tmp_path)
    urls = {"DATABASE_URL": pooler, "DATABASE_OWNER_URL": older_postgresql.url, **ISSUER}
    # A database that is away refuses nothing at the start: here it is only slow.
    patience = {f"{name}_TIMEOUT": "60" for name in ("CONNECT", "DRIVER")}
    urls |= patience | {f"{name}_TIMEOUT": "90" for name in ("REQUEST", "DRAIN")}
    for command in ("roles", "upgrade"):
        service.run("uv", "run", "my-service", "db", command, **urls)
    with pytest.raises(AssertionError, match="SIGNED_CLAIMS=false") as refusal:
        service.run(*SERVE, **urls)
    assert "a pooler shares connections" in str(refusal.value)
    with pytest.raises(AssertionError, match=r"SIGNED_CLAIMS must be false with PGBOUNCER"):
        service.run(*SERVE, **urls, PGBOUNCER="true")
    del urls["DATABASE_OWNER_URL"]
    with pytest.raises(AssertionError, match="DATABASE_OWNER_URL: required"):
        service.run(*_db("upgrade"), **urls, PGBOUNCER="true", SIGNED_CLAIMS="false")


@pytest.mark.parametrize("told", [True, False])
def test_a_thousand_requests(
    reachable_service: Service, older_postgresql: Cluster, pooler: str, told: bool
) -> None:
    urls = {"DATABASE_URL": pooler, "DATABASE_OWNER_URL": older_postgresql.url}
    urls |= {"PGBOUNCER": str(told), "SIGNED_CLAIMS": "false", "POOL_TIMEOUT": "5"}
    with running(*DEV, cwd=reachable_service.path, ready=READY, **urls) as dev:
        statuses = asyncio.run(_use(dev.said, _authorization(reachable_service, urls)))
        if told:
            reachable_service.run(*_db("check"), **urls)
            reachable_service.run(*_db("access"), **urls)
    assert sum(statuses.values()) == 1000
    if told:
        assert statuses == {201: 250, 409: 250, 200: 500}
    else:  # so the test could have failed
        assert statuses[500] + statuses[503] > 0


@pytest.fixture
def replica(older_postgresql: Cluster) -> Iterator[Cluster]:
    """A server that follows the other one."""
    directory = older_postgresql.directory / "replica"
    copy = Cluster(directory, older_postgresql.bindir)
    copy.run("pg_basebackup", "-h", older_postgresql.directory, "-D", copy.data, "-R", "-c", "fast")
    copy.data.chmod(0o700)
    copy.start()
    try:
        yield copy
    finally:
        copy.stop()


def test_readers_use_the_replica_while_it_is_there(
    reachable_service: Service, older_postgresql: Cluster, replica: Cluster
) -> None:
    login = "postgresql://my_service_app@/postgres?host="
    urls = {
        "DATABASE_URL": f"{login}{older_postgresql.directory}",
        "DATABASE_OWNER_URL": older_postgresql.url,
        "DATABASE_REPLICA_URL": f"{login}{replica.directory}",
        "SIGNED_CLAIMS": "false",
    }
    with running(*DEV, cwd=reachable_service.path, ready=READY, **urls) as dev:
        with httpx.Client(
            base_url=dev.said, headers=_authorization(reachable_service, urls)
        ) as client:

            def titles() -> list[str]:
                answer = client.get("/notes")
                assert answer.status_code == 200, answer.text
                return [note["title"] for note in answer.json()["items"]]

            def create(title: str) -> int:
                return client.post("/notes", json={"title": title}).status_code

            assert create("first") == 201
            _wait(lambda: titles() == ["first"])
            replica.query("SELECT pg_wal_replay_pause()")
            assert create("second") == 201
            assert titles() == ["first"]
            replica.query("SELECT pg_wal_replay_resume()")
            _wait(lambda: titles() == ["first", "second"])

            replica.stop()
            client.get("/notes")  # was on its way, perhaps
            assert [titles() for _ in range(20)] == [["first", "second"]] * 20
            assert client.get("/readyz").status_code == 200

            replica.start()
            readers = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'my_service_app'"

            def is_used() -> bool:
                assert titles() == ["first", "second"]
                return replica.query(readers) != "0"

            _wait(is_used, 60)

        misled = {**urls, "DATABASE_URL": urls["DATABASE_REPLICA_URL"]}
        with (
            running(*SERVE, cwd=reachable_service.path, ready=SERVING, **misled) as serving,
            httpx.Client(
                base_url=serving.said, headers=_authorization(reachable_service, urls)
            ) as client,
        ):
            answer = client.post("/notes", json={"title": "third"})
            assert (answer.status_code, answer.json()["type"].partition("#")[2]) == (
                503,
                "database-unavailable",
            )
            assert client.get("/notes").status_code == 200
            assert client.get("/readyz").status_code == 503


async def _use(url: str, headers: dict[str, str]) -> Counter[int]:
    """250 notes, created, created again, read, and listed; what was answered."""
    at_once = asyncio.Semaphore(16)
    statuses: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:

        async def ask(*call: str, json: object = None) -> httpx.Response:
            async with at_once:
                answer = await client.request(*call, json=json)
            statuses[answer.status_code] += 1
            return answer

        async def one(number: int) -> None:
            note = {"title": f"note {number}"}
            created = await ask("POST", "/notes", json=note)
            await ask("POST", "/notes", json=note)
            location = created.headers.get("Location", "/notes")
            found = await ask("GET", location)
            if created.status_code == found.status_code - 1 == 200:
                assert found.json() == created.json()
            await ask("GET", "/notes?limit=5")

        await asyncio.gather(*(one(number) for number in range(250)))
    return statuses


def _authorization(service: Service, urls: dict[str, str]) -> dict[str, str]:
    token = service.run("uv", "run", "my-service", "token", **urls).split()[-1]
    return {"Authorization": f"Bearer {token}"}


def _db(command: str) -> tuple[str, ...]:
    return ("uv", "run", "my-service", "db", command)


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
