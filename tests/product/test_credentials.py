"""The service's own credentials, on a PostgreSQL that asks for them: SCRAM and TLS."""

import asyncio
import json
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.product import rds_tokens
from tests.product.conftest import TOKENS, Cluster, Member, Service, create
from tests.product.processes import running

pytestmark = [pytest.mark.larger, pytest.mark.xdist_group("credentials")]

DB = ("uv", "run", "my-service", "db")
WHOAMI = (*DB, "whoami", "--json")
SERVE = ("uv", "run", "my-service", "serve", "--port", "0")
SERVING = r"running on (http://127\.0\.0\.1:\d+)"
CANARY = "c4n4ry"
PASSWORD = {"DATABASE_CREDENTIALS": "password"}


ServiceOf = Callable[[str], Service]


@pytest.fixture(scope="module")
def service_of() -> Iterator[ServiceOf]:
    """Services without callers, by source; connections are replaced five times in a second."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:

        @cache
        def made(kind: str) -> Service:
            answers = {"identity": "none", "database_credentials": kind}
            parent = Path(name) / kind
            parent.mkdir()
            service = create(Member(answers=answers), parent, "--no-lock")
            engine = service.package / "database/engine.py"
            assert "\n_LIFETIME = 300\n" in engine.read_text()
            engine.write_text(engine.read_text().replace("_LIFETIME = 300", "_LIFETIME = 0.2"))
            service.run("uv", "sync", "--quiet")
            return service

        yield made


@pytest.fixture
def plain_service(service_of: ServiceOf) -> Service:
    return service_of("oauth")


@pytest.fixture
def guarded(older_postgresql: Cluster, plain_service: Service) -> Cluster:
    """A server that lets nobody in without a password, and on TCP nobody without TLS."""
    older_postgresql.stop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = replace(older_postgresql, address="127.0.0.1", port=port)
    authority, server = cluster.directory / "ca", cluster.directory / "server"
    certify(authority, "authority")
    certify(server, "localhost", authority)
    certify(cluster.directory / "other", "authority")
    (cluster.data / "pg_hba.conf").write_text(
        "local all postgres trust\nlocal all all scram-sha-256\nhostssl all all all scram-sha-256\n"
    )
    with (cluster.data / "postgresql.conf").open("a") as configuration:
        configuration.write(
            f"ssl = on\nssl_cert_file = '{server}.pem'\nssl_key_file = '{server}.key'\n"
        )
    cluster.start()
    for command in ("roles", "upgrade"):
        plain_service.run(*DB, command, **PASSWORD, DATABASE_URL=cluster.url)
    cluster.query(f"ALTER ROLE my_service_app PASSWORD '{CANARY}'")
    return cluster


def certify(name: Path, subject: str, authority: Path | None = None) -> None:
    """A key of PostgreSQL's, and a certificate of an authority's or of its own."""
    signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"] if authority else []
    named = ["-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *named, *files, *signed], check=True, capture_output=True)
    shutil.chown(f"{name}.key", "postgres")
    Path(f"{name}.pem").chmod(0o644)


def revoke(name: Path) -> Path:
    """The authority's list of certificates that are void, with this one in it."""
    directory = name.parent
    (directory / "index").write_text("")
    settings = directory / "authority.conf"
    settings.write_text(
        "[ca]\ndefault_ca = us\n"
        f"[us]\ndatabase = {directory}/index\ndefault_md = sha256\ndefault_crl_days = 2\n"
        f"certificate = {directory}/ca.pem\nprivate_key = {directory}/ca.key\n"
    )
    revoked = directory / "revoked.pem"
    for request in (["-revoke", f"{name}.pem"], ["-gencrl", "-out", str(revoked)]):
        command = ["openssl", "ca", "-config", str(settings), *request]
        subprocess.run(command, check=True, capture_output=True)
    return revoked


def url(cluster: Cluster, host: str, parameters: str = "", password: str = f":{CANARY}") -> str:
    return f"postgresql://my_service_app{password}@{host}:{cluster.port}/postgres{parameters}"


def test_a_server_elsewhere_is_verified_unless_the_url_says_otherwise(
    guarded: Cluster, plain_service: Service
) -> None:
    def whoami(host: str, parameters: str = "", authority: str = "ca") -> str:
        file = str(guarded.directory / f"{authority}.pem")
        place = url(guarded, host, parameters)
        variables = {**PASSWORD, "DATABASE_URL": place, "DATABASE_CA_FILE": file}
        return plain_service.run(*DB, "whoami", **variables)

    assert ", server verified" in whoami("localhost", "?sslmode=verify-full")
    assert ", authority verified" in whoami("127.0.0.1", "?sslmode=verify-ca")
    assert ", authority verified" in whoami("127.0.0.1", "?sslmode=require")
    revoked = f"?sslmode=verify-full&sslcrl={revoke(guarded.directory / 'server')}"
    # 0.0.0.0 leads to loopback, which only the system knows.
    for host, parameters, authority, complaint in (
        ("localhost", "?sslmode=verify-full", "other", "DATABASE_CA_FILE names its"),
        ("127.0.0.1", "?sslmode=verify-full", "ca", "not valid for '127.0.0.1'"),
        ("0.0.0.0", "", "ca", "not valid for '0.0.0.0'"),  # noqa: S104  (nobody binds to it)
        ("127.0.0.1", "?sslmode=require", "other", "DATABASE_CA_FILE names its"),
        ("localhost", revoked, "ca", "certificate revoked"),
    ):
        with pytest.raises(AssertionError, match=complaint) as refusal:
            whoami(host, parameters, authority)
        assert CANARY not in str(refusal.value)


def test_a_server_without_tls_gets_no_password(guarded: Cluster, plain_service: Service) -> None:
    guarded.query("ALTER SYSTEM SET ssl = off")
    guarded.query("SELECT pg_reload_conf()")
    place = url(guarded, "0.0.0.0")  # noqa: S104  (nobody binds to it)
    with pytest.raises(AssertionError, match="rejected SSL upgrade"):
        plain_service.run(*DB, "whoami", **PASSWORD, DATABASE_URL=place)


def test_ten_rotations_under_load_fail_no_request(
    guarded: Cluster, plain_service: Service, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    _replace(file, CANARY)
    variables = {
        "DATABASE_URL": url(guarded, "localhost", "?sslmode=verify-full", password=""),
        "DATABASE_CA_FILE": str(guarded.directory / "ca.pem"),
        "DATABASE_CREDENTIALS": "file",
        "DATABASE_PASSWORD_FILE": str(file),
        "POOL_TIMEOUT": "5",  # this is not about how fast the machine is
    }

    async def rotate(_: httpx.AsyncClient) -> None:
        for number in range(10):
            password = f"{CANARY}-{number}-{secrets.token_hex(8)}"
            change = f"ALTER ROLE my_service_app PASSWORD '{password}'"
            await asyncio.to_thread(guarded.query, change)
            await asyncio.sleep(0.25)
            _replace(file, password)
            await asyncio.sleep(0.75)

    with running(*SERVE, cwd=plain_service.path, ready=SERVING, **variables) as service:
        statuses = asyncio.run(_under_load(service.said, rotate))
        said = service.output()
    assert statuses[200] > 100
    assert set(statuses) == {200}
    refused = (guarded.directory / "log").read_text().count("password authentication failed")
    assert refused > 0  # so there was something to survive
    assert CANARY not in said


Meanwhile = Callable[[httpx.AsyncClient], Awaitable[None]]


async def _under_load(base: str, meanwhile: Meanwhile) -> Counter[int]:
    """How often 16 readers got which status while something happened."""
    statuses: Counter[int] = Counter()
    ended = False

    async def read(client: httpx.AsyncClient) -> None:
        while not ended:
            statuses[(await client.get("/notes")).status_code] += 1

    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        readers = [asyncio.create_task(read(client)) for _ in range(16)]
        await meanwhile(client)
        ended = True
        await asyncio.gather(*readers)
    return statuses


def test_two_logins_take_turns_under_load(
    guarded: Cluster, plain_service: Service, tmp_path: Path
) -> None:
    """By the command, as a timer would run it."""
    file, unasked = tmp_path / "password", tmp_path / "owner"
    _replace(file, CANARY)
    _replace(unasked, "anything")
    variables = {
        "DATABASE_URL": url(guarded, "localhost", "?sslmode=verify-full", password=""),
        "DATABASE_OWNER_URL": guarded.url,
        "DATABASE_CA_FILE": str(guarded.directory / "ca.pem"),
        "DATABASE_CREDENTIALS": "file",
        "DATABASE_PASSWORD_FILE": str(file),
        "DATABASE_OWNER_PASSWORD_FILE": str(unasked),
        "POOL_TIMEOUT": "5",
    }
    printed, logins = [], []

    async def rotate(_: httpx.AsyncClient) -> None:
        for _turn in range(4):
            await asyncio.sleep(2)  # until nobody is logged in as the other any more
            rotating = (*DB, "rotate")
            printed.append(await asyncio.to_thread(plain_service.run, *rotating, **variables))
            logins.append(json.loads(file.read_text())["user"])

    with running(*SERVE, cwd=plain_service.path, ready=SERVING, **variables) as service:
        statuses = asyncio.run(_under_load(service.said, rotate))
        said = service.output()
    assert set(statuses) == {200}
    assert logins == ["my_service_app_b", "my_service_app"] * 2
    secret = json.loads(file.read_text())["password"]
    assert secret not in f"{printed}{said}{(guarded.directory / 'log').read_text()}"
    place = url(guarded, "localhost", "?sslmode=verify-full", password=f":{secret}")
    variables |= {**PASSWORD, "DATABASE_URL": place}
    for name in ("DATABASE_PASSWORD_FILE", "DATABASE_OWNER_PASSWORD_FILE"):
        del variables[name]
    rotated = plain_service.run(*DB, "rotate", **variables)
    line = next(line for line in rotated.splitlines() if line.startswith("DATABASE_URL="))
    variables["DATABASE_URL"] = line.partition("=")[2]
    assert "login        my_service_app_b\n" in plain_service.run(*DB, "whoami", **variables)


def test_a_login_that_pg_hba_refuses_is_handed_to_nobody(
    guarded: Cluster, plain_service: Service, tmp_path: Path
) -> None:
    rules = guarded.data / "pg_hba.conf"
    both = rules.read_text()
    rules.write_text(both.replace("hostssl all all", "hostssl all my_service_app"))
    guarded.query("SELECT pg_reload_conf()")
    file, owner = tmp_path / "password", tmp_path / "owner"
    for path in (file, owner):
        _replace(path, CANARY)
    variables = {
        "DATABASE_URL": url(guarded, "localhost", password=""),
        "DATABASE_OWNER_URL": guarded.url,
        "DATABASE_CA_FILE": str(guarded.directory / "ca.pem"),
        "DATABASE_CREDENTIALS": "file",
        "DATABASE_PASSWORD_FILE": str(file),
        "DATABASE_OWNER_PASSWORD_FILE": str(owner),
    }
    with pytest.raises(AssertionError, match=r'no pg_hba.conf entry .*, user "my_service_app_b"'):
        plain_service.run(*DB, "rotate", **variables)
    assert file.read_text() == CANARY
    assert "login        my_service_app\n" in plain_service.run(*DB, "whoami", **variables)
    rules.write_text(both)
    guarded.query("SELECT pg_reload_conf()")
    plain_service.run(*DB, "rotate", **variables)
    assert "login        my_service_app_b\n" in plain_service.run(*DB, "whoami", **variables)


def test_tls_behind_a_pooler_is_not_ours(guarded: Cluster, plain_service: Service) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users, settings = guarded.directory / "users.txt", guarded.directory / "pgbouncer.ini"
    users.write_text(f'"my_service_app" "{CANARY}"\n')
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={guarded.port}\n"
        "[pgbouncer]\nauth_type = plain\nlisten_addr = 127.0.0.1\nserver_tls_sslmode = require\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_file = {users}\n"
    )
    pooler = ("runuser", "-u", "postgres", "--", "/usr/sbin/pgbouncer", settings)
    place = {"DATABASE_URL": f"postgresql://my_service_app:{CANARY}@127.0.0.1:{port}/postgres"}
    with running(*pooler, cwd=Path("/"), ready="(process up)"):
        said = plain_service.run(*DB, "whoami", **PASSWORD, **place)
    assert "encryption   none\n" in said


# Who is known: a client of OAuth, whoever comes from a machine at Google, or an app at Azure.
PROOFS = {
    "Authorization": f"Basic {b64encode(f'service:{CANARY}-client'.encode()).decode()}",
    "Metadata-Flavor": "Google",
    "X-IDENTITY-HEADER": f"{CANARY}-client",
}


class TokenEndpoint:
    """Knows one client, whose token is the password of the login; and may be away."""

    def __init__(self) -> None:
        self.lifetime = 40
        self.asked = 0
        self.broken = False
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def begin(self) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoint.asked += 1
                given = {self.headers[name] for name in PROOFS}
                token = {"access_token": CANARY, "token_type": "Bearer"}
                known = given & set(PROOFS.values()) and not endpoint.broken
                answer = token | {"expires_in": endpoint.lifetime} if known else {"error": CANARY}
                self.send_response(200 if known else 401)
                self.send_header("Metadata-Flavor", "Google")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def end(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/token"


@contextmanager
def token_endpoint() -> Iterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    endpoint.begin()
    try:
        yield endpoint
    finally:
        endpoint.end()


def test_an_endpoint_that_is_away_for_30_s_fails_nobody(
    guarded: Cluster, plain_service: Service
) -> None:
    """While the token that is held is valid; from then on 503, until there is another one."""
    with token_endpoint() as endpoint:
        variables = {
            "DATABASE_URL": url(guarded, "localhost", "?sslmode=verify-full", password=""),
            "DATABASE_CA_FILE": str(guarded.directory / "ca.pem"),
            "DATABASE_OAUTH_TOKEN_URL": endpoint.url,
            "DATABASE_OAUTH_CLIENT_ID": "service",
            "DATABASE_OAUTH_CLIENT_SECRET": f"{CANARY}-client",
            "POOL_TIMEOUT": "5",
        }
        who = plain_service.run(*DB, "whoami", **variables)
        assert "credentials  oauth\n" in who
        with running(*SERVE, cwd=plain_service.path, ready=SERVING, **variables) as service:
            statuses = asyncio.run(_under_load(service.said, lambda _: _away(endpoint)))
            refusal = asyncio.run(_refusal(service.said, endpoint))
            said = service.output()
    assert statuses[200] > 100
    assert set(statuses) == {200}
    assert refusal.status_code == 503
    assert refusal.json()["type"].endswith("#database-unavailable")
    assert refusal.headers["Retry-After"]
    variables |= {"DATABASE_OAUTH_CLIENT_SECRET": f"{CANARY}-other"}
    with token_endpoint() as endpoint, pytest.raises(AssertionError, match="status 401") as wrong:
        plain_service.run(*DB, "whoami", **variables | {"DATABASE_OAUTH_TOKEN_URL": endpoint.url})
    assert CANARY not in f"{who}{said}{refusal.text}{refusal.headers}{wrong.value}"


async def _away(endpoint: TokenEndpoint) -> None:
    """From soon after a token of 40 s until another one was asked for, of 3 s."""
    endpoint.end()
    asked = endpoint.asked
    await asyncio.sleep(30)
    endpoint.lifetime = 3
    endpoint.begin()
    async with asyncio.timeout(9):
        while endpoint.asked == asked:
            await asyncio.sleep(0.05)


async def _refusal(base: str, endpoint: TokenEndpoint) -> httpx.Response:
    """What is answered when the token has ended, in a service that recovers."""
    endpoint.end()
    async with httpx.AsyncClient(base_url=base) as client, asyncio.timeout(30):
        while (refusal := await client.get("/notes")).status_code == 200:
            await asyncio.sleep(0.05)
        endpoint.begin()
        while (await client.get("/notes")).status_code != 200:
            await asyncio.sleep(0.05)
    return refusal


DUMP = """
from my_service.settings import load
settings = load()
print(settings, repr(settings), vars(settings), settings.model_dump(), settings.model_dump_json())
"""


@pytest.mark.parametrize("kind", ["password", "file", "command", *TOKENS])
def test_a_secret_shows_nowhere(
    kind: str, guarded: Cluster, service_of: ServiceOf, tmp_path: Path
) -> None:
    """Not while all is well, nor when it is refused, nor when the source gives nonsense."""
    service = service_of(kind if kind in TOKENS else "oauth")
    file = tmp_path / "secret"
    _replace(file, CANARY)

    def seen(base: str) -> tuple[int, str]:
        answers = [httpx.get(f"{base}{path}", timeout=30) for path in ("/notes", "/readyz")]
        texts = [f"{answer.headers}{answer.text}" for answer in answers]
        return answers[0].status_code, "\n".join([*texts, _end(service, *WHOAMI, **variables)])

    with token_endpoint() as endpoint:
        endpoint.lifetime = 2
        variables = _of_kind(kind, endpoint, file, guarded)
        with running(*SERVE, cwd=service.path, ready=SERVING, **variables) as serving:
            good = seen(serving.said)
            processes = subprocess.run(
                ["ps", "-ww", "-eo", "args"], check=True, capture_output=True, text=True
            ).stdout
            guarded.query(f"ALTER ROLE my_service_app PASSWORD 'not-the-{kind}-one'")
            time.sleep(0.5)
            refused = seen(serving.said)
            endpoint.broken = True
            file.write_text(f"{CANARY}\n{CANARY}")
            time.sleep(2)
            broken = seen(serving.said)
            log = serving.output()
    expected = [503, 503, 503] if kind == "aws" else [200, 503, 503]  # no RDS verifies its tokens
    assert [status for status, _ in (good, refused, broken)] == expected
    assert "my-service serve" in processes
    dumped = service.run("uv", "run", "python", "-c", DUMP, **variables)
    assert "my_service_app" not in dumped  # it is part of the URL
    helped = service.run(*SERVE, "--help", **variables)
    everything = f"{good}{refused}{broken}{processes}{log}{dumped}{helped}"
    assert CANARY not in everything
    assert "X-Amz-Signature" not in everything


def _end(service: Service, *command: str, **variables: str) -> str:
    """What a command prints, also when it fails."""
    try:
        return service.run(*command, **variables)
    except AssertionError as failure:
        return str(failure)


def _of_kind(kind: str, endpoint: TokenEndpoint, file: Path, cluster: Cluster) -> dict[str, str]:
    host = endpoint.url.split("/")[2]
    password = f":{CANARY}" if kind == "password" else ""
    chosen = {
        "file": {"DATABASE_PASSWORD_FILE": str(file)},
        "command": {"DATABASE_CREDENTIAL_COMMAND": f"cat {file}"},
        "oauth": {
            "DATABASE_OAUTH_TOKEN_URL": endpoint.url,
            "DATABASE_OAUTH_CLIENT_ID": "service",
            "DATABASE_OAUTH_CLIENT_SECRET": f"{CANARY}-client",
        },
        "gcp": {"GCE_METADATA_HOST": host},
        "azure": {"IDENTITY_ENDPOINT": endpoint.url, "IDENTITY_HEADER": f"{CANARY}-client"},
        "aws": {
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": CANARY,
            "AWS_SESSION_TOKEN": f"{CANARY}-session",
        },
    }
    return {
        "DATABASE_URL": url(cluster, "localhost", "?sslmode=verify-full", password=password),
        "DATABASE_CA_FILE": str(cluster.directory / "ca.pem"),
        "DATABASE_CREDENTIALS": kind,
        **chosen.get(kind, {}),
    }


@pytest.mark.parametrize("kind", TOKENS)
def test_each_source_of_tokens_passes_its_own_tests(kind: str, service_of: ServiceOf) -> None:
    service = service_of(kind)
    tests = ("credentials", "database/test_login.py", "test_settings.py", "test_documentation.py")
    said = service.run("uv", "run", "pytest", "-q", *(f"tests/{name}" for name in tests))
    assert " passed" in said
    assert "skipped" not in said


def _replace(file: Path, password: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(password)
    other.rename(file)


def test_tokens_for_rds_are_those_of_the_sdk(tmp_path: Path) -> None:
    """Nothing in them is the template's, so they are compared without a service around them."""
    package = Path(__file__).parents[2] / "template/src/{{package_name}}/credentials"
    shutil.copytree(package, tmp_path / "credentials")
    seed = secrets.randbits(32)
    logins = [_login(random.Random(seed + number)) for number in range(300)]  # noqa: S311  (test data)
    needed = [f"--with={name}" for name in ("botocore", "httpx", "pydantic")]
    done = subprocess.run(
        ["uv", "run", "--no-project", *needed, "python", Path(rds_tokens.__file__), tmp_path],
        input=json.dumps(logins),
        check=True,
        capture_output=True,
        text=True,
    )
    tokens = json.loads(done.stdout)
    assert len(tokens) == len(logins)
    for login, (ours, theirs) in zip(logins, tokens, strict=True):
        assert ours == theirs, (seed, login)


def _login(made: random.Random) -> dict[str, str | int | None]:
    def text(letters: str, longest: int) -> str:
        return "".join(made.choices(letters, k=made.randint(1, longest)))

    letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
    base64 = f"{letters}{letters.upper()}{digits}+/="
    odd = f"{base64} -_.~%&?#@:;,<>'\"\\()*!$^|`[]{{}}\t\u00e9\u00df\u4e2d\U0001f388"
    region = f"{text(letters, 3)}-{text(letters, 9)}-{made.randint(1, 9)}"
    return {
        "host": f"{text(base64[:62], 20)}.{text(letters + digits, 12)}.{region}.rds.amazonaws.com",
        "port": made.randint(1150, 65535),
        "user": text(odd, 63),
        "region": region,
        "key": f"AKIA{text(letters.upper() + digits, 16)}",
        "secret": text(base64, 60),
        "session": made.choice([None, text(base64, 1200)]),
        "at": made.randint(0, 2**32),
    }
