"""An issuer that can do everything wrong: faults, forgeries and odd claims, on a real socket.

Tests of what an issuer does right use ``dev/issuer.py``.
"""

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI, Response

from tests.serving import serving

AUDIENCE = "api"


@cache
def private_key(kid: str) -> Any:
    """A key of the kind that its id begins with."""
    match kid.partition("-")[0]:
        case "RS256" | "RS512" | "PS256":
            return rsa.generate_private_key(65537, 2048)
        case "RS1024":
            return rsa.generate_private_key(65537, 1024)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(kid: str, /, **changes: Any) -> dict[str, Any]:
    return _jwk(kid, private_key(kid).public_key(), changes)


def private_jwk(kid: str, /, **changes: Any) -> dict[str, Any]:
    return _jwk(kid, private_key(kid), changes)


def _jwk(kid: str, key: Any, changes: dict[str, Any]) -> dict[str, Any]:
    jwk = json.loads(jwt.get_algorithm_by_name(algorithm_of(kid)).to_jwk(key))
    return {**jwk, "kid": kid, "alg": algorithm_of(kid), "use": "sig", **changes}


def algorithm_of(kid: str) -> str:
    return kid.partition("-")[0].replace("RS1024", "RS256")


def encoded(part: bytes | Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: Any, claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token put together by hand, as no library would."""
    content = f"{encoded(header)}.{encoded(claims)}"
    return f"{content}.{encoded(sign(content.encode()))}"


class Provider:
    """Its attributes are what it does wrong, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.hanging: asyncio.Event | None = None
        self.reset()

    def reset(self) -> None:
        """Do everything right again, and forget."""
        self.go_on()
        self.keys: Any = [public_jwk("RS256-1")]
        self.metadata: dict[str, Any] = {}
        self.answer: Response | None = None
        self.discoveries = self.fetches = 0

    def hang(self) -> None:
        self.hanging = asyncio.Event()

    def go_on(self) -> None:
        if self.hanging:
            self.hanging.set()
        self.hanging = None

    def header(self, kid: str = "RS256-1", /, **changes: Any) -> dict[str, Any]:
        header = {"typ": "at+jwt", "alg": algorithm_of(kid), "kid": kid, **changes}
        return {name: value for name, value in header.items() if value is not None}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "ada",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "client_id": "client",
            "scope": "notes:read notes:write",
            "roles": ["writer"],
            **changes,
        }
        return {
            name: now + int(value.total_seconds()) if isinstance(value, timedelta) else value
            for name, value in claims.items()
            if value is not None
        }

    def token(self, kid: str = "RS256-1", *, typ: Any = "at+jwt", **claims: Any) -> str:
        """A token as it should be, but for these claims.

        None leaves one out; a timedelta is a time from now.
        """
        algorithm = jwt.get_algorithm_by_name(algorithm_of(kid))
        key = private_key(kid)
        return signed(
            self.header(kid, typ=typ), self.claims(**claims), lambda c: algorithm.sign(c, key)
        )

    @property
    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        async def discovery() -> Any:
            self.discoveries += 1
            if self.hanging:
                await self.hanging.wait()
            return self.answer or {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                **self.metadata,
            }

        @app.get("/jwks")
        async def jwks() -> Any:
            self.fetches += 1
            return {"keys": self.keys}

        return app

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Provider"]:
        async with serving(self.app) as self.url:
            yield self
            self.go_on()
