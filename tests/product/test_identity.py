"""The rendered service and an OpenID provider that is not ours, strict and certified."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path

import httpx
import jwt
import pytest

from tests.product import provider as providers
from tests.product.conftest import Service
from tests.product.forgeries import FORGED, FORGED_KEYS, UNKNOWN_KEY, WRONG_CLAIMS
from tests.product.processes import running
from tests.product.provider import OTHER_AUDIENCE, SCOPES, Key, Provider

pytestmark = [pytest.mark.larger, pytest.mark.xdist_group("identity")]

COOLDOWN = 10  # Pace.cooldown of identity/keys.py, in seconds
POSTGRES = """
from dev import postgres
with postgres.running() as server:
    print("server", server.url(), "", flush=True)
    input(), input()  # until nobody holds the other end
"""

Serve = Callable[[Provider], AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def serve(reachable_service: Service) -> Iterator[Serve]:
    """Serves, in a process of its own, on one database for all of them."""
    service, bin_ = reachable_service, reachable_service.path / ".venv/bin"
    with running(
        bin_ / "python", "-c", POSTGRES, cwd=service.path, ready=r"server (\S+) "
    ) as postgres:
        owner = postgres.said
        urls = {
            "DATABASE_OWNER_URL": owner,
            "DATABASE_URL": owner.replace("postgres@", "my_service_app@"),
        }
        nobody = {"OIDC_ISSUER": "http://127.0.0.1:9", "OIDC_AUDIENCE": "nobody"}
        for command in ("roles", "upgrade"):
            service.run("uv", "run", "my-service", "db", command, **urls, **nobody)

        @contextmanager
        def serve(provider: Provider) -> Iterator[httpx.Client]:
            environment = urls | provider.environment
            command = (bin_ / "my-service", "serve", "--port", "0")
            ready = r"running on (http://[\d.]+:\d+)"
            with (
                running(*command, cwd=service.path, ready=ready, **environment) as server,
                httpx.Client(base_url=server.said, timeout=10) as client,
            ):
                yield client

        yield serve


@pytest.fixture(scope="module")
def provider(npm_provider: Path) -> Iterator[Provider]:
    with providers.serving(npm_provider) as provider:
        yield provider


@pytest.fixture(scope="module")
def api(serve: Serve, provider: Provider) -> Iterator[httpx.Client]:
    with serve(provider) as client:
        yield client


@pytest.fixture
def own(npm_provider: Path, serve: Serve) -> Iterator[tuple[Provider, httpx.Client]]:
    """A provider and a service, which has just fetched its keys, for one test."""
    with providers.serving(npm_provider) as provider, serve(provider) as api:
        assert notes(api, provider.token()).status_code == 200
        yield provider, api


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def notes(api: httpx.Client, token: str) -> httpx.Response:
    return api.get("/notes", headers=bearer(token))


def assert_invalid(answer: httpx.Response, reason: str) -> None:
    """RFC 6750, section 3.1: 401 with a challenge that says what is wrong."""
    assert answer.status_code == 401
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    assert answer.headers.get_list("WWW-Authenticate") == [challenge]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == reason


def eventually(answer: Callable[[], httpx.Response], status: int, seconds: float) -> float:
    """Ask until the answer has the status; how long that took."""
    begin = time.monotonic()
    while (last := answer()).status_code != status:
        assert time.monotonic() - begin < seconds, last.text
        time.sleep(0.2)
    return time.monotonic() - begin


class TestFlows:
    def test_a_person_logs_in_by_code_and_pkce(self, api: httpx.Client, provider: Provider) -> None:
        token = provider.log_in("ada")["access_token"]
        created = api.post("/notes", headers=bearer(token), json={"title": "by code"})
        assert created.status_code == 201
        assert [note["title"] for note in notes(api, token).json()["items"]] == ["by code"]

    def test_a_program_gets_a_token_on_the_command_line(
        self, api: httpx.Client, provider: Provider, reachable_service: Service
    ) -> None:
        command = ("uv", "run", "my-service", "token", *SCOPES.split())
        urls = {"DATABASE_URL": "postgresql://127.0.0.1:9/nowhere"}  # which it does not need
        printed = reachable_service.run(*command, **urls, **provider.environment)
        token = printed.splitlines()[-1]
        created = api.post("/notes", headers=bearer(token), json={"title": "by program"})
        assert created.status_code == 201
        assert [note["title"] for note in notes(api, token).json()["items"]] == ["by program"]

    def test_a_role_decides_what_a_person_may(self, api: httpx.Client, provider: Provider) -> None:
        reader = provider.log_in("bob")["access_token"]
        assert notes(api, reader).status_code == 200
        refused = api.post("/notes", headers=bearer(reader), json={"title": "by a reader"})
        assert (refused.status_code, refused.headers.get("WWW-Authenticate")) == (403, None)
        assert refused.json()["type"].endswith("#access-denied")
        no_role = notes(api, provider.log_in("eve")["access_token"])
        assert (no_role.status_code, no_role.headers.get("WWW-Authenticate")) == (403, None)
        assert no_role.json()["type"].endswith("#no-role")

    def test_a_scope_limits_what_a_client_may(self, api: httpx.Client, provider: Provider) -> None:
        token = provider.log_in("ada", scope="notes:read")["access_token"]
        assert notes(api, token).status_code == 200
        refused = api.post("/notes", headers=bearer(token), json={"title": "by a scope"})
        assert refused.status_code == 403
        challenge = 'Bearer error="insufficient_scope", scope="notes:write"'
        assert refused.headers["WWW-Authenticate"] == challenge

    def test_what_else_the_provider_issues_is_no_access_token_for_us(
        self, api: httpx.Client, provider: Provider
    ) -> None:
        both = provider.log_in("ada", scope=f"openid {SCOPES}")
        assert notes(api, both["access_token"]).status_code == 200
        assert_invalid(notes(api, both["id_token"]), "The type of the token is not accepted")
        for_another = provider.log_in("ada", resource=OTHER_AUDIENCE)["access_token"]
        assert_invalid(notes(api, for_another), "The access token is for another audience")
        opaque = provider.log_in("ada", scope="openid", resource="")["access_token"]
        assert_invalid(notes(api, opaque), "The access token is malformed")

    def test_a_request_without_a_token_is_told_so(self, api: httpx.Client) -> None:
        answer = api.get("/notes")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


class TestRefusals:
    def test_an_honest_token_made_by_the_test_is_accepted(
        self, api: httpx.Client, provider: Provider
    ) -> None:
        issued, made = provider.log_in("ada")["access_token"], provider.token()
        assert jwt.get_unverified_header(made) == jwt.get_unverified_header(issued)
        assert notes(api, made).status_code == 200
        assert notes(api, provider.token(key=provider.keys[1])).status_code == 200

    @pytest.mark.parametrize("name", FORGED)
    def test_a_forged_token_is_refused(
        self, api: httpx.Client, provider: Provider, name: str
    ) -> None:
        forge, reason = FORGED[name]
        assert_invalid(notes(api, forge(provider)), reason)
        assert provider.requests(FORGED_KEYS) == 0

    @pytest.mark.parametrize("name", WRONG_CLAIMS)
    def test_a_wrong_claim_is_refused(
        self, api: httpx.Client, provider: Provider, name: str
    ) -> None:
        wrong, reason = WRONG_CLAIMS[name]
        assert_invalid(notes(api, provider.token(**wrong(provider))), reason)

    def test_there_are_as_many_as_were_promised(self) -> None:
        assert (len(FORGED), len(WRONG_CLAIMS)) == (20, 14)


class TestKeys:
    def test_unknown_key_ids_cause_one_fetch_per_cooldown(
        self, own: tuple[Provider, httpx.Client]
    ) -> None:
        provider, api = own
        tokens = [provider.token(header={"kid": f"unknown-{number}"}) for number in range(2000)]
        before, begin = provider.requests("/jwks"), time.monotonic()
        answers = asyncio.run(_ask_at_once(str(api.base_url), tokens))
        elapsed = time.monotonic() - begin
        fetched = provider.requests("/jwks") - before
        assert answers == {(401, UNKNOWN_KEY): 2000}
        assert 1 <= fetched <= 1 + elapsed // COOLDOWN
        assert notes(api, provider.token()).status_code == 200

    def test_a_new_key_works_at_once_and_a_retired_one_until_the_next_fetch(
        self, own: tuple[Provider, httpx.Client]
    ) -> None:
        provider, api = own
        (old, *_), new = provider.keys, Key("RS256")
        before = provider.log_in("ada")["access_token"]
        assert notes(api, before).status_code == 200

        provider.rotate(new, old)
        after = provider.log_in("ada")["access_token"]
        assert jwt.get_unverified_header(after)["kid"] == new.kid
        assert notes(api, after).status_code == 200
        assert notes(api, before).status_code == 200

        provider.rotate(new)
        # Instead of five minutes, wait for the fetch that an unknown key id may cause again.
        fetched = provider.requests("/jwks")
        unknown = provider.token(key=Key("RS256"))
        begin = time.monotonic()
        while provider.requests("/jwks") == fetched:
            assert time.monotonic() - begin < COOLDOWN + 5
            assert notes(api, before).status_code == 200
            assert_invalid(notes(api, unknown), UNKNOWN_KEY)
            time.sleep(0.2)
        assert_invalid(notes(api, before), UNKNOWN_KEY)
        assert_invalid(notes(api, provider.token(key=old)), UNKNOWN_KEY)
        assert notes(api, after).status_code == 200

    def test_known_keys_outlive_the_provider(self, own: tuple[Provider, httpx.Client]) -> None:
        provider, api = own
        seen, new = provider.token(), Key("RS256")
        provider.kill()
        unknown = notes(api, provider.token(key=new))
        assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "5")
        for token in (seen, provider.token(sub="never-seen"), provider.token(key=provider.keys[1])):
            assert notes(api, token).status_code == 200
        assert api.get("/readyz").status_code == 200

        provider.keys = (new,)
        provider.start()
        eventually(lambda: notes(api, provider.token()), 200, seconds=COOLDOWN + 5)

    def test_a_start_without_the_provider_is_503_until_it_is_there(
        self, npm_provider: Path, serve: Serve
    ) -> None:
        with providers.serving(npm_provider) as provider:
            provider.kill()
            with serve(provider) as api:
                refused = notes(api, provider.token())
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
                assert re.search("#identity-provider-unavailable$", refused.json()["type"])
                assert "WWW-Authenticate" not in refused.headers
                assert api.get("/notes").status_code == 401
                assert api.get("/readyz").status_code == 200
                provider.start()
                eventually(lambda: notes(api, provider.token()), 200, seconds=10)


async def _ask_at_once(url: str, tokens: list[str], clients: int = 20) -> Counter[tuple[int, str]]:
    """How often which status and detail were answered to these tokens."""

    async def ask(some: list[str]) -> list[tuple[int, str]]:
        # One for each, since the pool of a client that many wait for is slow.
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            answers = [await client.get("/notes", headers=bearer(token)) for token in some]
        return [(answer.status_code, answer.json()["detail"]) for answer in answers]

    shares = [tokens[number::clients] for number in range(clients)]
    return Counter(chain.from_iterable(await asyncio.gather(*map(ask, shares))))
