# /// script
# requires-python = ">=3.11"
# dependencies = ["fastpg-new", "matplotlib>=3.10", "psutil>=7", "psycopg[binary]>=3.2"]
#
# [tool.uv.sources]
# fastpg-new = { path = "..", editable = true }
# ///
"""How fast a generated service is, beside the limit and beside what people use.

`uv run benchmarks/service.py --write` measures, prints, and renews docs/performance.md: it takes a
quarter of an hour and needs `wrk` (apt install wrk). All subjects run on one PostgreSQL, one after
the other in each round, over Unix sockets and loopback. `--count` only counts, which needs neither
wrk nor a quiet machine; `--instructions` counts those of the processor (apt install valgrind).
"""

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import document
import psutil
import psycopg
from document import Figures

HERE = Path(__file__).parent
ROWS = 1000
CONNECTIONS = 16
POOL_SIZE = 8
COUNTED = 50  # requests, for what is counted and not timed
WARMING = 20  # requests, before any are timed

# One table for those that bring none, with the columns and indexes that the service's has.
TABLES = """
    CREATE ROLE anybody;
    CREATE TABLE users (name text PRIMARY KEY, is_active boolean NOT NULL);
    INSERT INTO users VALUES ('ada', true);
    CREATE TABLE notes (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        owner text NOT NULL,
        title text NOT NULL,
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (owner, title)
    );
    CREATE INDEX ON notes (owner, id);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO anybody;
"""


@dataclass(frozen=True)
class Request:
    """One kind of request."""

    name: str
    method: str
    path: str
    status: int
    body: str = ""


ALIVE = Request("livez", "GET", "/livez", 200)
LOGIN = Request("token", "GET", "/token", 200)
ONE = Request("first", "GET", "/notes?limit=1", 200)


def requests(note: str) -> list[Request]:
    """What is measured, of a note that is there."""
    text = "x" * 200
    return [
        Request("read", "GET", f"/notes/{note}", 200),
        Request("page of 50", "GET", "/notes?limit=50", 200),
        Request("create", "POST", "/notes", 201, f'{{"title": "made %d", "body": "{text}"}}'),
        Request("conflict", "POST", "/notes", 409, f'{{"title": "row 1", "body": "{text}"}}'),
        Request("update", "PATCH", f"/notes/{note}", 200, f'{{"body": "%d {text}"}}'),
        ALIVE,
    ]


@dataclass
class Subject:
    """What is measured: a program that serves notes, and its database."""

    name: str
    database: str
    command: list[str]
    imports: list[str]
    """A command that imports it, and ends."""
    cwd: Path
    user: str = "postgres"
    environment: Mapping[str, str] = field(default_factory=dict)
    token: str = ""
    has_login: bool = False
    """It issues its tokens itself."""


class Sample(NamedTuple):
    """Of one subject, one kind of request and one round."""

    per_second: float
    p50: float
    """Microseconds, as all that follows."""
    p99: float
    own_cpu: float
    """Of the service's process, per request."""
    database_cpu: float


class Process(NamedTuple):
    """Of one subject and one round."""

    memory: float
    """Megabytes that nobody else has."""
    started_in: float
    """Seconds until it had read a note."""


@dataclass
class Running:
    """A subject that serves."""

    subject: Subject
    port: int
    process: psutil.Process
    started_in: float
    """Seconds until it had read a note."""
    note: str = ""

    def connect(self) -> closing[http.client.HTTPConnection]:
        """A connection, until the block ends."""
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30))

    def ask(self, request: Request) -> bytes:
        """One request on a connection of its own."""
        with self.connect() as connection:
            return self.ask_by(connection, request)

    def ask_by(self, connection: http.client.HTTPConnection, request: Request) -> bytes:
        """One request, whose status has to be the one that is expected."""
        body = request.body.replace("%d", str(-next(_numbers))) or None
        headers = {"Authorization": f"Bearer {self.subject.token}"} if self.subject.token else {}
        if body:
            headers["Content-Type"] = "application/json"
        connection.request(request.method, request.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != request.status:
            sys.exit(f"{self.subject.name}: {request} was answered {answer.status} {content!r}")
        return content


class Backdrop:
    """PostgreSQL, the provider of tokens, and the proxies."""

    def __init__(self, service: Path, databases: list[str]) -> None:
        command = [str(service / ".venv/bin/python"), str(HERE / "backdrop.py"), *databases]
        self._process = subprocess.Popen(
            command, cwd=service, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._input = cast("IO[str]", self._process.stdin)
        self._output = cast("IO[str]", self._process.stdout)
        found = self._line()
        self.environment: dict[str, str] = found["environment"] | {"JWKS": found["jwks"]}
        self.token: str = found["token"]
        self._sockets: str = found["sockets"]
        self._ports: dict[str, int] = found["ports"]
        self._postmaster = psutil.Process(found["postmaster"])

    def url(self, database: str, user: str = "postgres") -> str:
        """By its socket."""
        return self._sockets.replace("%7Bdatabase%7D", database).replace("%7Buser%7D", user)

    def proxied(self, database: str, user: str) -> str:
        """The same by a proxy that counts."""
        return f"postgresql://{user}@127.0.0.1:{self._ports[database]}/{database}"

    def round_trips(self, database: str) -> int:
        """So far, through the proxy."""
        print(file=self._input, flush=True)
        return int(self._line()[database])

    def cpu(self) -> float:
        """Seconds that the server's processes have used."""
        return sum(map(cpu, self._postmaster.children()))

    def close(self) -> None:
        """Stop all of it."""
        self._input.close()
        self._process.wait(60)

    def _line(self) -> Any:
        return json.loads(self._output.readline())


def cpu(process: psutil.Process) -> float:
    """Seconds of user and system time."""
    times = process.cpu_times()
    return float(times.user + times.system)


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints, which has to succeed."""
    done = subprocess.run(
        command, cwd=cwd, env=clean(env or {}), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a subject: nothing of ours but what programs and packages need."""
    dropped = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "DATABASE_URL", "PYTHONPATH"}
    dropped.add("PYTHONDONTWRITEBYTECODE")  # nobody compiles all modules at each start
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | dict(environment)


def create(parent: Path, name: str, identity: str) -> Path:
    """A service, generated from this checkout."""
    project = parent / name
    options = ["--defaults", "--no-git", "--quiet", f"--data=identity={identity}"]
    run(sys.executable, "-m", "fastpg_new", str(project), *options, cwd=parent)
    run("uv", "sync", "--quiet", cwd=project)
    return project


def subjects(backdrop: Backdrop, services: Mapping[str, Path]) -> list[Subject]:
    """The limit, the services, and the popular shapes."""

    def other(name: str, token: str = "", *, has_login: bool = False) -> Subject:
        script = str(HERE / f"subjects/{name}.py")
        run("uv", "sync", "--quiet", "--script", script, cwd=HERE)
        python = run("uv", "python", "find", "--script", script, cwd=HERE).strip()
        imports = [
            python,
            "-c",
            f"import sys; sys.path[0] = {str(HERE / 'subjects')!r}; import {name}",
        ]
        keys = {"JWKS": backdrop.environment["JWKS"]}
        keys |= {"DATABASE_URL": backdrop.url("others"), "POOL_SIZE": str(POOL_SIZE)}
        command = [python, script]
        return Subject(name, "others", command, imports, HERE, "postgres", keys, token, has_login)

    def service(name: str, database: str, token: str = "") -> Subject:
        project = services[database]
        command = [str(project / ".venv/bin" / database), "serve"]
        imports = [str(project / ".venv/bin/python"), "-c", f"import {database}.app"]
        environment = backdrop.environment if token else {}
        user = f"{database}_app"
        return Subject(name, database, command, imports, project, user, environment, token)

    return [
        other("limit"),
        other("floor"),
        service("service", "identified", backdrop.token),
        service("service without identity", "plain"),
        other("raw"),
        other("usual", backdrop.token),
        other("threads", has_login=True),
    ]


@contextmanager
def serving(
    subject: Subject, backdrop: Backdrop, *, counting: Path | None = None
) -> Iterator[Running]:
    """Run a subject until the block ends; it has answered when the block begins.

    Its round trips and calls are counted, the latter in a file, if there is one for it.
    """
    port = free_port()
    address = backdrop.proxied if counting else backdrop.url
    environment = {
        "PORT": str(port),
        "POOL_SIZE": str(POOL_SIZE),
        **subject.environment,
        "DATABASE_URL": address(subject.database, subject.user),
    }
    if counting:
        environment |= {"PYTHONPATH": str(HERE / "counting"), "CALLS": str(counting)}
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        child = subprocess.Popen(
            subject.command, cwd=subject.cwd, env=clean(environment), stdout=log, stderr=log
        )
        try:
            running = Running(subject, port, psutil.Process(child.pid), 0)
            wait_for(running, child, log)
            if subject.has_login:
                subject.token = json.loads(running.ask(LOGIN))["access_token"]
            running.note = json.loads(running.ask(ONE))["items"][0]["id"]
            running.started_in = time.perf_counter() - started
            yield running
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def wait_for(running: Running, child: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    """Until it accepts connections."""
    deadline = time.monotonic() + 120
    while True:
        try:
            running.ask(ALIVE)
        except OSError:
            if child.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                sys.exit(f"{running.subject.name} does not serve:\n{log.read().decode()}")
            time.sleep(0.01)
        else:
            return


def free_port() -> int:
    """One that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


_numbers = itertools.count(1)


def load(running: Running, request: Request, seconds: float, connections: int) -> dict[str, int]:
    """Load of one kind: requests, microseconds, refused, broken, p50, p99."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "requests.lua")]
    command += [f"http://127.0.0.1:{running.port}", "--"]
    command += [request.method, request.path, running.subject.token, request.body]
    command += [str(next(_numbers))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return cast("dict[str, int]", json.loads(done.stdout.splitlines()[-1]))


def measure(running: Running, request: Request, backdrop: Backdrop, seconds: float) -> Sample:
    """A cell of one round; every request has to be answered as expected."""
    before = cpu(running.process), backdrop.cpu()
    found = load(running, request, seconds, CONNECTIONS)
    own, database = cpu(running.process) - before[0], backdrop.cpu() - before[1]
    expected = found["requests"] if request.status >= 400 else 0
    if found["broken"] or found["refused"] != expected:
        sys.exit(f"{running.subject.name}, {request.name}: {found}")
    return Sample(
        per_second=found["requests"] / found["microseconds"] * 1e6,
        p50=found["p50"],
        p99=found["p99"],
        own_cpu=own / found["requests"] * 1e6,
        database_cpu=database / found["requests"] * 1e6,
    )


def count(subject: Subject, backdrop: Backdrop, scratch: Path) -> dict[str, tuple[float, float]]:
    """By the kind of request its round trips and its calls of Python functions."""
    file = scratch / "calls"
    found = {}
    with serving(subject, backdrop, counting=file) as running, running.connect() as connection:

        def counted() -> tuple[int, int]:
            file.unlink(missing_ok=True)
            running.process.send_signal(signal.SIGUSR1)
            while not file.exists():
                time.sleep(0.001)
            return backdrop.round_trips(subject.database), int(file.read_text())

        for request in requests(running.note):
            for _ in range(10):  # each connection to the database prepares its statements
                running.ask_by(connection, request)
            before = counted()
            for _ in range(COUNTED):
                running.ask_by(connection, request)
            after = counted()
            trips, calls = ((b - a) / COUNTED for a, b in zip(before, after, strict=True))
            found[request.name] = trips, calls
    return found


def instructions(subject: Subject, backdrop: Backdrop, scratch: Path) -> dict[str, int]:
    """By the kind of request the processor's instructions, as callgrind counts them."""
    out = Path(tempfile.mkdtemp(dir=scratch)) / "callgrind.out"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
    valgrind += [f"--callgrind-out-file={out}"]
    watched = replace(subject, command=[*valgrind, *subject.command])
    found = {}
    with serving(watched, backdrop) as running, running.connect() as connection:
        control = ["callgrind_control", str(running.process.pid)]
        for request in requests(running.note):
            for _ in range(10):
                running.ask_by(connection, request)
            run(*control, "--instr=on", cwd=scratch)
            running.ask_by(connection, request)  # is looked at as it is translated
            run(*control, "--zero", cwd=scratch)
            for _ in range(COUNTED):
                running.ask_by(connection, request)
            run(*control, "--dump", cwd=scratch)
            run(*control, "--instr=off", cwd=scratch)
            dumps = sorted(
                out.parent.glob("callgrind.out.*"), key=lambda path: int(path.suffix[1:])
            )
            (total,) = re.findall(
                r"^(?:totals|summary): (\d+)", dumps[-1].read_text(), re.MULTILINE
            )[:1]
            found[request.name] = round(int(total) / COUNTED)
    return found


def imported_in(subject: Subject) -> float:
    """Seconds that it takes to start Python and import the program; the median of three."""

    def once() -> float:
        started = time.perf_counter()
        run(*subject.imports, cwd=subject.cwd, env=subject.environment)
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(3))


def prepare(backdrop: Backdrop, services: Mapping[str, Path]) -> None:
    """Roles, tables and rows."""
    with psycopg.connect(backdrop.url("others"), autocommit=True) as connection:
        connection.execute(TABLES)
    for name, project in services.items():
        environment = backdrop.environment | {
            "DATABASE_OWNER_URL": backdrop.url(name),
            "DATABASE_URL": backdrop.url(name, f"{name}_app"),
        }
        for command in ("roles", "upgrade"):
            run(f".venv/bin/{name}", "db", command, cwd=project, env=environment)
    for database in ("others", *services):
        fill(backdrop, database, 1, ROWS)


OWNERS = {
    "others": {"owner": "'ada'"},
    "plain": {},
    "identified": {"tenant": "''", "owner": "'ada'"},
}


def fill(backdrop: Backdrop, database: str, first: int, last: int) -> None:
    """Store notes of these numbers."""
    values = {"title": "'row ' || n", "body": "repeat('x', 200)", **OWNERS[database]}
    with psycopg.connect(backdrop.url(database), autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO notes ({', '.join(values)}) SELECT {', '.join(values.values())}"
            f" FROM generate_series({first}, {last}) AS n"
        )
        connection.execute("VACUUM ANALYZE notes")


def measured(
    chosen: list[Subject], backdrop: Backdrop, rounds: int, seconds: int
) -> tuple[dict[tuple[str, str], Sample], dict[str, Process]]:
    """The medians, by subject and kind of request, and by subject."""
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    processes: dict[str, list[Process]] = defaultdict(list)
    for _ in range(rounds):
        with ExitStack() as stack:
            # Anew for each round, so that no figure is one process's alone.
            all_running = [stack.enter_context(serving(each, backdrop)) for each in chosen]
            for kind, each in enumerate(requests("")):
                for running in all_running:
                    request = requests(running.note)[kind]
                    for _ in range(WARMING):
                        running.ask(request)
                    if each.name == "read":
                        load(running, request, 1, CONNECTIONS)  # which opens the connections
                    sample = measure(running, request, backdrop, seconds)
                    samples[running.subject.name, request.name].append(sample)
            for running in all_running:
                memory = running.process.memory_full_info().uss / 1e6
                processes[running.subject.name].append(Process(memory, running.started_in))
    return (
        {key: Sample(*medians(found)) for key, found in samples.items()},
        {name: Process(*medians(found)) for name, found in processes.items()},
    )


def medians(rows: Iterable[Iterable[float]]) -> Iterator[float]:
    """Of each column."""
    return map(statistics.median, zip(*rows, strict=True))


@contextmanager
def laboratory() -> Iterator[tuple[Backdrop, list[Subject], Path]]:
    """Everything that is measured, what it stands on, and a directory."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = {
            name: create(scratch, name, identity)
            for name, identity in (("identified", "oidc"), ("plain", "none"))
        }
        backdrop = Backdrop(services["identified"], ["identified", "plain", "others"])
        stack.callback(backdrop.close)
        prepare(backdrop, services)
        yield backdrop, subjects(backdrop, services), scratch


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1, help="of load, for each cell and round")
    parser.add_argument("--only", nargs="*", help="names of subjects")
    parser.add_argument("--count", action="store_true", help="print what is counted, as JSON")
    parser.add_argument("--instructions", action="store_true", help="count with callgrind")
    parser.add_argument("--write", action="store_true", help="renew docs/performance.md")
    arguments = parser.parse_args()
    for program in ("valgrind",) if arguments.instructions else ("wrk",):
        if not arguments.count and not shutil.which(program):
            sys.exit(f"error: there is no {program}\nhint: apt install {program}")
    with laboratory() as (backdrop, everybody, scratch):
        chosen = [one for one in everybody if not arguments.only or one.name in arguments.only]
        if arguments.instructions:
            for subject in chosen:
                print(json.dumps({subject.name: instructions(subject, backdrop, scratch)}))
            return
        counts = {subject.name: count(subject, backdrop, scratch) for subject in chosen}
        if arguments.count:
            print(json.dumps(counts))
            return
        imports = {subject.name: imported_in(subject) for subject in chosen}
        samples, processes = measured(chosen, backdrop, arguments.rounds, arguments.seconds)
    figures = [
        Figures(subject, kind, *sample, *counts[subject][kind])
        for (subject, kind), sample in samples.items()
    ]
    starts = {name: (*processes[name], imports[name]) for name in processes}
    print(document.text(figures, starts))
    if arguments.write:
        document.write(figures, starts, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
