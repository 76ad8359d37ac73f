"""Tokens that no service may accept, and the reason that each refusal must give.

A reason, because a token that is refused for another one than it was made for proves nothing.
"""

import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.product.provider import AUDIENCE, OTHER_AUDIENCE, Key, Provider, encoded

MALFORMED = "The access token is malformed"
NOT_SIGNED = "The signature of the access token is not valid"
UNKNOWN_KEY = "The key of the access token is not known"
UNKNOWN_ISSUER = "The issuer of the access token is not known"
OTHER = "The access token is for another audience"
EXPIRED = "The access token has expired"
TOO_EARLY = "The access token is not valid yet"
TIME = "A time in the access token is malformed"
SUBJECT = "The subject or tenant of the access token is missing or malformed"

FORGED_KEYS = "/forged-keys"

Forge = Callable[[Provider], str]


def _parts(provider: Provider, **header: Any) -> tuple[str, str, str]:
    head, claims, signature = provider.token(header=header).split(".")
    return head, claims, signature


def _unsigned(provider: Provider, **header: Any) -> str:
    return ".".join(_parts(provider, **header)[:2])


def _with_secret(provider: Provider, secret: bytes, **header: Any) -> str:
    """Signed symmetrically, with what everybody can know."""
    content = _unsigned(provider, alg="HS256", **header)
    return f"{content}.{encoded(hmac.digest(secret, content.encode(), 'sha256'))}"


def _pem(provider: Provider) -> bytes:
    public = provider.keys[0].private.public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _with_algorithm(provider: Provider, name: str) -> str:
    """By the right key, but not as it is meant to be used."""
    content = _unsigned(provider, alg=name)
    signature = jwt.get_algorithm_by_name(name).sign(content.encode(), provider.keys[0].private)
    return f"{content}.{encoded(signature)}"


def _by_stranger(provider: Provider, algorithm: str = "RS256", **header: Any) -> str:
    """By the forger's own key, under the provider's key id unless the header says otherwise."""
    return provider.token(key=Key(algorithm), header={"kid": provider.keys[0].kid, **header})


def _own_jwk(provider: Provider) -> str:
    key = Key("RS256")
    return provider.token(key=key, header={"kid": None, "jwk": key.jwk(public=True)})


def _with_signature(provider: Provider, change: Callable[[bytes], bytes]) -> str:
    head, claims, signature = _parts(provider)
    return f"{head}.{claims}.{encoded(change(jwt.utils.base64url_decode(signature)))}"


def _other_claims(provider: Provider) -> str:
    head, _, signature = _parts(provider)
    claims = provider.token(sub="somebody-else").split(".")[1]
    return f"{head}.{claims}.{signature}"


FORGED: dict[str, tuple[Forge, str]] = {
    "alg none, no signature": (lambda p: f"{_unsigned(p, alg='none')}.", MALFORMED),
    "alg none, some signature": (lambda p: f"{_unsigned(p, alg='none')}.AAAA", NOT_SIGNED),
    "alg nOnE": (lambda p: f"{_unsigned(p, alg='nOnE')}.AAAA", NOT_SIGNED),
    "no alg": (lambda p: f"{_unsigned(p, alg=None)}.AAAA", NOT_SIGNED),
    "public key in PEM as a shared secret": (lambda p: _with_secret(p, _pem(p)), NOT_SIGNED),
    "public key in JSON as a shared secret": (
        lambda p: _with_secret(p, json.dumps(p.keys[0].jwk(public=True)).encode()),
        NOT_SIGNED,
    ),
    "empty file as a shared secret": (
        lambda p: _with_secret(p, b"", kid="../../../../dev/null"),
        UNKNOWN_KEY,
    ),
    "no signature": (_unsigned, MALFORMED),
    "truncated signature": (lambda p: _with_signature(p, lambda s: s[:-1]), NOT_SIGNED),
    "one bit of the signature": (
        lambda p: _with_signature(p, lambda s: s[:-1] + bytes([s[-1] ^ 1])),
        NOT_SIGNED,
    ),
    "other claims under a good signature": (_other_claims, NOT_SIGNED),
    "stranger's key under a known id": (_by_stranger, NOT_SIGNED),
    "stranger's key under its own id": (lambda p: p.token(key=Key("RS256")), UNKNOWN_KEY),
    "stranger's key of another type": (lambda p: _by_stranger(p, "ES256"), NOT_SIGNED),
    "stranger's key in the token": (_own_jwk, "The access token names no key"),
    "stranger's key at an address in the token": (
        lambda p: _by_stranger(p, jku=p.url + FORGED_KEYS, x5u=p.url + FORGED_KEYS),
        NOT_SIGNED,
    ),
    "elliptic signature of zeros": (
        lambda p: f"{_unsigned(p, alg='ES256', kid=p.keys[1].kid)}.{encoded(bytes(64))}",
        NOT_SIGNED,
    ),
    "right key, other padding": (lambda p: _with_algorithm(p, "PS256"), NOT_SIGNED),
    "right key, other hash": (lambda p: _with_algorithm(p, "RS512"), NOT_SIGNED),
    "critical extension": (
        lambda p: p.token(header={"crit": ["must"], "must": secrets.token_hex()}),
        "The access token needs an extension that is not supported",
    ),
}

# Signed by the provider's own key.
WRONG_CLAIMS: dict[str, tuple[Callable[[Provider], dict[str, Any]], str]] = {
    "another issuer": (lambda _: {"iss": "https://issuer.example"}, UNKNOWN_ISSUER),
    "nearly the issuer": (lambda p: {"iss": f"{p.url}/"}, UNKNOWN_ISSUER),
    "no issuer": (lambda _: {"iss": None}, UNKNOWN_ISSUER),
    "another audience": (lambda _: {"aud": [OTHER_AUDIENCE, f"{AUDIENCE}/"]}, OTHER),
    "no audience": (lambda _: {"aud": None}, "The access token lacks the claim aud"),
    "expired": (lambda _: {"exp": int(time.time()) - 60}, EXPIRED),
    "no expiry": (lambda _: {"exp": None}, "The access token lacks the claim exp"),
    "expiry that is text": (lambda _: {"exp": str(int(time.time()) + 600)}, TIME),
    "not valid yet": (lambda _: {"nbf": int(time.time()) + 60}, TOO_EARLY),
    "issued in the future": (lambda _: {"iat": int(time.time()) + 60}, TOO_EARLY),
    "no time of issue": (lambda _: {"iat": None}, "The access token lacks the claim iat"),
    "no subject": (lambda _: {"sub": None}, "The access token lacks the claim sub"),
    "subject that looks like another": (lambda _: {"sub": "\u0430d\u0430"}, SUBJECT),
    "bound to a key": (
        lambda _: {"cnf": {"jkt": secrets.token_urlsafe(32)}},
        "The access token is bound to a key, and not a bearer token",
    ),
}
