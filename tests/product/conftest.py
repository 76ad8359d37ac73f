"""Rendered services, each with the tools that its own developers would use."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.product import provider
from tests.product.processes import end

LONG = "a-service-whose-name-is-as-long-as-it-is"
PATIENCE = 800  # seconds: no command takes half of that, `poe faults` excepted
HOSTILE = 'Says "hi", it\'s {{ 7 * 7 }} {% raw %} C:\\new [bold] `x` *y* <b> # & | 🎈 é'


@dataclass(frozen=True)
class Member:
    """One member of the answer matrix."""

    name: str = "my-service"
    answers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        authors = self.answers.get("author", "nobody").partition(" ")[0]
        chosen = (
            self.answers.get("ci", "github"),
            self.answers.get("identity", "oidc"),
            self.answers.get("database_credentials", "password"),
        )
        return "-".join((self.name, *chosen, authors))


NOBODY: dict[str, str] = {}
SOMEBODY = {
    "author": "Ada Lovelace <ada@example.org>",
    "repository": "https://git.example/team/shop",
}
TEAM = {"author": HOSTILE, "description": HOSTILE}
TOKENS = ("aws", "gcp", "azure", "oauth")
PROVIDERS = ("oidc", "keycloak", "okta", "entra", "auth0", "google")
MATRIX = [
    Member(name, {"ci": ci, "identity": identity, "database_credentials": source, **author})
    for (ci, author), name, identity, source in zip(
        product(("github", "gitlab", "none"), (NOBODY, SOMEBODY, TEAM)),
        ("ab", "my-service", LONG) * 3,
        ("none", *PROVIDERS, "none", "none"),
        ("password", *TOKENS, "password", "azure", "aws", "gcp"),
        strict=True,
    )
]
DEFAULT = Member()
OFF = Member("ab", {"ci": "none", "identity": "none"})
ON = Member(
    LONG,
    {"ci": "gitlab", "identity": "entra", **SOMEBODY, **TEAM, "author": f"{HOSTILE} <t@x.org>"},
)


def parameters(*members: Member) -> list[ParameterSet]:
    """One process of pytest-xdist for all tests of a member, since rendering takes a while."""
    return [
        pytest.param(member, id=str(member), marks=pytest.mark.xdist_group(str(member)))
        for member in members
    ]


@dataclass(frozen=True)
class Service:
    """A rendered project, and commands run in it as a developer would."""

    member: Member
    path: Path

    @property
    def package(self) -> Path:
        return self.path / "src" / self.member.name.replace("-", "_")

    def files(self) -> list[Path]:
        """What was rendered: neither environment nor caches."""
        listed = self.run("git", "ls-files", "--cached", "--others", "--exclude-standard")
        return [self.path / name for name in listed.splitlines()]

    def run(self, *command: str, **variables: str) -> str:
        """Run a command, which must succeed, and return what it printed."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATABASE_", "VIRTUAL_ENV", "UV_PROJECT_", "PYTEST_", "COV_"))
        }
        with tempfile.TemporaryFile("w+") as output:  # a pipe would wait for whoever inherits it
            process = subprocess.Popen(
                command,
                cwd=self.path,
                env=inherited | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | str = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                code = f"still running after {PATIENCE} s"
            finally:
                end(process)
            output.seek(0)
            said = output.read()
        assert code == 0, f"{' '.join(command)}: {code}\n{said[-8000:]}"
        return said


def create(member: Member, parent: Path, *options: str) -> Service:
    """Create a service with the command itself."""
    data = [f"--data={key}={value}" for key, value in member.answers.items()]
    options = ("--defaults", "--no-git", *options)
    command = [sys.executable, "-m", "fastpg_new", member.name, *options, *data]
    done = subprocess.run(
        command, cwd=parent, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    service = Service(member, parent / member.name)
    service.run("git", "init", "--quiet")
    return service


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service with the answers that the test is parametrised with; the default one otherwise."""
    member: Member = getattr(request, "param", DEFAULT)
    return create(member, tmp_path_factory.mktemp("product"), "--no-lock")


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One environment and one cache for the checks of all members: they have the same tools."""
    service = create(DEFAULT, tmp_path_factory.mktemp("tools"), "--no-lock")
    service.run("uv", "sync", "--quiet")
    environment = service.path / ".venv"
    return {
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "UV_NO_SYNC": "1",
        "MYPY_CACHE_DIR": str(environment / "mypy"),
    }


@pytest.fixture(scope="session")
def reachable_service() -> Iterator[Service]:
    """A default service that can be run: its database as a user who may not enter pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        service = create(DEFAULT, Path(name), "--no-lock")
        service.run("uv", "sync", "--quiet")
        yield service


@pytest.fixture(scope="session")
def npm_provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the provider that is not ours is installed."""
    return provider.install(tmp_path_factory.mktemp("provider"))


@dataclass(frozen=True)
class Cluster:
    """A server of the system's own PostgreSQL, behind a socket in its directory."""

    directory: Path
    bindir: Path
    address: str = ""
    """Where it listens, too."""
    port: int = 5432

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        """Its superuser."""
        return f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}"

    def start(self) -> None:
        options = f"-k {self.directory} -h '{self.address}' -p {self.port} -c fsync=off"
        log = self.directory / "log"
        self.run("pg_ctl", "-D", self.data, "-o", options, "-l", log, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def query(self, sql: str) -> str:
        place = ("-h", self.directory, "-p", str(self.port))
        return self.run("psql", *place, "-Atc", sql).strip()

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run a program of PostgreSQL's, which must succeed, as a user whom it accepts."""
        self.directory.mkdir(exist_ok=True)
        shutil.chown(self.directory, "postgres")
        with tempfile.TemporaryFile("w+") as output:  # a server that is started keeps it open
            subprocess.run(
                (self.bindir / program, *arguments),
                user="postgres",
                group="postgres",
                extra_groups=[],
                cwd="/",
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                timeout=120,
            )
            output.seek(0)
            return output.read()


@pytest.fixture
def older_postgresql() -> Iterator[Cluster]:
    """A server of the system's own PostgreSQL, older than the embedded one."""
    version, bindir = min(
        (int(path.parent.name), path) for path in Path("/usr/lib/postgresql").glob("*/bin")
    )
    assert 15 <= version < 18
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:
        cluster = Cluster(Path(name), bindir)
        cluster.run("initdb", "-D", cluster.data, "-U", "postgres", "-A", "trust", "-E", "UTF8")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
