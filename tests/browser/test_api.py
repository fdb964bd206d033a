"""The page of the API, tokens and sockets in a real Chromium."""

import os

import pytest
from django.core.cache import cache
from playwright.sync_api import Browser, expect

from tasks_app.models import ApiToken
from tests.browser.admin import anonymous_page, overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import make_superuser, make_task, make_user
from tests.integration.live.server import Running

pytestmark = pytest.mark.browser

FOLLOW = """([path, protocols]) => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/ws/tasks/${path}`, protocols);
  socket.onmessage = (event) => resolve(JSON.parse(event.data).task_id);
  socket.onclose = (event) => resolve(event.code);
})"""


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache.clear()


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (375, False)], ids=["wide", "dark", "phone"]
)
def test_page_of_the_api_is_readable_everywhere(open_page: Open, width: int, dark: bool) -> None:
    page = open_page(make_user(), "/api/v1/docs", width=width, dark=dark)
    expect(page.get_by_role("heading", name="Make a video")).to_be_visible()
    expect(page.get_by_text("POST /api/v1/clones")).to_be_visible()
    assert not overflows(page)
    assert serious_findings(page) == []
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/api-{width}-{dark}.png", full_page=True)


def test_page_of_the_api_is_for_everybody(chromium: Browser, web: Running) -> None:
    with anonymous_page(chromium, web, "/api/v1/docs") as page:
        expect(page.get_by_role("heading", name="Cancel a task")).to_be_visible()


def test_token_is_made_shown_and_revoked(open_page: Open) -> None:
    page = open_page(make_user(), "/profile/")
    page.get_by_label("What it is for").fill("Render script")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_role("heading", name="“Render script” is made")).to_be_visible()
    token = page.locator("#token").inner_text()
    assert token.startswith("tp_")
    assert serious_findings(page) == []
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/token.png", full_page=True)
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("never used")).to_be_visible()
    assert serious_findings(page) == []
    assert not overflows(page)
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/profile.png", full_page=True)
    page.get_by_role("button", name="Revoke Render script").click()
    expect(page.get_by_text("counts no more")).to_be_visible()
    assert ApiToken.objects.get().revoked_at is not None


def test_browser_follows_a_task_by_its_session_and_by_a_token(open_page: Open) -> None:
    admin, task = make_superuser(), make_task()
    page = open_page(admin, "/profile/")
    assert page.evaluate(FOLLOW, [task.api_id, []]) == task.api_id
    page.get_by_label("What it is for").fill("x")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("#token").inner_text()
    assert page.evaluate(FOLLOW, [task.api_id, ["task-portal.v1", f"bearer.{token}"]]) == task.api_id
    assert page.evaluate(FOLLOW, [task.api_id, [f"bearer.{token}"]]) == task.api_id
    assert page.evaluate(FOLLOW, [task.api_id, ["task-portal.v1", "bearer.wrong"]]) == 4401
    assert page.evaluate(FOLLOW, ["vid_999", []]) == 4404
