"""Approving and rejecting in a real Chromium."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tasks_app.models import Order, Stage
from tests.browser.admin import overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import make_item, make_machine, make_order, make_source, make_team, make_user

pytestmark = pytest.mark.browser


@pytest.fixture
def lea(transactional_db) -> User:
    return make_user(username="lea")


@pytest.fixture
def waiting(lea: User) -> Order:
    ann = make_user(username="ann")
    item = make_item(make_source(name="prod"), title="Debian 12")
    team = make_team(ann, admins=(lea,), items=(item,), name="Web", slug="web", max_machines=10)
    order = make_order(team, item=item, actor=ann, title="web-x", decision="waiting", reason="A course")
    make_machine(order, stage=Stage.APPROVAL, name="web-x")
    return order


def test_order_is_approved_and_its_page_goes_on(open_page: Open, lea: User, waiting: Order) -> None:
    theirs = open_page(waiting.actor, f"/orders/{waiting.pk}/")
    expect(theirs.get_by_text("Waits for approval")).to_be_visible()
    page = open_page(lea, "/approvals/")
    page.get_by_role("link", name="Approve web-x").click()
    page.locator("#dialog").get_by_role("button", name="Approve").dblclick()
    expect(page.get_by_text("Nothing waits for you")).to_be_visible()
    expect(theirs.get_by_text("Approved by lea")).to_be_visible()


def test_order_is_rejected_with_a_reason_that_the_requester_reads(
    open_page: Open, lea: User, waiting: Order
) -> None:
    page = open_page(lea, f"/orders/{waiting.pk}/")
    page.get_by_role("link", name="Reject…").click()
    page.locator("#dialog").get_by_label("Reason").fill("   ")
    page.locator("#dialog").get_by_role("button", name="Reject").click()
    expect(page.locator("#dialog .field-errors")).to_be_visible()
    page.locator("#dialog").get_by_label("Reason").fill("Too large")
    page.locator("#dialog").get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Decided last")).to_be_visible()
    theirs = open_page(waiting.actor, f"/orders/{waiting.pk}/")
    expect(theirs.get_by_text("Rejected by lea")).to_be_visible()
    expect(theirs.get_by_text("Too large")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
def test_inbox_is_clean_and_fits(open_page: Open, lea: User, waiting: Order, width: int) -> None:
    page = open_page(lea, "/approvals/", width=width)
    assert serious_findings(page) == []
    assert not overflows(page)
    page.get_by_role("link", name="Reject web-x").click()
    expect(page.locator("#dialog")).to_be_visible()
    assert serious_findings(page) == []
