"""Access tokens: verified, they become principals (RFC 9068, section 4; RFC 8725)."""

import hashlib
import json
import re
import ssl
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import httpx
import jwt

from .keys import PACE, Keys, Pace, UnknownKey
from .principal import ROLES, Principal
from .problems import InvalidToken, NoRole
from .settings import IdentitySettings, Issuer, Role

MAX_SIZE = 16 * 1024
"""Bytes of a token; with hundreds of groups in it, one has about ten thousand."""
REMEMBERED = 10_000
"""Verified tokens kept in mind, about a kilobyte each: to verify one again takes 0.25 ms, in which
no other request gets on; to remember it, 0.01 ms."""

# JWS compact serialisation (RFC 7515, section 7.1): neither encrypted nor nested nor padded.
_JWS = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
_NAME = re.compile(r"[ -~]{1,255}")
_END_OF_TIME = 253_402_300_800  # the year 10000, where PostgreSQL's and Python's dates still work


class _Verified(NamedTuple):
    principal: Principal
    keys: Keys
    kid: str
    key: jwt.PyJWK


class AccessTokens:
    """Judges access tokens of the issuers in the settings, and remembers those it found good.

    Args:
        settings: the issuers and their rules.
        pace: how often issuers are asked for their keys.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        *,
        pace: Pace = PACE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = httpx.AsyncClient(verify=_tls(), timeout=settings.oidc_timeout)
        self._issuers = {issuer.issuer: issuer for issuer in settings.issuers}
        self._keys = {
            name: Keys(name, self._client, settings.oidc_timeout, pace) for name in self._issuers
        }
        self._main = settings.oidc_issuer
        self._prefixes = tuple(issuer.subject_prefix for issuer in settings.oidc_other_issuers)
        self._roles = settings.oidc_roles
        self._leeway = settings.oidc_leeway
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """The principal that a valid access token speaks of.

        Raises:
            InvalidToken: it is not valid, or not for us.
            NoRole: it is valid, but gives no role.
            IdentityProviderUnavailable: its issuer's keys are not known and cannot be had.
        """
        if len(token) > MAX_SIZE:
            raise InvalidToken("The access token is malformed")
        digest = hashlib.sha256(token.encode()).digest()
        if verified := self._remembered(digest):
            return verified.principal
        if not _JWS.fullmatch(token):
            raise InvalidToken("The access token is malformed")
        verified = await self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return verified.principal

    async def metadata(self) -> dict[str, Any]:
        """What the main issuer says about itself: its endpoints, what it supports.

        Raises:
            IdentityProviderUnavailable: it was never reached.
        """
        return await self._keys[self._main].metadata()

    async def close(self) -> None:
        """Stop asking issuers."""
        for keys in self._keys.values():
            await keys.close()
        await self._client.aclose()

    def _remembered(self, digest: bytes) -> _Verified | None:
        """What was verified before, provided that time and the issuer's keys still agree."""
        if verified := self._verified.get(digest):
            good = verified.principal.expires + self._leeway > self._clock()
            if good and verified.keys.known(verified.kid) is verified.key:
                self._verified.move_to_end(digest)
                return verified
            del self._verified[digest]
        return None

    async def _verify(self, token: str) -> _Verified:
        header, claims = _unverified(token)
        name, kid = claims.get("iss"), header.get("kid")
        if not isinstance(name, str) or name not in self._issuers:
            raise InvalidToken("The issuer of the access token is not known")
        issuer, keys = self._issuers[name], self._keys[name]
        if "crit" in header:  # RFC 7515, section 4.1.11: we understand no extension
            raise InvalidToken("The access token needs an extension that is not supported")
        if not _is_accepted(header.get("typ", ""), issuer.token_types):
            raise InvalidToken("The type of the token is not accepted")
        if not isinstance(kid, str):
            raise InvalidToken("The access token names no key")
        try:
            key = await keys.get(kid)
        except UnknownKey:
            raise InvalidToken("The key of the access token is not known") from None
        claims = self._decoded(token, key, issuer)
        return _Verified(self._principal(issuer, claims), keys, kid, key)

    def _decoded(self, token: str, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=self._leeway,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(_reason(error)) from None
        # PyJWT takes true, "1" and 1.5 for times as well.
        times = [claims[name] for name in ("exp", "iat", "nbf") if name in claims]
        if not all(type(t) is int and 0 <= t < _END_OF_TIME for t in times):
            raise InvalidToken("A time in the access token is malformed")
        if "cnf" in claims:  # RFC 7800: whoever carries it must also prove to have a key
            raise InvalidToken("The access token is bound to a key, and not a bearer token")
        if issuer.marker and not _is_marked(claims, issuer.marker):
            raise InvalidToken("The token is not an access token")
        return claims

    def _principal(self, issuer: Issuer, claims: Mapping[str, Any]) -> Principal:
        subject = _name(claims["sub"] and issuer.subject_prefix + claims["sub"])
        if not issuer.subject_prefix and subject.startswith(self._prefixes):
            raise InvalidToken("The subject of the access token belongs to another issuer")
        tenant = self._tenant(issuer, claims) if issuer.tenant_claim else ""
        roles = _values(_claim(claims, issuer.roles_claim))
        return Principal(
            issuer=issuer.issuer,
            subject=subject,
            scopes=_scopes(claims, issuer.scope_claim),
            roles=roles,
            tenant=tenant,
            role=self._role(roles),
            expires=claims["exp"],
        )

    def _tenant(self, issuer: Issuer, claims: Mapping[str, Any]) -> str:
        tenant = _name(issuer.subject_prefix + _name(_claim(claims, issuer.tenant_claim)))
        if not issuer.subject_prefix and tenant.startswith(self._prefixes):
            raise InvalidToken("The tenant of the access token belongs to another issuer")
        return tenant

    def _role(self, values: frozenset[str]) -> Role:
        given = {self._roles[value] for value in values if value in self._roles}
        for role in ROLES:
            if role in given:
                return role
        raise NoRole


@cache
def _tls() -> ssl.SSLContext:
    """Whom TLS trusts. Reading all the certificates takes 40 ms, so once is enough."""
    return httpx.create_ssl_context()


def _unverified(token: str) -> list[dict[str, Any]]:
    """Header and claims, to find out whom to ask for the key."""
    try:
        parts = [json.loads(urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2]]
    except (ValueError, RecursionError):
        raise InvalidToken("The access token is malformed") from None
    if not all(isinstance(part, dict) for part in parts):
        raise InvalidToken("The access token is malformed")
    return parts


def _reason(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "The access token has expired"
        case jwt.ImmatureSignatureError():
            return "The access token is not valid yet"
        case jwt.InvalidAudienceError():
            return "The access token is for another audience"
        case jwt.MissingRequiredClaimError():
            return f"The access token lacks the claim {error.claim}"
        case jwt.InvalidSignatureError() | jwt.InvalidAlgorithmError():
            return "The signature of the access token is not valid"
        case _:
            return "The access token is malformed"


def _is_accepted(typ: object, accepted: Sequence[str]) -> bool:
    # RFC 7515, section 4.1.9: a media type, in which the case and "application/" do not count.
    return isinstance(typ, str) and _short(typ) in map(_short, accepted)


def _short(typ: str) -> str:
    return typ.lower().removeprefix("application/")


def _is_marked(claims: Mapping[str, Any], marker: str) -> bool:
    names, _, value = marker.partition("=")
    found = _claim(claims, names)
    return bool(found == value if value else found)


def _claim(claims: Mapping[str, Any], names: str) -> Any:
    """What a setting points to: a name first as it is (some are URLs), then as a path."""
    for name in names.split("|"):
        for path in ([name], name.split(".")):
            value: Any = claims
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                return value
    return None


def _values(claim: Any) -> frozenset[str]:
    """The strings in a claim that is one, or a list; whatever else it is gives nothing."""
    listed = claim if isinstance(claim, list) else [claim]
    return frozenset(value for value in listed if isinstance(value, str) and value)


def _scopes(claims: Mapping[str, Any], names: str) -> frozenset[str] | None:
    if not names:
        return None
    claim = _claim(claims, names)
    # RFC 9068, section 2.2.3: a string with spaces between them; some issuers write a list.
    return _values(claim.split(" ") if isinstance(claim, str) else claim)


def _name(claim: Any) -> str:
    if not isinstance(claim, str) or not _NAME.fullmatch(claim):
        raise InvalidToken("The subject or tenant of the access token is missing or malformed")
    return claim
