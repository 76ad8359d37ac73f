"""Passwords for Amazon RDS and Aurora: a presigned URL each, made by no SDK."""

import asyncio
import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from .http import ConfidentialUrl, Url, check_confidential, content_of
from .provider import Credential, CredentialUnavailable, File

LIFETIME = 900
"""Seconds that RDS accepts a token."""

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
_CONTAINER = "http://169.254.170.2"
_CONTAINER_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_HOST = re.compile(r"[\w.-]+", re.ASCII)
_REGION = re.compile(  # the second form is China's
    r".+\.(?:(?P<global>[a-z0-9-]+)\.rds|rds\.(?P<china>cn-[a-z0-9-]+))\.amazonaws\.com(\.cn)?",
    re.IGNORECASE,
)


def _check_container(url: str) -> str:
    return url if urlsplit(url).hostname in _CONTAINER_HOSTS else check_confidential(url)


Region = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")]


class AwsSettings(BaseModel):
    """Settings of who we are at AWS, as its SDKs name them; those of the service inherit them."""

    aws_region: Region | None = None
    """Region of the database; otherwise its host name tells."""
    aws_default_region: Region | None = None
    """The same, where ``aws_region`` is absent."""
    aws_access_key_id: str | None = None
    """The access key, which counts before what follows here."""
    aws_secret_access_key: SecretStr | None = None
    """Its secret."""
    aws_session_token: SecretStr | None = None
    """Its token, if it is a temporary one."""
    aws_web_identity_token_file: Path | None = None
    """Token of a Kubernetes service account, for which STS gives keys."""
    aws_role_arn: str | None = None
    """The role that they shall be for."""
    aws_role_session_name: Name = "database"
    """What CloudTrail calls the session."""
    aws_endpoint_url_sts: ConfidentialUrl | None = None
    """STS, where it is not the region's own."""
    aws_container_credentials_relative_uri: Annotated[str, Field(pattern="^/[!-~]*$")] | None = None
    """Where ECS gives keys."""
    aws_container_credentials_full_uri: Annotated[Url, AfterValidator(_check_container)] | None = (
        None
    )
    """Where the agent of EKS does, or another one."""
    aws_container_authorization_token_file: Path | None = None
    """What it is shown."""
    aws_container_authorization_token: SecretStr | None = None
    """The same, where there is no file."""
    aws_ec2_metadata_service_endpoint: Url = "http://169.254.169.254"
    """Where EC2 gives the keys of the instance's role, if there is nothing else."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Half of a source is a mistake, and might silently make us somebody else."""
        for name, other in (
            ("aws_access_key_id", "aws_secret_access_key"),
            ("aws_secret_access_key", "aws_access_key_id"),
            ("aws_web_identity_token_file", "aws_role_arn"),
        ):
            if getattr(self, name) and not getattr(self, other):
                raise ValueError(f"{name.upper()} needs {other.upper()}")
        return self


class Keys(BaseModel):
    """What signs, as AWS writes it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    access_key_id: str = Field(validation_alias="AccessKeyId", min_length=1)
    secret_access_key: SecretStr = Field(validation_alias="SecretAccessKey", min_length=1)
    token: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        validation_alias=AliasChoices("Token", "SessionToken")
    )
    expiration: AwareDatetime | None = Field(validation_alias="Expiration")


def presigned(place: str, user: str, region: str, keys: Keys, at: int) -> str:
    """A URL without its scheme, which is a user's password at this place for `LIFETIME`.

    Signature Version 4 in a query string:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    Args:
        place: host and port.
        user: whom PostgreSQL shall let in.
        region: where the database is.
        keys: what signs.
        at: seconds since the epoch, from which on it is valid.
    """
    date = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/{region}/rds-db/aws4_request"
    parameters = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access_key_id}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": str(LIFETIME),
        "X-Amz-SignedHeaders": "host",
    }
    if keys.token:
        parameters["X-Amz-Security-Token"] = keys.token.get_secret_value()
    query = [f"{name}={quote(value, safe='')}" for name, value in parameters.items()]
    nothing = hashlib.sha256().hexdigest()
    request = ["GET", "/", "&".join(sorted(query)), f"host:{place.lower()}", "", "host", nothing]
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    key = f"AWS4{keys.secret_access_key.get_secret_value()}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{place}/?{'&'.join(query)}&X-Amz-Signature={key.hex()}"


class RdsToken:
    """A token of IAM, as a password for RDS.

    Args:
        settings: where the keys come from, and the region.
        variables: PGHOST, PGPORT and PGUSER of the login.
        timeout: seconds until there are keys.
    """

    def __init__(self, settings: AwsSettings, variables: Mapping[str, str], timeout: float) -> None:
        self._settings = settings
        self._variables = variables
        self._timeout = timeout

    async def fetch(self) -> Credential:
        """Sign a token, with keys that may have to be fetched."""
        host, user = (self._variables.get(name, "") for name in ("PGHOST", "PGUSER"))
        if not _HOST.fullmatch(host) or not user:
            raise CredentialUnavailable("a token of RDS is for one user at one host, by its name")
        region = self._region(host)
        keys = await self._keys(region)
        now = int(time.time())
        ends = min(now + LIFETIME, keys.expiration.timestamp() if keys.expiration else math.inf)
        if ends <= now:
            raise CredentialUnavailable("the keys of AWS have expired")
        place = f"{host}:{self._variables.get('PGPORT', '5432')}"
        return Credential(SecretStr(presigned(place, user, region, keys, now)), expires_at=ends)

    def changed(self) -> bool:
        """Nobody tells."""
        return False

    def _region(self, host: str) -> str:
        if region := self._settings.aws_region or self._settings.aws_default_region:
            return region
        if found := _REGION.fullmatch(host):
            return (found["global"] or found["china"]).lower()
        raise CredentialUnavailable(f"AWS_REGION is not set, and {host} does not tell it")

    async def _keys(self, region: str) -> Keys:
        """Those of the first source that there is, in the order of AWS's SDKs."""
        settings = self._settings
        if settings.aws_access_key_id:
            return Keys(
                AccessKeyId=settings.aws_access_key_id,
                SecretAccessKey=settings.aws_secret_access_key or SecretStr(""),
                Token=settings.aws_session_token,
                Expiration=None,
            )
        if settings.aws_web_identity_token_file:
            return await self._role_keys(settings.aws_web_identity_token_file, region)
        if path := settings.aws_container_credentials_relative_uri:
            return await self._container_keys(f"{_CONTAINER}{path}")
        if url := settings.aws_container_credentials_full_uri:
            return await self._container_keys(url)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._instance_keys()
        except TimeoutError:
            place = urlsplit(settings.aws_ec2_metadata_service_endpoint).netloc
            raise CredentialUnavailable(f"{place} took more than {self._timeout:g} s") from None

    async def _role_keys(self, file: Path, region: str) -> Keys:
        # https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        url = self._settings.aws_endpoint_url_sts or f"https://sts.{region}.{domain}"
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._settings.aws_role_arn or "",
            "RoleSessionName": self._settings.aws_role_session_name,
            "WebIdentityToken": (await File(file).fetch()).password.get_secret_value(),
        }
        request = httpx.Request("POST", url, data=form, headers={"Accept": "text/xml"})
        content = await self._answer(request)
        try:
            # STS is believed, over TLS, and expat limits what entities grow to.
            elements = list(ElementTree.fromstring(content).iter())  # noqa: S314  (see above)
        except ElementTree.ParseError:
            elements = []
        return _keys({each.tag.rpartition("}")[2]: each.text for each in elements}, request)

    async def _container_keys(self, url: str) -> Keys:
        settings = self._settings
        shown: SecretStr | None = settings.aws_container_authorization_token
        if file := settings.aws_container_authorization_token_file:
            shown = (await File(file).fetch()).password
        # As bytes, of which even those that no header may have are refused without being shown.
        headers = {b"Authorization": shown.get_secret_value().encode()} if shown else None
        return await self._document(httpx.Request("GET", url, headers=headers))

    async def _instance_keys(self) -> Keys:
        # Version 2 of the service: whoever can make others fetch a URL cannot make them PUT.
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
        base = f"{self._settings.aws_ec2_metadata_service_endpoint.removesuffix('/')}/latest"
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = await self._answer(httpx.Request("PUT", f"{base}/api/token", headers=lifetime))
        headers = {b"X-aws-ec2-metadata-token": token}
        roles = f"{base}/meta-data/iam/security-credentials/"
        request = httpx.Request("GET", roles, headers=headers)
        role = (await self._answer(request)).decode("utf-8", "replace").strip()
        if not _ROLE.fullmatch(role):
            raise CredentialUnavailable(f"{_place(request)} names no role of this instance")
        return await self._document(httpx.Request("GET", roles + role, headers=headers))

    async def _document(self, request: httpx.Request) -> Keys:
        content = await self._answer(request)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        return _keys(document, request)

    async def _answer(self, request: httpx.Request) -> bytes:
        return await content_of(request, self._timeout)


def _keys(document: Any, request: httpx.Request) -> Keys:
    try:
        return Keys.model_validate(document)
    except ValidationError as error:
        wrong = ", ".join(str(e["loc"][0]) if e["loc"] else e["type"] for e in error.errors())
        raise CredentialUnavailable(f"{_place(request)} answers with no keys: {wrong}") from None


def _place(request: httpx.Request) -> str:
    return request.url.netloc.decode()
