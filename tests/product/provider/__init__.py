"""A certified OpenID provider that is not ours: npm ``oidc-provider``, in a process of its own.

The test makes its keys. So it can take any token that the provider issues, and sign any other that
differs in just what the test is about.
"""

import json
import re
import secrets
import shutil
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.product.processes import Running, running

AUDIENCE = "https://my-service.example"
OTHER_AUDIENCE = "https://other-service.example"
SCOPES = "notes:read notes:write"
# A native client, as its loopback redirect URI may have any port (RFC 8252, section 7.3).
CLIENTS = [
    {
        "client_id": "docs",
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["http://127.0.0.1/docs/oauth2-redirect"],
    },
    {
        "client_id": "service",
        "client_secret": "a secret: 100%",
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
    },
]
ROLES = {"ada": ["writer"], "bob": ["reader"], "eve": ["cook"], "service": ["writer"]}


class Key:
    """A key pair to sign with."""

    def __init__(self, algorithm: str) -> None:
        self.kid = secrets.token_urlsafe(8)
        self.algorithm = algorithm
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(65537, 2048)
        )

    def jwk(self, *, public: bool = False) -> dict[str, Any]:
        key = self.private.public_key() if public else self.private
        encoded = json.loads(jwt.get_algorithm_by_name(self.algorithm).to_jwk(key))
        encoded.pop("key_ops", None)
        return {**encoded, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class Provider:
    """The provider: started, killed, started again at the same address.

    Args:
        installed: the directory with its ``node_modules``.
    """

    def __init__(self, installed: Path) -> None:
        self.installed = installed
        self.keys: tuple[Key, ...] = (Key("RS256"), Key("ES256"))
        self.url = ""
        self._process = ExitStack()
        self._running: Running | None = None

    def start(self) -> None:
        configuration = {
            "port": urlsplit(self.url).port or 0,
            "audiences": [AUDIENCE, OTHER_AUDIENCE],
            "clients": CLIENTS,
            "roles": ROLES,
            "jwks": {"keys": [key.jwk() for key in self.keys]},
        }
        self._running = self._process.enter_context(
            running(
                *("node_modules/.bin/node", "server.mjs"),
                cwd=self.installed,
                ready=r"issuer (\S+)",
                tell=json.dumps(configuration),
            )
        )
        self.url = self._running.said

    def kill(self) -> None:
        assert self._running
        self._running.kill()

    def close(self) -> None:
        self._process.close()

    def rotate(self, *keys: Key) -> None:
        """Sign with the first key from now on, publish no others than these."""
        self.keys = keys
        document = {"keys": [key.jwk() for key in keys]}
        httpx.put(f"{self.url}/control/keys", json=document).raise_for_status()

    def requests(self, path: str) -> int:
        """How often it was asked for this."""
        return int(httpx.get(f"{self.url}/control/requests").json().get(path, 0))

    @property
    def environment(self) -> dict[str, str]:
        """What docs/identity.md says to set."""
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_AUDIENCE": AUDIENCE,
            "OIDC_DOCS_CLIENT_ID": "docs",
            "OIDC_CLIENT_ID": "service",
            "OIDC_CLIENT_SECRET": str(CLIENTS[1]["client_secret"]),
        }

    @cached_property
    def metadata(self) -> dict[str, str]:
        answer = httpx.get(f"{self.url}/.well-known/openid-configuration")
        return dict(answer.raise_for_status().json())

    def log_in(self, person: str, scope: str = SCOPES, resource: str = AUDIENCE) -> dict[str, str]:
        """Authorization code with PKCE, through the provider's pages: what the client then has."""
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe()
        redirect_uri = "http://127.0.0.1:1/docs/oauth2-redirect"
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": "docs",
            "redirect_uri": redirect_uri,
            "scope": scope,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        asked |= {"resource": resource} if resource else {}
        with httpx.Client(base_url=self.url) as browser:
            answer = browser.get(self.metadata["authorization_endpoint"], params=asked)
            for _ in range(10):
                if answer.is_redirect and answer.headers["Location"].startswith(redirect_uri):
                    break
                answer = browser.send(answer.next_request or _filled_in(browser, answer, person))
            returned = parse_qs(urlsplit(answer.headers["Location"]).query)
            assert returned["state"] == [state], returned
            form = {
                "grant_type": "authorization_code",
                "client_id": "docs",
                "redirect_uri": redirect_uri,
                "code": returned["code"][0],
                "code_verifier": verifier,
            }
            tokens = browser.post(self.metadata["token_endpoint"], data=form)
        return dict(tokens.raise_for_status().json())

    def token(
        self, *, header: dict[str, Any] | None = None, key: Key | None = None, **changes: Any
    ) -> str:
        """A token as the provider signs it, but for these changes; None leaves something out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "ada",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_hex(8),
            "client_id": "docs",
            "scope": SCOPES,
            "roles": ["writer"],
            **changes,
        }
        key = key or self.keys[0]
        head = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid, **(header or {})}
        # Put together by hand, as PyJWT would refuse what tests must be able to say.
        content = ".".join(encoded(_json(part)) for part in (head, claims))
        signature = jwt.get_algorithm_by_name(key.algorithm).sign(content.encode(), key.private)
        return f"{content}.{encoded(signature)}"


def _json(part: dict[str, Any]) -> bytes:
    return json.dumps({name: v for name, v in part.items() if v is not None}).encode()


def encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _filled_in(browser: httpx.Client, page: httpx.Response, person: str) -> httpx.Request:
    """The form on a page of the provider, as this person sends it."""
    action = re.search(r'<form [^>]*action="([^"]+)"', page.text)
    prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
    assert action, page.text
    assert prompt, page.text
    form = {"prompt": prompt[1], "login": person, "password": "any"}
    return browser.build_request("POST", action[1], data=form)


def install(directory: Path) -> Path:
    """Install the provider into a directory, with a Node.js that it supports."""
    for name in ("package.json", "server.mjs"):
        shutil.copy(Path(__file__).with_name(name), directory)
    command = ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@contextmanager
def serving(installed: Path) -> Iterator[Provider]:
    """A provider that has been started."""
    provider = Provider(installed)
    try:
        provider.start()
        yield provider
    finally:
        provider.close()
