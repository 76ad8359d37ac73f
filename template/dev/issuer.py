"""An OpenID provider for development and tests, for as long as a `with` block runs.

Anybody may log in as anybody, so nobody else may reach it: it listens on a loopback address,
answers to that name only (or a web page could point its own name here: DNS rebinding), and sends
codes to this machine only. In what it accepts it is as strict as the RFCs; it issues access tokens
(RFC 9068) and no ID tokens.
"""

import json
import logging
import re
import secrets
import socket
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from html import escape
from ipaddress import IPv4Address
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

AUDIENCE = "dev"
CLIENTS = {"docs": "", "service": "dev-only"}  # and their secrets; the first logs people in
PERSONAS: dict[str, tuple[str, ...]] = {"ada": ("writer",), "bob": ("reader",), "eve": ()}
SCOPES = ("notes:read", "notes:write")
METHODS = ("none", "client_secret_basic", "client_secret_post")
TOKEN_SECONDS = 3600

ORIGIN = r"http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?"
SYNTAX = {
    "redirect_uri": ORIGIN + r'(/[!"$-~]*)?',  # RFC 6749 3.1.2: no fragment
    "scope": r"([!#-\[\]-~]+( [!#-\[\]-~]+)*)?",  # RFC 6749 3.3
    "code_challenge": r"[A-Za-z0-9_-]{43}",  # a SHA-256 in base64url
    "code_verifier": r"[A-Za-z0-9._~-]{43,128}",  # RFC 7636 4.1
}
PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


_JWS = jwt.PyJWS()
_JWS.header_typ = ""  # no `typ` unless it is given


class Refused(Exception):
    """An error by its name in RFC 6749 4.1.2.1 or 5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.answer = {"error": error, "error_description": description}


class Issuer:
    """A running provider."""

    code_seconds: float = 60

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self._logins: dict[str, tuple[dict[str, str], float]] = {}
        self.rotate()

    def rotate(self, *, retire: bool = True) -> None:
        """Sign with a new key from now on; the old ones stay published unless they retire."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._keys = {secrets.token_urlsafe(8): key, **({} if retire else self._keys)}

    @property
    def environment(self) -> dict[str, str]:
        """What makes the service believe this issuer, whichever preset it has."""
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_AUDIENCE": AUDIENCE,
            "OIDC_TOKEN_TYPES": "at+jwt",
            "OIDC_MARKER": "none",
            "OIDC_SCOPE_CLAIM": "scope",
            "OIDC_ROLES_CLAIM": "roles",
            "OIDC_ROLES": '{"writer":"writer","reader":"reader"}',
            "OIDC_TENANT_CLAIM": "none",
            "OIDC_DOCS_CLIENT_ID": "docs",
            "OIDC_CLIENT_ID": "service",
            "OIDC_CLIENT_SECRET": CLIENTS["service"],
        }

    def token(
        self,
        subject: str = "ada",
        roles: Iterable[str] = ("writer",),
        scopes: Iterable[str] = SCOPES,
        *,
        header: Mapping[str, object] | None = None,
        key: rsa.RSAPrivateKey | None = None,
        **claims: object,
    ) -> str:
        """Sign an access token.

        Args:
            subject: Whom it speaks for.
            roles: Its claim `roles`.
            scopes: Its claim `scope`.
            header: Header parameters to change; None leaves one out.
            key: Another key to sign with, under the same `kid`.
            **claims: Claims to change; None leaves one out.
        """
        kid, own_key = next(iter(self._keys.items()))
        now = int(time.time())
        payload = {
            "iss": self.url,
            "sub": subject,
            "aud": AUDIENCE,
            "client_id": "docs",
            "exp": now + TOKEN_SECONDS,
            "iat": now,
            "nbf": now,
            "jti": secrets.token_hex(),
            "scope": " ".join(scopes),
            "roles": list(roles),
            "tenant": "dev",
            **claims,
        }
        headers = {"typ": "at+jwt", "kid": kid, **(header or {})}
        # Not jwt.encode(), which refuses what tests must be able to say.
        return _JWS.encode(
            json.dumps(_without_none(payload)).encode(),
            key or own_key,
            algorithm="RS256",
            headers=_without_none(headers),
        )

    def app(self) -> Starlette:
        """The endpoints."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, ["127.0.0.1", "localhost"], www_redirect=False),
                Middleware(
                    CORSMiddleware,
                    allow_origin_regex=ORIGIN,
                    allow_headers=["Authorization", "X-Requested-With"],  # Swagger UI's
                    allow_methods=["GET", "POST"],
                ),
            ],
            exception_handlers={Refused: _refusal},
        )

    def _configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "scopes_supported": SCOPES,
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": METHODS,
                "authorization_response_iss_parameter_supported": True,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    def _jwks(self, _: Request) -> Response:
        common = {"use": "sig", "alg": "RS256"}
        keys = [
            RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | common | {"kid": kid}
            for kid, key in self._keys.items()
        ]
        return JSONResponse({"keys": keys})

    async def _authorize(self, request: Request) -> Response:
        """RFC 6749 4.1.1: GET shows the personas, POST picks one."""
        asked = _parameters(request.scope["query_string"])
        if asked.get("client_id") != "docs":
            raise Refused("invalid_request", "client_id is not docs")
        _check(asked, "redirect_uri")  # before it may hear of anything
        try:
            _check_authorization(asked)
            if request.method == "GET":
                return _page(asked["redirect_uri"])
            answer = {"code": self._code(asked, _parameters(await request.body()))}
        except Refused as refused:
            answer = refused.answer
        answer |= {"iss": self.url}  # RFC 9207
        answer |= {"state": asked["state"]} if "state" in asked else {}
        to = asked["redirect_uri"]
        return RedirectResponse(f"{to}{'&' if '?' in to else '?'}{urlencode(answer)}", 303, PRIVATE)

    def _code(self, asked: dict[str, str], picked: dict[str, str]) -> str:
        if (persona := picked.get("persona", "")) not in PERSONAS:
            raise Refused("access_denied", "no such persona")
        code = secrets.token_urlsafe()
        self._logins[code] = asked | {"persona": persona}, time.monotonic() + self.code_seconds
        return code

    async def _token(self, request: Request) -> Response:
        """RFC 6749 4.1.3 and 4.4.2."""
        form = _parameters(await request.body())
        client = _client(request, form)
        match client, form.get("grant_type"):
            case "docs", "authorization_code":
                login = self._redeem(client, form)
                subject, scope = login["persona"], login.get("scope", "")
                roles = PERSONAS[subject]
            case "service", "client_credentials":
                _check(form, "scope", "invalid_scope")
                subject, scope = client, form.get("scope", "")
                if not scope or scope.endswith("/.default"):  # as some clients ask for all
                    scope = " ".join(SCOPES)
                if unknown := {name.rpartition("/")[2] for name in scope.split()} - {*SCOPES}:
                    told = "not in SCOPES of dev/issuer.py when `poe dev` started"
                    raise Refused("invalid_scope", f"{', '.join(sorted(unknown))}: {told}")
                roles = ("writer",)
            case _, "authorization_code" | "client_credentials":
                raise Refused("unauthorized_client", "the grant_type is another client's")
            case _:
                raise Refused("unsupported_grant_type", "grant_type is missing or unknown")
        # Some clients name the service before each scope; tokens do not.
        scope = " ".join(name.rpartition("/")[2] for name in scope.split())
        token = self.token(subject, roles, scope.split(), client_id=client)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}
        return JSONResponse(answer | {"scope": scope}, headers=PRIVATE)

    def _redeem(self, client: str, form: dict[str, str]) -> dict[str, str]:
        """What a code stands for, once, for who knows the verifier (RFC 7636 4.6)."""
        login, expiry = self._logins.pop(form.get("code", ""), ({}, 0))
        _check(form, "code_verifier", "invalid_grant")
        digest = sha256(form["code_verifier"].encode()).digest()
        bound = {
            "client_id": client,
            "redirect_uri": form.get("redirect_uri"),
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
        }
        if expiry <= time.monotonic() or not bound.items() <= login.items():
            raise Refused("invalid_grant", "the code is unknown, used, expired or not for this")
        return login


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parameters(encoded: bytes) -> dict[str, str]:
    pairs = parse_qsl(encoded.decode(errors="replace"), keep_blank_values=True)
    if len(parameters := dict(pairs)) < len(pairs):  # RFC 6749 3.1
        raise Refused("invalid_request", "a parameter is repeated")
    return parameters


def _check(parameters: dict[str, str], name: str, error: str = "invalid_request") -> None:
    if not re.fullmatch(SYNTAX[name], parameters.get(name, "")):
        raise Refused(error, f"{name} is missing or malformed")


def _check_authorization(asked: dict[str, str]) -> None:
    if asked.get("response_type") != "code":
        raise Refused("unsupported_response_type", "response_type is not code")
    if asked.get("code_challenge_method") != "S256":
        raise Refused("invalid_request", "code_challenge_method is not S256")
    _check(asked, "code_challenge")
    _check(asked, "scope", "invalid_scope")


def _client(request: Request, form: dict[str, str]) -> str:
    """The client, by Basic authentication or in the form (RFC 6749 2.3.1)."""
    client, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        if secret:
            raise Refused("invalid_request", "the client authenticates itself twice")
        try:
            name, _, password = b64decode(credentials).decode().partition(":")
        except ValueError:
            raise Refused("invalid_client", "the credentials are malformed") from None
        client, secret = unquote_plus(name), unquote_plus(password)
    if CLIENTS.get(client) != secret:
        raise Refused("invalid_client", "the client is unknown or its secret is wrong")
    return client


def _refusal(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)  # noqa: S101  (Starlette's type is wider than it calls)
    is_client = refused.answer["error"] == "invalid_client"
    challenge = {"WWW-Authenticate": "Basic"} if is_client else {}
    return JSONResponse(refused.answer, 401 if is_client else 400, PRIVATE | challenge)


def _page(redirect_uri: str) -> Response:
    buttons = "".join(
        f'<p><button name="persona" value="{escape(name)}">{escape(name)}</button> '
        f"{escape(', '.join(roles) or 'no role')}</p>"
        for name, roles in PERSONAS.items()
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><title>Log in</title><h1>Who are you?</h1>'
        # Without an action it is posted to this address, parameters included.
        f'<form method="post">{buttons}</form><p>You go back to {escape(redirect_uri)}</p></html>',
        headers=PRIVATE,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Not that the server starts and stops: a developer would take it for the service."""
    return record.threadName != __name__ or record.levelno > logging.INFO


@contextmanager
def running(port: int = 0, address: str = "127.0.0.1") -> Iterator[Issuer]:
    """Run a provider for as long as the block runs; port 0 takes a free one.

    Raises:
        ValueError: the address is not a loopback address.
    """
    if not IPv4Address(address).is_loopback:
        raise ValueError(f"{address} is no loopback address, and anybody may log in as anybody")
    with socket.create_server((address, port)) as listener:
        issuer = Issuer(f"http://{address}:{listener.getsockname()[1]}")
        options: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False}
        server = uvicorn.Server(
            uvicorn.Config(issuer.app(), timeout_graceful_shutdown=1, **options)
        )
        thread = Thread(target=server.run, args=([listener],), daemon=True, name=__name__)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        thread.start()  # the socket already queues who comes early
        try:
            yield issuer
        finally:
            server.should_exit = True
            thread.join()
