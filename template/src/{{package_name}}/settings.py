"""Everything that can be set from outside, in one frozen object.

The environment wins over ``.env``, and ``.env`` over ``.dev/env``, which ``poe dev`` writes so that
commands in a second terminal reach the same database.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .database.dsn import normalise


class SettingsError(ValueError):
    """A setting is missing or malformed. The message names each one and never shows a value."""


# PostgreSQL counts in milliseconds, and 0 of them mean no limit.
Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Settings of the service; each field is an environment variable of the same name."""

    model_config = SettingsConfigDict(
        env_file=(".dev/env", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr
    """The application's login, as a libpq connection URI."""
    database_owner_url: SecretStr | None = None
    """The login that makes roles and runs migrations; ``database_url`` where it is absent."""
    pool_size: int = Field(default=8, ge=1)
    """Connections of one worker. Replicas x workers x pool_size stays below 80 % of the server's
    ``max_connections``."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1)
    root_path: str = ""
    """Path prefix that a proxy strips before it forwards a request."""
    forwarded_allow_ips: str = "127.0.0.1"
    """Proxies whose ``X-Forwarded-*`` headers are believed, comma-separated; ``*`` for all."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins that browsers may call from, comma-separated."""
    max_body_size: int = Field(default=1_048_576, ge=0)
    """Bytes of a request body; more is answered with 413."""
    log_format: Literal["json", "console"] = "json"

    connect_timeout: Seconds = 2
    """Seconds until a connection to PostgreSQL is established."""
    pool_timeout: Seconds = 0.5
    """Seconds to wait for a free connection; then 503."""
    lock_timeout: Seconds = 1
    """Seconds that a statement waits for a lock."""
    statement_timeout: Seconds = 5
    """Seconds that a statement may run."""
    idle_in_transaction_timeout: Seconds = 5
    """Seconds between two statements of one transaction."""
    driver_timeout: Seconds = 7
    """Seconds until the driver gives up on a server that no longer answers; above
    ``statement_timeout``, so that the server's own verdict comes first."""
    drain_timeout: Seconds = 10
    """Seconds that requests in flight have to finish after SIGTERM."""

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _normalise(cls, url: SecretStr | None) -> SecretStr | None:
        return url and SecretStr(normalise(url.get_secret_value()))

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @property
    def owner_url(self) -> str:
        """Connection URI for roles and migrations."""
        return (self.database_owner_url or self.database_url).get_secret_value()


def load(**overrides: Any) -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: a setting is missing or malformed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = (
            f"{'.'.join(map(str, line['loc'])).upper()}: {line['msg']}"
            for line in error.errors(include_input=False, include_context=False)
        )
        raise SettingsError("\n".join(lines)) from None
