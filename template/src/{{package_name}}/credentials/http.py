"""One question by HTTP, and the access token that is its answer (RFC 6749, section 5)."""

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Annotated, Literal

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .provider import Credential, CredentialUnavailable, Secret

MAX_SIZE = 64 * 1024
"""Bytes of an answer; one with a token has a few thousand."""
LONGEST = 31 * 86_400
"""Seconds that a token may be valid: more of them would be milliseconds, or another mistake."""

_PAUSE = 1.0


class _Token(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: Secret
    token_type: Annotated[str, Field(pattern=r"^(?i:bearer)$")]
    # Some write numbers as strings, which Pydantic reads, too.
    expires_in: Annotated[float, Field(gt=0, le=LONGEST)] | None = None
    expires_on: float | None = None


class _Refusal(BaseModel):
    # RFC 6749, sections 4.1.2.1 and 5.2; RFC 8707. Any other text might be what we have sent.
    error: Literal[
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    ]
    error_codes: list[Annotated[int, Field(ge=0, lt=10**8)]] = []  # some number their reasons


async def access_token(
    request: httpx.Request,
    within: float,
    *,
    lifetime: float | None = None,
    again: Collection[int] = (),
    proof: Mapping[str, str] | None = None,
) -> Credential:
    """The access token that a request asks for, as a password.

    Args:
        request: what is asked.
        within: seconds for all of it.
        lifetime: seconds that a token is valid whose answer leaves that open.
        again: statuses after which to ask once more: in a second, then in two, in four ...
        proof: headers that the answer has to have.

    Raises:
        CredentialUnavailable: there is none. The message has the place that was asked, the status
            and codes of standards; nothing else that was sent or answered.
    """
    content = await content_of(request, within, again=again, proof=proof)
    return _credential(content, request.url.netloc.decode(), lifetime)


async def content_of(
    request: httpx.Request,
    within: float,
    *,
    again: Collection[int] = (),
    proof: Mapping[str, str] | None = None,
) -> bytes:
    """The answer with status 200 to a request, as `access_token` has it.

    Raises:
        CredentialUnavailable: there is none, or it is too large.
    """
    place = request.url.netloc.decode()
    answer, content = await _ask(request, place, within, again)
    if answer.status_code != 200:
        raise CredentialUnavailable(f"{place} {_refusal(answer, content)}")
    for name, value in (proof or {}).items():
        if answer.headers.get(name) != value:
            raise CredentialUnavailable(f"{place} answers without the header {name}")
    if len(content) > MAX_SIZE:
        raise CredentialUnavailable(f"{place} answers with more than {MAX_SIZE} bytes")
    return content


async def _ask(
    request: httpx.Request, place: str, within: float, again: Collection[int]
) -> tuple[httpx.Response, bytes]:
    request.headers.setdefault("Accept", "application/json")
    # A few compressed bytes can become very many.
    request.headers["Accept-Encoding"] = "identity"
    # Without TLS it is somebody on this machine or its network, and no business of a proxy's.
    trust_env = request.url.scheme == "https"
    complaint, pause = f"took more than {within:g} s", _PAUSE
    try:
        async with (
            asyncio.timeout(within),
            httpx.AsyncClient(trust_env=trust_env, timeout=within) as client,
        ):
            while True:
                answer, content = await _exchange(client, request)
                if answer.status_code not in again:
                    return answer, content
                complaint = _refusal(answer, content)
                await asyncio.sleep(pause)
                pause *= 2
    except (TimeoutError, httpx.TimeoutException):
        raise CredentialUnavailable(f"{place} {complaint}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        reason = type(error).__name__
        raise CredentialUnavailable(f"{place} cannot be asked: {reason}") from None


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request
) -> tuple[httpx.Response, bytes]:
    """The answer, and as much of what it says as can matter."""
    content = bytearray()
    async with aclosing(await client.send(request, stream=True)) as answer:
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > MAX_SIZE:
                break
    return answer, bytes(content)


def _refusal(answer: httpx.Response, content: bytes) -> str:
    said = f"answers with status {answer.status_code}"
    try:
        found = _Refusal.model_validate_json(content)
    except ValidationError:
        return said
    return " ".join([said, found.error, *map(str, found.error_codes)])


def _credential(content: bytes, place: str, lifetime: float | None) -> Credential:
    try:
        found = _Token.model_validate_json(content)
    except ValidationError as error:
        wrong = ", ".join(str(e["loc"][0]) if e["loc"] else e["type"] for e in error.errors())
        raise CredentialUnavailable(f"{place} answers with no token: {wrong}") from None
    now = time.time()
    if found.expires_on is not None:
        ends = found.expires_on  # the other may count from when a cached token was issued
    elif left := found.expires_in or lifetime:
        ends = now + left
    else:
        raise CredentialUnavailable(f"{place} does not say when its token ends")
    if not now < ends <= now + LONGEST:
        raise CredentialUnavailable(f"{place} answers with no token: expires_on")
    return Credential(found.access_token, expires_at=ends)


def check_url(url: str) -> str:
    """A URL that may be asked.

    Raises:
        ValueError: it is none. The message quotes nothing, since a login may be part of it.
    """
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("is not a URL") from None
    if found.scheme not in {"http", "https"} or not found.host or (found.port or 1) > 65535:
        raise ValueError("must be an http or https URL")
    if found.userinfo or found.fragment:
        raise ValueError("must have neither a login nor a fragment")
    return url


def check_confidential(url: str) -> str:
    """The URL, if nobody on the way can read what is sent there.

    Raises:
        ValueError: somebody can.
    """
    found = httpx.URL(url)
    if found.scheme != "https" and not _is_loopback(found.host):
        raise ValueError("must be an https URL, since it gets a secret")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Url = Annotated[str, AfterValidator(check_url)]
ConfidentialUrl = Annotated[Url, AfterValidator(check_confidential)]
