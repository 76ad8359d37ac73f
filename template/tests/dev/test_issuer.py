"""The development issuer, over real HTTP."""

import asyncio
import base64
import hashlib
import html
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from dev import issuer as module
from dev.issuer import Issuer

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().strip("=")
REDIRECT_URI = "http://localhost:8000/docs/oauth2-redirect"
AUTHORIZATION = {
    "response_type": "code",
    "client_id": "docs",
    "redirect_uri": REDIRECT_URI,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "scope": " ".join(module.SCOPES),
    "state": "s",
}
CREDENTIALS = {"grant_type": "client_credentials", "scope": module.SCOPES[0]}
SERVICE = ("service", "dev-only")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """One that each test leaves as it was."""
    with module.running() as issuer:
        yield issuer


@pytest.fixture
def own_issuer() -> Iterator[Issuer]:
    with module.running() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def browser(issuer: Issuer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=issuer.url) as browser:
        yield browser


def changed(given: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in (given | changes).items() if value is not None}


def authorize(browser: httpx.Client, **changes: str | None) -> httpx.Response:
    return browser.get("/authorize", params=changed(AUTHORIZATION, changes))


def pick(browser: httpx.Client, persona: str = "ada", /, **changes: str | None) -> dict[str, str]:
    """What a redirect brings back."""
    query = urlencode(changed(AUTHORIZATION, changes))
    response = browser.post(f"/authorize?{query}", data={"persona": persona})
    assert response.status_code == 303
    return dict(parse_qsl(urlsplit(response.headers["Location"]).query, keep_blank_values=True))


def redeem(browser: httpx.Client, code: str, /, **changes: str | None) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": "docs",
        "redirect_uri": REDIRECT_URI,
        "code": code,
        "code_verifier": VERIFIER,
    }
    return browser.post("/token", data=changed(form, changes))


def published(browser: httpx.Client) -> dict[str, jwt.PyJWK]:
    keys = jwt.PyJWKSet.from_dict(browser.get("/jwks").json()).keys
    return {str(key.key_id): key for key in keys}


def verified(browser: httpx.Client, token: str) -> dict[str, Any]:
    key = published(browser)[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=module.AUDIENCE)
    return claims


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_discovery_names_this_issuer_and_endpoints_that_exist(
    issuer: Issuer, browser: httpx.Client
) -> None:
    configuration = browser.get("/.well-known/openid-configuration").json()

    assert configuration["issuer"] == issuer.url
    for endpoint in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        assert browser.get(configuration[endpoint]).status_code != 404


def test_published_keys_are_public(browser: httpx.Client) -> None:
    (key,) = browser.get("/jwks").json()["keys"]

    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(key)
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) * 8 == 2048


@pytest.mark.parametrize(
    ("persona", "roles"), [("ada", ["writer"]), ("bob", ["reader"]), ("eve", [])]
)
def test_a_persona_logs_in_by_code_and_pkce(
    issuer: Issuer, browser: httpx.Client, persona: str, roles: list[str]
) -> None:
    answer = pick(browser, persona)
    response = redeem(browser, answer["code"])
    claims = verified(browser, response.json()["access_token"])

    assert (answer["state"], answer["iss"]) == ("s", issuer.url)
    assert response.headers["Cache-Control"] == "no-store"
    assert (claims["sub"], claims["roles"], claims["client_id"]) == (persona, roles, "docs")
    assert claims["scope"] == response.json()["scope"] == AUTHORIZATION["scope"]


def test_a_token_has_the_profile_of_rfc_9068(issuer: Issuer, browser: httpx.Client) -> None:
    token = issuer.token()
    claims = verified(browser, token)

    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert {"iss", "sub", "aud", "exp", "iat", "jti", "client_id"} <= set(claims)
    assert claims["iss"] == issuer.url


def test_a_token_says_whatever_a_test_wants(issuer: Issuer) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = issuer.token(
        "x", [], [], iss=["wrong"], exp=None, header={"kid": None, "typ": None}, key=stranger
    )
    claims = jwt.decode(token, stranger.public_key(), ["RS256"], {"verify_aud": False})

    assert jwt.get_unverified_header(token) == {"alg": "RS256"}
    assert (claims["sub"], claims["roles"], claims["scope"]) == ("x", [], "")
    assert claims["iss"] == ["wrong"]
    assert "exp" not in claims


def test_a_rotated_key_stays_published_until_it_retires(own_issuer: Issuer) -> None:
    with httpx.Client(base_url=own_issuer.url) as browser:
        first = own_issuer.token()
        own_issuer.rotate(retire=False)
        second = own_issuer.token()
        assert verified(browser, first)["sub"] == verified(browser, second)["sub"] == "ada"
        assert len(published(browser)) == 2

        own_issuer.rotate()
        assert list(published(browser)) == [jwt.get_unverified_header(own_issuer.token())["kid"]]


def test_the_page_offers_each_persona_and_runs_nothing(browser: httpx.Client) -> None:
    page = authorize(browser)

    assert page.status_code == 200
    for persona in module.PERSONAS:
        assert f'value="{persona}"' in page.text
    assert "<form" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("parameter", ["state", "redirect_uri", "scope", "nonce"])
def test_the_page_repeats_no_markup(browser: httpx.Client, parameter: str) -> None:
    markup = "\"'><script>alert(1)</script>"
    given = f"{REDIRECT_URI}?{markup}" if parameter == "redirect_uri" else markup
    response = authorize(browser, **{parameter: given})

    assert "<script" not in response.text
    assert parameter != "redirect_uri" or given in html.unescape(response.text)


@pytest.mark.parametrize("state", ["", "a+b c&d=e%20/?#", "\"'><script>", "ä€🙂", "x" * 2000])
def test_the_state_comes_back_exactly(browser: httpx.Client, state: str) -> None:
    assert pick(browser, state=state)["state"] == state


def test_no_state_comes_back_where_none_was_given(browser: httpx.Client) -> None:
    assert "state" not in pick(browser, state=None)


def test_an_answer_joins_a_query_that_is_there(browser: httpx.Client) -> None:
    answer = pick(browser, redirect_uri=f"{REDIRECT_URI}?a=b")

    assert answer["a"] == "b"
    assert answer["code"]


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:1/x?y=z",
        "http://[::1]:8000/",
        "http://localhost:3000",
    ],
)
def test_any_port_of_this_machine_may_be_redirected_to(
    browser: httpx.Client, redirect_uri: str
) -> None:
    assert authorize(browser, redirect_uri=redirect_uri).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "/docs",
        "https://evil.example/",
        "http://evil.example/",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://localhost:80@evil.example/",
        "http://evil.example\\@localhost/",
        "http://localhost\\.evil.example/",
        "http://localhost:8000evil.example/",
        "http://localhost/#fragment",
        "http://localhost/\r\nX: y",
        "//localhost/",
        "javascript:alert(1)//http://localhost/",
    ],
)
def test_a_redirect_anywhere_else_is_refused_without_one(
    browser: httpx.Client, redirect_uri: str | None
) -> None:
    response = authorize(browser, redirect_uri=redirect_uri)

    assert refusal(response) == (400, "invalid_request")
    assert "Location" not in response.headers


@pytest.mark.parametrize("client_id", [None, "", "service", "unknown"])
def test_only_the_public_client_logs_people_in(
    browser: httpx.Client, client_id: str | None
) -> None:
    assert refusal(authorize(browser, client_id=client_id)) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("unsupported_response_type", {"response_type": None}),
        ("unsupported_response_type", {"response_type": "token"}),
        ("invalid_request", {"code_challenge": None}),
        ("invalid_request", {"code_challenge": "short"}),
        ("invalid_request", {"code_challenge_method": None}),
        ("invalid_request", {"code_challenge_method": "plain"}),
        ("invalid_scope", {"scope": 'a"b'}),
        ("invalid_scope", {"scope": "a  b"}),
    ],
)
def test_a_request_without_s256_or_otherwise_wrong_is_told_to_the_client(
    browser: httpx.Client, error: str, changes: dict[str, str | None]
) -> None:
    response = authorize(browser, **changes)
    answer = dict(parse_qsl(urlsplit(response.headers["Location"]).query))

    assert (answer["error"], answer["state"]) == (error, "s")
    assert pick(browser, **changes)["error"] == error


def test_nobody_logs_in_as_an_unknown_persona(browser: httpx.Client) -> None:
    assert pick(browser, "root")["error"] == "access_denied"


def test_what_is_picked_changes_nothing_else(browser: httpx.Client) -> None:
    response = browser.post(
        "/authorize", params=AUTHORIZATION, data={"persona": "bob", "scope": "admin"}
    )
    (code,) = parse_qs(urlsplit(response.headers["Location"]).query)["code"]

    assert redeem(browser, code).json()["scope"] == AUTHORIZATION["scope"]


def test_a_repeated_parameter_is_refused(browser: httpx.Client) -> None:
    query = urlencode(AUTHORIZATION) + "&redirect_uri=http://localhost/"

    assert refusal(browser.get(f"/authorize?{query}")) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("invalid_grant", {"code": None}),
        ("invalid_grant", {"code": "unknown"}),
        ("invalid_grant", {"code_verifier": None}),
        ("invalid_grant", {"code_verifier": "w" * 43}),
        ("invalid_grant", {"code_verifier": CHALLENGE}),
        ("invalid_grant", {"redirect_uri": None}),
        ("invalid_grant", {"redirect_uri": "http://localhost:8001/docs/oauth2-redirect"}),
        ("invalid_client", {"client_id": None}),
        ("invalid_client", {"client_id": "unknown"}),
        ("invalid_client", {"client_secret": "any"}),
        ("unauthorized_client", {"client_id": "service", "client_secret": "dev-only"}),
        ("unauthorized_client", {"grant_type": "client_credentials"}),
        ("unsupported_grant_type", {"grant_type": None}),
        ("unsupported_grant_type", {"grant_type": "password"}),
    ],
)
def test_a_code_is_bound_to_client_redirect_and_verifier(
    browser: httpx.Client, error: str, changes: dict[str, str | None]
) -> None:
    response = redeem(browser, pick(browser)["code"], **changes)

    assert refusal(response) == (401 if error == "invalid_client" else 400, error)
    assert response.headers["Cache-Control"] == "no-store"


def test_a_code_works_once(browser: httpx.Client) -> None:
    code = pick(browser)["code"]

    assert redeem(browser, code).status_code == 200
    assert refusal(redeem(browser, code)) == (400, "invalid_grant")


def test_a_code_that_was_guessed_at_is_gone(browser: httpx.Client) -> None:
    code = pick(browser)["code"]
    redeem(browser, code, code_verifier="w" * 43)

    assert refusal(redeem(browser, code)) == (400, "invalid_grant")


def test_a_code_expires(own_issuer: Issuer) -> None:
    assert own_issuer.code_seconds <= 60
    own_issuer.code_seconds = 0

    with httpx.Client(base_url=own_issuer.url) as browser:
        assert refusal(redeem(browser, pick(browser)["code"])) == (400, "invalid_grant")


def test_a_service_gets_a_token_by_its_secret(browser: httpx.Client) -> None:
    by_basic = browser.post("/token", data=CREDENTIALS, auth=SERVICE)
    in_form = browser.post(
        "/token", data=CREDENTIALS | dict(zip(("client_id", "client_secret"), SERVICE, strict=True))
    )

    for response in (by_basic, in_form):
        claims = verified(browser, response.json()["access_token"])
        assert (claims["sub"], claims["scope"]) == ("service", module.SCOPES[0])
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("scope", [{}, {"scope": "api://dev/.default"}])
def test_a_service_that_names_no_scope_gets_all(
    browser: httpx.Client, scope: dict[str, str]
) -> None:
    form = {"grant_type": "client_credentials", **scope}

    response = browser.post("/token", data=form, auth=SERVICE)
    assert response.json()["scope"].split() == list(module.SCOPES)


@pytest.mark.parametrize(
    "authorization",
    [
        httpx.BasicAuth("service", "wrong"),
        httpx.BasicAuth("service", ""),
        httpx.BasicAuth("", ""),
        httpx.BasicAuth("unknown", "dev-only"),
    ],
)
def test_a_wrong_secret_is_refused(browser: httpx.Client, authorization: httpx.BasicAuth) -> None:
    response = browser.post("/token", data=CREDENTIALS, auth=authorization)

    assert refusal(response) == (401, "invalid_client")
    assert response.headers["WWW-Authenticate"] == "Basic"


def test_malformed_credentials_are_refused(browser: httpx.Client) -> None:
    for credentials in ("a", "/w=="):
        response = browser.post(
            "/token", data=CREDENTIALS, headers={"Authorization": f"Basic {credentials}"}
        )
        assert refusal(response) == (401, "invalid_client")


def test_a_client_authenticates_itself_once(browser: httpx.Client) -> None:
    form = CREDENTIALS | {"client_secret": "dev-only"}

    response = browser.post("/token", data=form, auth=SERVICE)
    assert refusal(response) == (400, "invalid_request")


def test_the_public_client_gets_nothing_without_a_person(browser: httpx.Client) -> None:
    response = browser.post("/token", data=CREDENTIALS | {"client_id": "docs"})

    assert refusal(response) == (400, "unauthorized_client")


def test_a_scope_that_nobody_knows_is_named(browser: httpx.Client) -> None:
    form = CREDENTIALS | {"scope": "nobody:knows"}
    response = browser.post("/token", data=form, auth=SERVICE)
    assert refusal(response) == (400, "invalid_scope")
    assert response.json()["error_description"].startswith("nobody:knows: not in SCOPES of dev/")


def test_a_malformed_scope_is_refused(browser: httpx.Client) -> None:
    form = CREDENTIALS | {"scope": 'a"b'}

    assert refusal(browser.post("/token", data=form, auth=SERVICE)) == (400, "invalid_scope")


@pytest.mark.parametrize(
    "origin", ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"]
)
def test_pages_of_this_machine_may_fetch_tokens(browser: httpx.Client, origin: str) -> None:
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-requested-with",
    }
    assert browser.options("/token", headers=preflight).status_code == 200
    response = browser.post("/token", headers={"Origin": origin})
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost.evil.example", "https://localhost"]
)
def test_no_other_page_may_read_a_token(browser: httpx.Client, origin: str) -> None:
    response = browser.post("/token", data=CREDENTIALS, auth=SERVICE, headers={"Origin": origin})

    assert "Access-Control-Allow-Origin" not in response.headers
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert browser.options("/token", headers=preflight).status_code == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", ""]
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/authorize"])
def test_another_name_for_this_machine_is_refused(
    browser: httpx.Client, host: str, path: str
) -> None:
    response = browser.get(path, params=AUTHORIZATION, headers={"Host": host})

    assert (response.status_code, response.text) == (400, "Invalid host header")


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "10.0.0.1", "localhost", "::", ""])
def test_it_refuses_to_run_where_others_could_reach_it(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"), module.running(address=address):
        pass


def test_it_takes_the_port_it_is_given_and_gives_it_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    for _ in range(2):
        with module.running(port) as issuer:
            assert issuer.url == f"http://127.0.0.1:{port}"
            assert httpx.get(f"{issuer.url}/jwks").status_code == 200


def test_two_issuers_are_two(browser: httpx.Client) -> None:
    with module.running() as other:
        assert jwt.get_unverified_header(other.token())["kid"] not in published(browser)


async def test_it_answers_while_the_callers_event_loop_waits(issuer: Issuer) -> None:
    async with httpx.AsyncClient(base_url=issuer.url) as client:
        answers = await asyncio.gather(*(client.get("/jwks") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}


def test_the_environment_is_one_that_a_file_can_hold(issuer: Issuer) -> None:
    assert all(value and value == value.strip() for value in issuer.environment.values())
    assert set(json.loads(issuer.environment["OIDC_ROLES"])) == {"writer", "reader"}
