"""The keys that an issuer signs with, fetched without ever making the event loop wait.

OpenID Connect Discovery 1.0, section 4, and JSON Web Key (RFC 7517).
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import structlog
from jwt import PyJWK, PyJWTError

from .problems import IdentityProviderUnavailable
from .settings import is_confidential

MAX_SIZE = 512 * 1024
"""Bytes of a document; those of large providers have about ten thousand."""

_ENDPOINTS = ("jwks_uri", "authorization_endpoint", "token_endpoint")
# Public keys only (RFC 8725, section 3.1): with a shared secret, who verifies could also sign.
_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

log = structlog.get_logger()


class Pace(NamedTuple):
    """How often an issuer is asked, in seconds."""

    fresh: float = 300
    """Until it is asked again, and so until a retired key is refused. Providers announce a new key
    long before they use it, and may have to retire one in a hurry."""
    cooldown: float = 10
    """Between two questions that unknown key ids cause: anybody can make up key ids."""
    retry: float = IdentityProviderUnavailable.retry_after
    """That it is left alone after it failed: meanwhile nobody waits for it in vain."""


PACE = Pace()


class UnknownKey(LookupError):
    """The issuer has no key of this id, or had none when it was last allowed to be asked."""


class Keys:
    """The keys of one issuer, by key id.

    They count as fresh for a while. After that they still serve, while a task asks for new ones:
    of all who need keys only those with an unknown id wait, all for the same fetch.

    Args:
        issuer: the issuer, exactly as its metadata must name it.
        client: what to fetch with; it must not follow redirects.
        timeout: seconds for metadata and keys together.
        pace: how often it is asked.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        issuer: str,
        client: httpx.AsyncClient,
        timeout: float,
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._client = client
        self._timeout = timeout
        self._pace = pace
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._metadata: dict[str, Any] | None = None
        self._healthy = False
        self._due = self._may_ask = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def known(self, kid: str) -> PyJWK | None:
        """The key as far as we know, without waiting; stale ones are refreshed meanwhile."""
        self._refresh()
        return self._keys.get(kid)

    async def get(self, kid: str) -> PyJWK:
        """The key, which an issuer that has a new one is asked for.

        Raises:
            UnknownKey: the issuer has no such key.
            IdentityProviderUnavailable: nobody can say whether it has one.
        """
        if key := self.known(kid):
            return key
        await self._fetched()
        # What was under way may have begun before the key was there. Only this fetch counts for
        # the cooldown: a scheduled one must not hide a new key.
        if kid not in self._keys and self._healthy and self._clock() >= self._may_ask:
            self._may_ask = self._clock() + self._pace.cooldown
            self._start()
        await self._fetched()
        if key := self._keys.get(kid):
            return key
        raise UnknownKey if self._healthy else IdentityProviderUnavailable

    async def metadata(self) -> dict[str, Any]:
        """What the issuer says about itself, its endpoints among it.

        Raises:
            IdentityProviderUnavailable: it was never reached.
        """
        self._refresh()
        if self._metadata is None:
            await self._fetched()
        if self._metadata is None:
            raise IdentityProviderUnavailable
        return self._metadata

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _refresh(self) -> None:
        if self._clock() >= self._due:
            self._start()

    def _start(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetched(self) -> None:
        """Wait for the fetch that is under way; who is cancelled leaves it to the others."""
        if self._fetching:
            await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        healthy = False
        try:
            async with asyncio.timeout(self._timeout):
                metadata = await self._discover()
                keys = _usable(await self._document(metadata["jwks_uri"]))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            log.warning(
                "identity_provider_unavailable",
                issuer=self.issuer,
                reason=reason,
                known_keys=len(self._keys),
            )
        else:
            self._metadata = metadata
            self._replace(keys)
            healthy = True
        finally:
            self._healthy = healthy
            self._due = self._clock() + (self._pace.fresh if healthy else self._pace.retry)
            self._fetching = None

    def _replace(self, keys: dict[str, PyJWK]) -> None:
        if keys.keys() != self._keys.keys():
            log.info("signing_keys", issuer=self.issuer, keys=sorted(keys))
        # A key that has not changed stays the same object: whoever verified a token with it may
        # go on to believe that token (tokens.py).
        for kid, known in self._keys.items():
            new = keys.get(kid)
            if new and (new.key, new.algorithm_name) == (known.key, known.algorithm_name):
                keys[kid] = known
        self._keys = keys

    async def _discover(self) -> dict[str, Any]:
        url = f"{self.issuer.removesuffix('/')}/.well-known/openid-configuration"
        metadata = await self._document(url)
        # Section 4.3: otherwise one tenant of a provider could speak for another.
        if metadata.get("issuer") != self.issuer:
            raise ValueError("the metadata are of another issuer")
        endpoints = {name: metadata[name] for name in _ENDPOINTS if name in metadata}
        for name, url in {"jwks_uri": None, **endpoints}.items():
            if not isinstance(url, str) or not self._is_confidential(url):
                raise ValueError(f"{name} is not an https URL")
        return metadata

    def _is_confidential(self, url: str) -> bool:
        return is_confidential(url) and (url.startswith("https") or self.issuer.startswith("http:"))

    async def _document(self, url: str) -> dict[str, Any]:
        # Uncompressed, since a few compressed bytes can become very many.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", url, headers=headers) as answer:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > MAX_SIZE:
                    raise ValueError("the document is too large")
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("the document is not an object")
        return document


def _usable(jwks: dict[str, Any]) -> dict[str, PyJWK]:
    if not isinstance(jwks.get("keys"), list):
        raise ValueError("the key set has no keys")
    keys = [key for jwk in jwks["keys"] if isinstance(jwk, dict) and (key := _key(jwk))]
    return {str(key.key_id): key for key in keys}


def _key(jwk: dict[str, Any]) -> PyJWK | None:
    """The key with its one algorithm; None for those that sign no tokens of ours."""
    kid = jwk.get("kid")
    if not isinstance(kid, str) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    # A member of the wrong type, or of a size that no key has, is another error in each library.
    try:
        key = PyJWK(jwk)
        too_short = key.Algorithm.check_key_length(key.Algorithm.prepare_key(key.key))
    except (PyJWTError, NotImplementedError, TypeError, ValueError):
        return None
    return None if too_short or key.algorithm_name not in _ALGORITHMS else key
