"""From the link that the first start prints to the dashboard, and the other pages of sign-in, in a real Chromium."""

import pytest
from playwright.sync_api import Browser, expect

from tasks_app.services.setup import make_setup_link
from tests.browser.admin import anonymous_page, overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import PASSWORD, make_user
from tests.integration.live.server import Running

pytestmark = pytest.mark.browser


def test_first_start_link_leads_to_the_dashboard(chromium: Browser, web: Running) -> None:
    link = make_setup_link()
    assert link is not None
    with anonymous_page(chromium, web, link) as page:
        assert serious_findings(page) == []
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Password once more").fill(PASSWORD)
        page.get_by_role("button", name="Create the admin and sign in").click()
        expect(page.get_by_role("navigation", name="Sections")).to_be_visible()
        assert page.url.endswith(f":{web.port}/")
    with anonymous_page(chromium, web, link) as page:
        expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()


def test_person_signs_in_and_out(chromium: Browser, web: Running) -> None:
    make_user(username="ann")
    with anonymous_page(chromium, web, "/") as page:
        assert serious_findings(page) == []
        page.get_by_label("Username").fill("ann")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not correct")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Account: ann").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("path", ["/account/2fa/", "/account/password/change/", "/account/logout/"])
def test_pages_of_the_account_fit_and_are_accessible(open_page: Open, width: int, path: str) -> None:
    page = open_page(make_user(), path, width=width)
    assert not overflows(page)
    assert serious_findings(page) == []
