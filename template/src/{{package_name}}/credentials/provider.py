"""What a credential is, and the sources that are at home everywhere: a file and a command."""

import asyncio
import math
import os
import shlex
import signal
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

_MOST = 64 * 1024  # bytes of what a source gives


@dataclass(frozen=True)
class Credential:
    """What PostgreSQL asks for when a connection begins, and never again."""

    password: SecretStr
    user: str | None = None
    """The login that it belongs to, where that is not the one of the URL."""
    expires_at: float = math.inf
    """Seconds since the epoch; from then on PostgreSQL refuses it."""


class CredentialUnavailable(Exception):
    """There is no credential to be had. The message names the source and shows no secret."""


class CredentialProvider(Protocol):
    """A source of credentials."""

    async def fetch(self) -> Credential:
        """Get the credential that is valid now.

        Raises:
            CredentialUnavailable: there is none.
        """

    def changed(self) -> bool:
        """Whether there is another one by now, where that can be told at once."""


def _without_nul(secret: SecretStr) -> SecretStr:
    if "\0" in secret.get_secret_value():
        raise ValueError("holds a NUL character")  # which ends it on its way to PostgreSQL
    return secret


Secret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_without_nul)]


class _Document(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    password: Secret
    user: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")] | None = None
    expires_at: AwareDatetime | None = None


def parse(text: str, source: str) -> Credential:
    """A credential as text: JSON with "password", perhaps "user" and "expires_at", or a password.

    ``expires_at`` is a time as of RFC 3339, or in seconds since the epoch.

    Raises:
        CredentialUnavailable: it is neither.
    """
    if not text.lstrip().startswith("{"):
        text = text.removesuffix("\n").removesuffix("\r")
        if not text or "\n" in text or "\0" in text:
            raise CredentialUnavailable(f"{source} holds no password, which is one line")
        return Credential(SecretStr(text))
    try:
        found = _Document.model_validate_json(text)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, e["loc"])) or e["type"] for e in error.errors())
        raise CredentialUnavailable(f"{source} holds no credential: {wrong}") from None
    ends = found.expires_at.timestamp() if found.expires_at else math.inf
    if ends <= time.time():
        raise CredentialUnavailable(f"{source} holds a credential that has ended")
    return Credential(found.password, found.user, ends)


class File:
    """A file that somebody else keeps up to date, such as Kubernetes or the agent of Vault."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, ...] = ()

    async def fetch(self) -> Credential:
        """Read the file."""
        try:
            about = self._path.stat()
            self._read = _state(about)  # also of what is refused: once is enough
            if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST:
                raise CredentialUnavailable(f"{self._path} is not a small file")
            text = self._path.read_text("utf-8-sig")
        except OSError as error:
            raise CredentialUnavailable(f"{self._path}: {error.strerror}") from None
        except UnicodeError:
            raise CredentialUnavailable(f"{self._path} is not UTF-8") from None
        return parse(text, str(self._path))

    def changed(self) -> bool:
        """Whether it has been replaced, or written to."""
        try:
            return _state(self._path.stat()) != self._read
        except OSError:
            return False  # it is being replaced


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


async def _all(output: asyncio.StreamReader, name: str) -> bytes:
    said = b""
    while chunk := await output.read(_MOST):
        said += chunk
        if len(said) > _MOST:
            raise CredentialUnavailable(f"{name} prints more than {_MOST} bytes")
    return said


class Command:
    """A program that prints a credential, which is how everything else plugs in."""

    def __init__(self, command: str, variables: Mapping[str, str], timeout: float) -> None:
        self._arguments = shlex.split(command)
        self._variables = variables
        self._timeout = timeout

    async def fetch(self) -> Credential:
        """Run it, with the variables added to its environment."""
        name = Path(self._arguments[0]).name
        # A pipe of ours: for the end of its own, asyncio would wait without a limit.
        reader, writer = os.pipe()
        output = asyncio.StreamReader(_MOST)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(reader, "rb", 0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdout=writer,
                stderr=asyncio.subprocess.DEVNULL,  # our log has no place for its secrets
                env=os.environ | self._variables,
                start_new_session=True,
            )
        except OSError as error:
            pipe.close()
            raise CredentialUnavailable(f"{name}: {error.strerror}") from None
        finally:
            os.close(writer)
        try:
            async with asyncio.timeout(self._timeout):
                said = await _all(output, name)
                await process.wait()
        except TimeoutError:
            raise CredentialUnavailable(f"{name} took more than {self._timeout:g} s") from None
        finally:
            pipe.close()
            if process.returncode is None or not output.at_eof():
                with suppress(ProcessLookupError):  # all may have ended just now
                    os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
                await process.wait()
        if process.returncode:
            raise CredentialUnavailable(f"{name} ended with {process.returncode}")
        return parse(said.decode("utf-8-sig", "replace"), name)

    def changed(self) -> bool:
        """Only the program knows."""
        return False
