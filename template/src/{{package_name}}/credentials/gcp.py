"""Access tokens of a service account, with which Cloud SQL lets its IAM users log in.

https://cloud.google.com/compute/docs/access/authenticate-workloads
https://cloud.google.com/sql/docs/postgres/iam-logins
"""

from collections.abc import Mapping

import httpx
from pydantic import BaseModel, Field, field_validator

from .http import access_token, check_url
from .provider import Credential

_SCOPE = "https://www.googleapis.com/auth/sqlservice.login"  # good for logins, and nothing else
_FLAVOR = {"Metadata-Flavor": "Google"}  # who answers without it is somebody else
_AGAIN = frozenset({429, 503})


class GcpSettings(BaseModel):
    """Settings of tokens for Cloud SQL; those of the service inherit them."""

    gce_metadata_host: str = Field(
        default="metadata.google.internal",
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]+)?$",
    )
    """The metadata server, and perhaps its port."""
    gce_service_account: str = Field(default="default", pattern=r"^[A-Za-z0-9.:@_-]+$")
    """Whose token it shall be, by e-mail, where a machine has several accounts."""

    @field_validator("gce_metadata_host")
    @classmethod
    def _is_part_of_a_url(cls, host: str) -> str:
        return check_url(f"http://{host}").removeprefix("http://")


class CloudSqlToken:
    """Asks the metadata server, which every machine, pod and Cloud Run instance has."""

    def __init__(self, settings: GcpSettings, _: Mapping[str, str], timeout: float) -> None:
        self._url = (
            f"http://{settings.gce_metadata_host}/computeMetadata/v1/instance/service-accounts/"
            f"{settings.gce_service_account}/token"
        )
        self._timeout = timeout

    async def fetch(self) -> Credential:
        """Ask for a token, which the metadata server caches until some minutes before its end."""
        request = httpx.Request("GET", self._url, params={"scopes": _SCOPE}, headers=_FLAVOR)
        return await access_token(request, self._timeout, again=_AGAIN, proof=_FLAVOR)

    def changed(self) -> bool:
        """Only the metadata server knows."""
        return False
