"""Access tokens by client credentials (RFC 6749, section 4.4), for servers that verify them."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote_plus

import httpx
from pydantic import BaseModel, Field, SecretStr, model_validator

from .http import LONGEST, ConfidentialUrl, access_token
from .provider import Credential, File


class OAuthSettings(BaseModel):
    """Settings of a client; those of the service inherit them."""

    database_credentials: str = "oauth"
    """While it is another source's name, there need be no client."""
    database_oauth_token_url: ConfidentialUrl | None = None
    """The token endpoint."""
    database_oauth_client_id: str | None = None
    database_oauth_client_secret: SecretStr | None = None
    database_oauth_client_secret_file: Path | None = None
    """Holds the secret instead, and is read for each token."""
    database_oauth_client_auth: Literal["client_secret_basic", "client_secret_post"] = (
        "client_secret_basic"
    )
    """How the endpoint wants id and secret: as a header, or in the form."""
    database_oauth_scope: str | None = None
    """Separated by spaces."""
    database_oauth_audience: str | None = None
    """Whom the token is for, where the endpoint has to be told."""
    database_oauth_lifetime: float = Field(default=300, gt=0, le=LONGEST)
    """Seconds that a token is valid whose answer leaves that open."""

    @model_validator(mode="after")
    def _one_client(self) -> Self:
        if self.database_credentials != "oauth":
            return self
        for name in ("database_oauth_token_url", "database_oauth_client_id"):
            if getattr(self, name) is None:
                raise ValueError(f"DATABASE_CREDENTIALS=oauth needs {name.upper()}")
        secrets = (self.database_oauth_client_secret, self.database_oauth_client_secret_file)
        if secrets.count(None) != 1:
            name = "DATABASE_OAUTH_CLIENT_SECRET"
            raise ValueError(f"DATABASE_CREDENTIALS=oauth needs either {name} or {name}_FILE")
        return self


class ClientCredentials:
    """Asks the token endpoint each time; there are no refresh tokens (section 4.4.3)."""

    def __init__(self, settings: OAuthSettings, _: Mapping[str, str], timeout: float) -> None:
        self._settings = settings
        self._url = settings.database_oauth_token_url or ""
        self._client = settings.database_oauth_client_id or ""
        self._timeout = timeout

    async def fetch(self) -> Credential:
        """Ask for a token."""
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        if settings.database_oauth_scope:
            form["scope"] = settings.database_oauth_scope
        if settings.database_oauth_audience:
            form["audience"] = settings.database_oauth_audience
        headers = {}
        secret = (await self._secret()).get_secret_value()
        if settings.database_oauth_client_auth == "client_secret_post":
            form |= {"client_id": self._client, "client_secret": secret}
        else:
            headers["Authorization"] = _basic(self._client, secret)
        request = httpx.Request("POST", self._url, data=form, headers=headers)
        return await access_token(request, self._timeout, lifetime=settings.database_oauth_lifetime)

    def changed(self) -> bool:
        """Only the endpoint knows."""
        return False

    async def _secret(self) -> SecretStr:
        if file := self._settings.database_oauth_client_secret_file:
            return (await File(file).fetch()).password
        return self._settings.database_oauth_client_secret or SecretStr("")


def _basic(client: str, secret: str) -> str:
    # RFC 6749, section 2.3.1: encoded, because a name may hold a colon.
    pair = f"{quote_plus(client)}:{quote_plus(secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"
