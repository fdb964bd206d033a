"""Ordering one machine in a real Chromium."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tasks_app.models import CatalogItem, Machine, Order, Stage, Submission, Team
from tasks_app.states import State
from tests.browser.admin import overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import (
    add_log,
    make_guest,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_task,
    make_team,
    make_user,
)

pytestmark = pytest.mark.browser

SIZES = [
    {"key": "S", "label": "Small", "cores": 1, "memory_mb": 1024, "disk_gb": 0},
    {"key": "M", "label": "Medium", "cores": 2, "memory_mb": 4096, "disk_gb": 20},
]


@pytest.fixture
def ann(transactional_db) -> User:
    return make_user(username="ann")


@pytest.fixture
def item(ann: User) -> CatalogItem:
    source = make_source(name="prod")
    make_guest(source, vmid=9000, name="debian-12", is_template=True, status="stopped")
    return make_item(
        source, slug="debian", title="Debian 12", description="Plain Debian", sizes=SIZES, allows_custom=True
    )


@pytest.fixture
def team(ann: User, item: CatalogItem) -> Team:
    return make_team(ann, items=(item,), name="Web", slug="web", max_machines=5, max_cores=10)


def submit_words(page: Page):
    return page.locator("#submit-words")


def test_machine_is_ordered_from_the_catalogue(open_page: Open, ann: User, team: Team) -> None:
    page = open_page(ann, "/catalogue/")
    page.get_by_role("link", name="Order Debian 12", exact=True).click()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("web-debian-01")
    expect(submit_words(page)).to_have_text("Create VM")
    page.get_by_role("textbox", name="Name").fill("web-shop")
    expect(page.locator("#name-check")).to_contain_text("web-shop is free")
    page.get_by_role("radio", name=re.compile("Medium")).check()
    expect(page.locator("#summary")).to_contain_text("2 cores")
    expect(page.locator("#summary")).to_contain_text("0 → 2 of 10")
    page.locator("#submit").dblclick()
    page.wait_for_url(re.compile(r"/orders/\d+/"))
    expect(page.get_by_role("heading", level=1)).to_have_text("web-shop")
    machine = Machine.objects.get()  # the double click made one
    assert (machine.name, machine.cores, machine.memory_mb) == ("web-shop", 2, 4096)


def test_taken_name_is_told_while_typing_and_stays_on_its_field(
    open_page: Open, ann: User, item: CatalogItem, team: Team
) -> None:
    make_guest(item.source, name="db-01")
    page = open_page(ann, f"/catalogue/{item.pk}/order")
    page.get_by_role("textbox", name="Name").fill("db-01")
    expect(page.locator("#name-check")).to_contain_text("taken")
    page.locator("#submit").click()
    expect(page.locator("#name-check")).to_contain_text("taken")
    expect(page.get_by_role("textbox", name="Name")).to_have_value("db-01")
    assert not Order.objects.exists()


def test_button_changes_with_what_will_happen(
    open_page: Open, ann: User, item: CatalogItem, team: Team
) -> None:
    CatalogItem.objects.update(approval="above", approval_above_cores=1)
    page = open_page(ann, f"/catalogue/{item.pk}/order")
    expect(submit_words(page)).to_have_text("Create VM")
    page.get_by_role("radio", name=re.compile("Medium")).check()
    expect(submit_words(page)).to_have_text("Request approval")


def test_draft_survives_a_reload(open_page: Open, ann: User, item: CatalogItem, team: Team) -> None:
    page = open_page(ann, f"/catalogue/{item.pk}/order")
    page.get_by_role("textbox", name="Name").fill("kept")
    page.get_by_role("radio", name=re.compile("Custom")).check()
    page.get_by_role("spinbutton", name="Cores").fill("3")
    page.reload()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("kept")
    expect(page.get_by_role("spinbutton", name="Cores")).to_have_value("3")
    expect(page.locator("#summary")).to_contain_text("3 cores")


def test_order_works_without_a_script(open_page: Open, ann: User, item: CatalogItem, team: Team) -> None:
    page = open_page(ann, f"/catalogue/{item.pk}/order", script=False)
    page.locator("#submit").click()
    page.wait_for_url(re.compile(r"/orders/\d+/"))
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name="Cancel order").click()
    expect(page.get_by_text("Cancelled, nothing left behind.")).to_be_visible()


def test_order_page_follows_the_machine_to_its_address(
    open_page: Open, ann: User, item: CatalogItem, team: Team
) -> None:
    order = make_order(team, item=item, actor=ann, title="web-01")
    machine = make_machine(order, stage=Stage.QUEUED, name="web-01")
    page = open_page(ann, f"/orders/{order.pk}/")
    expect(page.locator(".rail [data-state=pending]").first).to_contain_text("Waiting")
    submission = Submission.objects.create(
        source=order.source,
        machine=machine,
        step=Stage.CLONE,
        action="clone",
        guest_kind="qemu",
        node="pve1",
        vmid=9000,
        actor_name="ann",
        idempotency_key="x",
        state=State.PROCESSING,
    )
    task = make_task(order.source, type="qmclone", submission=submission, percent=40.0)
    add_log(task, "transferred 3.2 GiB of 8.0 GiB (40.0%)")
    Machine.objects.update(stage=Stage.CLONE, vmid=300)
    expect(page.locator("[aria-current=step]")).to_contain_text("transferred 3.2 GiB")
    expect(page.locator("[aria-current=step] progress")).to_have_attribute("value", "40.0")
    Machine.objects.update(stage=Stage.READY, exists=True, addresses=["10.0.0.7"])
    expect(page.get_by_text("10.0.0.7")).to_be_visible()
    expect(page.locator("#order")).not_to_have_attribute("hx-trigger", "every 2s")


def test_queued_order_is_cancelled_in_words(
    open_page: Open, ann: User, item: CatalogItem, team: Team
) -> None:
    order = make_order(team, item=item, actor=ann, title="web-01")
    make_machine(order, stage=Stage.QUEUED, name="web-01")
    page = open_page(ann, f"/orders/{order.pk}/")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.locator("#dialog")).to_contain_text("Nothing was sent to the cluster")
    expect(page.get_by_role("link", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Cancel order").click()
    expect(page.get_by_text("Cancelled, nothing left behind.")).to_be_visible()
    assert not Submission.objects.exists()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_are_clean_and_fit(
    open_page: Open, ann: User, item: CatalogItem, team: Team, width: int, dark: bool
) -> None:
    order = make_order(team, item=item, actor=ann, title="web-01")
    make_machine(order, stage=Stage.CLONE, name="web-01", vmid=300)
    page = open_page(ann, "/catalogue/", width=width, dark=dark)
    base = page.url.removesuffix("/catalogue/")
    for path in ("/catalogue/", f"/catalogue/{item.pk}/order", "/orders/", f"/orders/{order.pk}/"):
        page.goto(base + path)
        assert serious_findings(page) == []
        assert not overflows(page)
