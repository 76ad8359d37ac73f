"""Logins of the database, and the connections that they get."""

import math
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from pydantic import SecretStr

from ..credentials.cache import Credentials
from ..credentials.provider import Credential, CredentialProvider, CredentialUnavailable
from ..credentials.sources import source
from ..settings import Settings, SettingsError
from . import dsn

# What `Login.connect` raises.
NO_CONNECTION = (CredentialUnavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Login:
    """A connection URI, and what proves that we may use it."""

    def __init__(
        self,
        url: SecretStr,
        provider: CredentialProvider | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._url = url.get_secret_value()
        self._provider = provider
        self._credentials = Credentials(provider) if provider else None
        self._ca_file = ca_file
        self.sslmode = dsn.sslmode(self._url)
        """How far the server has to prove who it is."""
        if self.sslmode == "require" and ca_file:
            self.sslmode = "verify-ca"  # as libpq has it
        self._tls = _tls(self._url, self.sslmode, ca_file)

    def again(self) -> "Login":
        """The same login for another event loop."""
        return Login(SecretStr(self._url), self._provider, self._ca_file)

    def with_credential(self, credential: Credential) -> "Login":
        """The same server and database, as whoever the credential belongs to."""
        password = credential.password.get_secret_value()
        url = dsn.with_login(self._url, credential.user or "", password)
        return Login(SecretStr(url), ca_file=self._ca_file)

    async def connect(self, **options: Any) -> Any:
        """Open a connection; with a newer credential, if PostgreSQL refuses the one that we have.

        Raises:
            CredentialUnavailable: or another one of `NO_CONNECTION`.
        """
        options |= self._tls
        if self._credentials is None:
            return await asyncpg.connect(self._url, **options)
        credential = await self._credentials.current()
        try:
            return await asyncpg.connect(self._url, **options, **_known(credential))
        except asyncpg.InvalidAuthorizationSpecificationError:  # 28000, and 28P01
            newer = await self._credentials.instead_of(credential)
            if newer == credential:
                raise
            return await asyncpg.connect(self._url, **options, **_known(newer))

    async def expires_at(self) -> float:
        """When its credential ends, in seconds since the epoch."""
        return (await self._credentials.current()).expires_at if self._credentials else math.inf

    @property
    def place(self) -> str:
        """Host and port, as the URL has them."""
        found = dsn.variables(self._url)
        return ":".join(found[name] for name in ("PGHOST", "PGPORT") if name in found)

    @property
    def weakness(self) -> str | None:
        """Why somebody else might pose as the server."""
        if not dsn.is_elsewhere(self._url) or self.sslmode == "verify-full":
            return None
        asked = f"its URL asks for sslmode={self.sslmode}" if self.sslmode else "its URL names none"
        return f"{self.place or 'the server'} need not prove who it is: {asked}"

    def close(self) -> None:
        """Renew its credential no more."""
        if self._credentials:
            self._credentials.close()


def application_login(settings: Settings) -> Login:
    """The login of those who serve."""
    return _login(settings, settings.database_url, settings.database_password_file)


def replica_login(settings: Settings) -> Login | None:
    """The same, at the replica, if there is one."""
    if settings.database_replica_url is None:
        return None
    return _login(settings, settings.database_replica_url, settings.database_password_file)


def owner_login(settings: Settings) -> Login:
    """The login for roles and migrations.

    Raises:
        SettingsError: there is none, or no credential for it.
    """
    file = settings.database_owner_password_file
    if settings.database_owner_url is None:
        file = settings.database_password_file
    elif settings.database_password_file and not file:
        raise SettingsError("DATABASE_OWNER_PASSWORD_FILE: required with DATABASE_OWNER_URL")
    return _login(settings, SecretStr(settings.owner_url), file)


def _known(credential: Credential) -> dict[str, Any]:
    user = {"user": credential.user} if credential.user else {}
    return user | {"password": credential.password.get_secret_value()}


def _login(settings: Settings, url: SecretStr, file: Path | None) -> Login:
    return Login(url, source(settings, url.get_secret_value(), file), settings.database_ca_file)


def _tls(url: str, mode: str | None, ca_file: Path | None) -> dict[str, Any]:
    """What the driver shall use, where a URI leaves that to us.

    asyncpg knows no certificates but those of a file that has to be there.
    """
    parameters = dict(parse_qsl(urlsplit(url).query))
    if mode not in {"verify-ca", "verify-full"}:
        return {}
    if "sslrootcert" in parameters:
        return {"ssl": mode}  # or asyncpg, which knows that file, would do without TLS
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise SettingsError("DATABASE_CA_FILE: holds no certificates in PEM") from None
    except OSError as error:
        raise SettingsError(f"DATABASE_CA_FILE: {error.strerror}") from None
    context.check_hostname = mode == "verify-full"
    context.set_alpn_protocols(["postgresql"])
    try:
        _ask_of(context, parameters)
    except OSError as error:
        reason = error.strerror or "no certificate, key or list of revocations"
        raise SettingsError(f"DATABASE_URL: a file of its sslcert or sslcrl: {reason}") from None
    return {"ssl": context}


def _ask_of(context: ssl.SSLContext, parameters: dict[str, str]) -> None:
    """Apply what else a URI says of TLS."""
    if "sslcert" in parameters:
        context.load_cert_chain(
            parameters["sslcert"], parameters.get("sslkey"), parameters.get("sslpassword", "")
        )
    if "sslcrl" in parameters:
        context.load_verify_locations(parameters["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    for end in ("min", "max"):
        if version := parameters.get(f"ssl_{end}_protocol_version"):
            setattr(context, f"{end}imum_version", ssl.TLSVersion[version.replace(".", "_")])
