"""A person, a real browser, Swagger UI: no token is ever copied by hand."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.product import provider as providers
from tests.product.conftest import Service
from tests.product.processes import running

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.larger, pytest.mark.xdist_group("identity")]

DEV = ("uv", "run", "poe", "dev", "--port", "0")
READY = r"(http://127\.0\.0\.1:\d+)/docs[\s\S]*startup complete"


@pytest.fixture
def page() -> Iterator["Page"]:
    """A page in the system's Chromium, which finds nothing but this machine."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "apt-get install chromium"
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page()
        page.set_default_timeout(15_000)
        yield page
        browser.close()


@pytest.fixture
def hosts(page: "Page") -> set[str | None]:
    """Which hosts the browser asked for something, whichever of its windows did."""
    found: set[str | None] = set()
    page.context.on("request", lambda request: found.add(urlsplit(request.url).hostname))
    return found


def popup(page: "Page", url: str) -> "Page":
    """The window in which the provider asks who one is."""
    page.goto(f"{url}/docs")
    page.locator(".scheme-container .authorize").click()
    with page.expect_popup() as opened:
        page.locator(".dialog-ux").get_by_role("button", name="Apply given OAuth2").click()
    return opened.value


def back(page: "Page") -> None:
    dialog = page.locator(".dialog-ux")
    dialog.get_by_role("button", name="Remove authorization").wait_for()
    dialog.locator(".btn-done").click()


def execute(page: "Page", operation: str, body: str = "") -> "Locator":
    """Try a path operation out: the row with the answer."""
    block = page.locator(f"#operations-notes-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    if body:
        block.locator(".body-param__text").fill(body)
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table tr.response")
    answer.wait_for()
    return answer


def assert_notes_can_be_used(page: "Page", title: str) -> None:
    created = execute(page, "create_note_notes_post", json.dumps({"title": title}))
    assert created.locator(".response-col_status").inner_text().split()[0] == "201"
    listed = execute(page, "list_notes_notes_get")
    assert listed.locator(".response-col_status").inner_text().split()[0] == "200"
    assert f'"title": "{title}"' in listed.inner_text()


def test_a_persona_of_the_development_issuer_logs_in(
    reachable_service: Service, page: "Page", hosts: set[str | None]
) -> None:
    with running(*DEV, cwd=reachable_service.path, ready=READY) as dev:
        window = popup(page, dev.said)
        refused = page.evaluate("fetch('/notes').then(answer => answer.status)")
        window.get_by_role("button", name="ada").click()
        back(page)
        assert_notes_can_be_used(page, "by a persona")
    assert refused == 401
    assert hosts == {"127.0.0.1"}
    assert not (reachable_service.path / ".dev/env").exists()


def test_a_person_logs_in_at_a_provider_that_is_not_ours(
    reachable_service: Service, npm_provider: Path, page: "Page"
) -> None:
    with (
        providers.serving(npm_provider) as provider,
        running(*DEV, cwd=reachable_service.path, ready=READY, **provider.environment) as dev,
    ):
        window = popup(page, dev.said)
        window.wait_for_url(f"{provider.url}/interaction/*")
        window.get_by_placeholder("Enter any login").fill("ada")
        window.get_by_placeholder("and password").fill("any")
        window.get_by_role("button", name="Sign-in").click()
        window.get_by_role("button", name="Continue").click()
        back(page)
        assert_notes_can_be_used(page, "by a person")
