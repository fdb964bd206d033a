"""Ordering many machines, and what may be done with them, in a real Chromium."""

import re

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now
from playwright.sync_api import Page, expect

from tasks_app.models import CatalogItem, Machine, Order, Stage, Team
from tests.browser.admin import overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import make_guest, make_item, make_machine, make_order, make_source, make_team, make_user

pytestmark = pytest.mark.browser


@pytest.fixture
def ann(transactional_db) -> User:
    return make_user(username="ann")


@pytest.fixture
def item(ann: User) -> CatalogItem:
    source = make_source(name="prod")
    make_guest(source, vmid=9000, name="debian-12", is_template=True, status="stopped")
    return make_item(source, slug="debian", title="Debian 12")


@pytest.fixture
def team(ann: User, item: CatalogItem) -> Team:
    return make_team(ann, items=(item,), name="Web", slug="web", max_machines=50)


@pytest.fixture
def batch(team: Team, item: CatalogItem, ann: User) -> Order:
    order = make_order(team, item=item, actor=ann, title="web-debian-batch-1")
    make_machine(order, name="b-1", vmid=201, addresses=["10.0.0.1"])
    make_machine(order, name="b-2", stage=Stage.CLONE, vmid=202)
    for number in (3, 4, 5):
        make_machine(order, name=f"b-{number}", stage=Stage.QUEUED)
    for number in (6, 7):
        make_machine(
            order,
            name=f"b-{number}",
            stage=Stage.FAILED,
            cause="Storage full",
            error="no space left on device",
            ended_at=now(),
        )
    return order


def row(page: Page, number: int):
    return page.locator(".preview-table tbody tr").nth(number - 1)


def test_broken_row_is_mended_in_place_before_anything_runs(
    open_page: Open, ann: User, item: CatalogItem, team: Team
) -> None:
    page = open_page(ann, f"/catalogue/{item.pk}/many")
    page.get_by_label("A list").check()
    page.get_by_label("List", exact=True).fill("lab-01,ann\nlab_02\nlab-03,stranger\nlab-04")
    expect(page.get_by_text("2 of 4 cannot be made.")).to_be_visible()
    expect(page.locator("#submit")).to_be_disabled()
    expect(page.get_by_role("button", name="Create the 2 valid ones")).to_be_enabled()
    page.get_by_label("Name of row 2").fill("lab-02")
    expect(row(page, 2).locator(".problem .fine")).to_be_visible()
    page.get_by_role("button", name=re.compile("Drop row 3")).click()
    expect(page.locator(".preview-table tbody tr")).to_have_count(3)
    expect(page.locator("#submit")).to_be_enabled()
    assert not Order.objects.exists()
    page.get_by_role("button", name="Create 3 VMs").dblclick()
    page.wait_for_url(re.compile(r"/orders/\d+/"))
    assert [machine.name for machine in Order.objects.get().machines.all()] == ["lab-01", "lab-02", "lab-04"]


def test_all_names_are_fixed_at_once(open_page: Open, ann: User, item: CatalogItem, team: Team) -> None:
    page = open_page(ann, f"/catalogue/{item.pk}/many")
    page.get_by_label("A list").check()
    page.get_by_label("List", exact=True).fill("a_1\nb_2")
    page.get_by_role("button", name="Fix all names").click()
    expect(page.get_by_label("Name of row 2")).to_have_value("web-debian-02")
    expect(page.locator("#submit")).to_be_enabled()


def test_many_work_without_a_script(open_page: Open, ann: User, item: CatalogItem, team: Team) -> None:
    page = open_page(ann, f"/catalogue/{item.pk}/many", script=False)
    page.get_by_label("How many", exact=True).fill("3")
    page.get_by_role("button", name="Preview").last.click()
    page.get_by_role("button", name=re.compile("Drop row 2")).click()
    expect(page.get_by_label("Name of row 2")).to_have_value("web-debian-03")
    page.get_by_role("button", name="Create 2 VMs").click()
    page.wait_for_url(re.compile(r"/orders/\d+/"))
    assert Machine.objects.count() == 2


def test_two_hundred_rows_are_previewed(open_page: Open, ann: User, item: CatalogItem, team: Team) -> None:
    Team.objects.update(max_machines=None)
    page = open_page(ann, f"/catalogue/{item.pk}/many")
    page.get_by_label("How many", exact=True).fill("200")
    expect(page.get_by_role("button", name="Create 200 VMs")).to_be_enabled()
    expect(page.locator(".preview-table tbody tr")).to_have_count(200)


def test_batch_is_paused_and_what_remains_cancelled(open_page: Open, ann: User, batch: Order) -> None:
    page = open_page(ann, f"/orders/{batch.pk}/")
    page.get_by_role("link", name="Pause…").click()
    page.locator("#dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Nothing new begins; what runs goes on.")).to_be_visible()
    page.get_by_role("link", name="Cancel remaining…").click()
    expect(page.locator("#dialog")).to_contain_text("3 waiting: withdrawn")
    page.get_by_role("button", name="Cancel remaining").click()
    expect(page.locator("#filter-cancelled")).to_contain_text("3 cancelled")
    expect(page.get_by_text("Cancelling…").first).to_be_visible()
    Machine.objects.filter(name="b-2").update(stage=Stage.CANCELLED, ended_at=now())
    expect(page.locator("#filter-cancelled")).to_contain_text("4 cancelled")


def test_only_the_failed_are_tried_again(open_page: Open, ann: User, batch: Order) -> None:
    page = open_page(ann, f"/orders/{batch.pk}/?state=failed")
    expect(page.get_by_text("2 × Storage full")).to_be_visible()
    expect(page.locator(".batch-table tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Retry 2 failed…").click()
    page.get_by_role("button", name="Retry 2 failed").click()
    expect(page.locator("#filter-queued")).to_contain_text("5 queued")
    assert set(batch.machines.filter(attempt=2).values_list("name", flat=True)) == {"b-6", "b-7"}


def test_roll_back_asks_for_the_name(open_page: Open, ann: User, batch: Order) -> None:
    page = open_page(ann, f"/orders/{batch.pk}/")
    page.get_by_role("link", name="Roll back…").click()
    page.get_by_label("Name of the order").fill("wrong")
    page.get_by_role("button", name=re.compile("^Delete")).click()
    expect(page.locator("#dialog .field-errors")).to_be_visible()
    page.get_by_label("Name of the order").fill(batch.title)
    page.get_by_role("button", name=re.compile("^Delete")).click()
    expect(page.get_by_text("Rolling back…")).to_be_visible()


def test_keyboard_focus_survives_the_next_look(open_page: Open, ann: User, batch: Order) -> None:
    page = open_page(ann, f"/orders/{batch.pk}/")
    page.locator("#export-order").focus()
    Machine.objects.filter(name="b-3").update(stage=Stage.CLONE)
    expect(page.locator("#filter-running")).to_contain_text("2 running")
    expect(page.locator("#export-order")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_are_clean_and_fit(
    open_page: Open, ann: User, item: CatalogItem, batch: Order, width: int, dark: bool
) -> None:
    page = open_page(ann, f"/orders/{batch.pk}/", width=width, dark=dark)
    assert serious_findings(page) == []
    assert not overflows(page)
    page.goto(page.url.replace(f"/orders/{batch.pk}/", f"/catalogue/{item.pk}/many"))
    page.get_by_label("How many", exact=True).fill("4")
    expect(page.locator(".preview-table tbody tr")).to_have_count(4)
    assert serious_findings(page) == []
    assert not overflows(page)
