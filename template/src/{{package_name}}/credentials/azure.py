"""Access tokens of Microsoft Entra ID, which Azure Database for PostgreSQL takes as passwords.

https://learn.microsoft.com/azure/postgresql/flexible-server/how-to-configure-sign-in-azure-ad-authentication
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import httpx
from pydantic import BaseModel, Field, SecretStr, model_validator

from .http import ConfidentialUrl, Url, access_token
from .provider import Credential, File

# https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
# 404 and 410 while the metadata service is replaced, which takes 70 s at most.
_AGAIN = frozenset({404, 410, 429, *range(500, 600)})
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523, section 2.2


class AzureSettings(BaseModel):
    """Settings of Azure's tokens, which its platforms set; those of the service inherit them."""

    azure_client_id: str | None = None
    """The managed identity or application, where a machine has several."""
    azure_tenant_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")] | None = None
    azure_federated_token_file: Path | None = None
    """Kubernetes' token, exchanged for one of Entra ID: workload identity."""
    azure_authority_host: ConfidentialUrl = "https://login.microsoftonline.com/"
    identity_endpoint: Url | None = None
    """Where App Service and Container Apps give out tokens."""
    identity_header: SecretStr | None = None
    """What proves to them that we may have one."""
    azure_pod_identity_authority_host: Url = "http://169.254.169.254"
    """Where virtual machines get theirs: the instance metadata service."""
    azure_database_resource: str = "https://ossrdbms-aad.database.windows.net"
    """Whom a token is for; other than public clouds have other names."""

    @model_validator(mode="after")
    def _federated(self) -> Self:
        needed = ("azure_client_id", "azure_tenant_id") if self.azure_federated_token_file else ()
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"AZURE_FEDERATED_TOKEN_FILE needs {name.upper()}")
        return self


class EntraToken:
    """Asks whoever the platform provides: workload identity, App Service or a virtual machine."""

    def __init__(self, settings: AzureSettings, _: Mapping[str, str], timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._query = {"resource": settings.azure_database_resource}
        if settings.azure_client_id:
            self._query["client_id"] = settings.azure_client_id

    async def fetch(self) -> Credential:
        """Ask for a token; the metadata service again, while it says that it is busy."""
        settings = self._settings
        if settings.azure_federated_token_file:
            request = await self._exchange(settings.azure_federated_token_file)
            return await access_token(request, self._timeout)
        if settings.identity_endpoint and settings.identity_header:
            request = self._app_service(settings.identity_endpoint, settings.identity_header)
            return await access_token(request, self._timeout)
        return await access_token(self._virtual_machine(), self._timeout, again=_AGAIN)

    def changed(self) -> bool:
        """Only the platform knows."""
        return False

    async def _exchange(self, file: Path) -> httpx.Request:
        """The federated token is replaced every hour or so, and read each time."""
        authority = self._settings.azure_authority_host.rstrip("/")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.azure_client_id,
            "scope": f"{self._settings.azure_database_resource}/.default",
            "client_assertion_type": _ASSERTION,
            "client_assertion": (await File(file).fetch()).password.get_secret_value(),
        }
        url = f"{authority}/{self._settings.azure_tenant_id}/oauth2/v2.0/token"
        return httpx.Request("POST", url, data=form)

    def _app_service(self, url: str, secret: SecretStr) -> httpx.Request:
        # https://learn.microsoft.com/azure/app-service/overview-managed-identity
        query = {"api-version": "2019-08-01", **self._query}
        headers = {b"X-IDENTITY-HEADER": secret.get_secret_value().encode()}
        return httpx.Request("GET", url, params=query, headers=headers)

    def _virtual_machine(self) -> httpx.Request:
        host = self._settings.azure_pod_identity_authority_host.rstrip("/")
        query = {"api-version": "2018-02-01", **self._query}
        url = f"{host}/metadata/identity/oauth2/token"
        return httpx.Request("GET", url, params=query, headers={"Metadata": "true"})
