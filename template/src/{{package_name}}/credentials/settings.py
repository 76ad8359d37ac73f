"""The logins of the service, and what proves to PostgreSQL that they are its."""

import shlex
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, FilePath, SecretStr, field_validator, model_validator

from ..database.dsn import has_password, normalise

# What is set for one source only; the first of each it cannot do without.
_SOURCES = {
    "database_password_file": "file",
    "database_owner_password_file": "file",
    "database_credential_command": "command",
}
_URLS = ("database_url", "database_owner_url", "database_replica_url")


class CredentialSettings(BaseModel):
    """Settings of the logins; those of the service inherit them."""

    database_url: SecretStr
    """The application's login, as a libpq connection URI."""
    database_owner_url: SecretStr | None = None
    """The login that makes roles and runs migrations; ``database_url`` where it is absent."""
    database_replica_url: SecretStr | None = None
    """A server that follows the primary, for read sessions; while it is away they use the primary.
    What was written a moment ago may not be there yet."""
    database_ca_file: FilePath | None = None
    """Certificates of those who may vouch for the database's server; otherwise the system's."""
    database_credentials: Literal["password", "file", "command"] = "password"
    """Where passwords come from: the URLs, a file, or a command; changed ones are noticed."""
    database_password_file: Path | None = None
    """With ``file``: holds the password, or JSON with "password", "user" and "expires_at"."""
    database_owner_password_file: Path | None = None
    """The same for ``database_owner_url``."""
    database_credential_command: str | None = None
    """With ``command``: prints such JSON, for the login that PGHOST, PGPORT and PGUSER name."""
    database_credential_timeout: float = Field(default=5, ge=0.1, le=60, allow_inf_nan=False)
    """Seconds until a source has answered."""

    @field_validator(*_URLS)
    @classmethod
    def _normalise(cls, url: SecretStr | None) -> SecretStr | None:
        return url and SecretStr(normalise(url.get_secret_value()))

    @field_validator("database_credential_command")
    @classmethod
    def _splits(cls, command: str | None) -> str | None:
        if command is not None and not shlex.split(command):
            raise ValueError("names no program")
        return command

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        """A password that would not be used is more likely a mistake than one too many."""
        kind = self.database_credentials
        for name, belongs_to in _SOURCES.items():
            if getattr(self, name) is not None and belongs_to != kind:
                raise ValueError(f"{name.upper()} needs DATABASE_CREDENTIALS={belongs_to}")
        needed = [name for name, belongs_to in _SOURCES.items() if belongs_to == kind][:1]
        if needed and getattr(self, needed[0]) is None:
            raise ValueError(f"DATABASE_CREDENTIALS={kind} needs {needed[0].upper()}")
        for name in _URLS if kind != "password" else ():
            url: SecretStr | None = getattr(self, name)
            if url and has_password(url.get_secret_value()):
                raise ValueError(f"{name.upper()} has a password, but DATABASE_CREDENTIALS={kind}")
        return self
