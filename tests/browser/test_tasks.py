"""The task list and the dashboard in a real Chromium."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils.timezone import now
from playwright.sync_api import Page, expect

from tasks_app.models import Role, Source, Task, TaskEvent
from tasks_app.states import State
from tests.browser.conftest import Open
from tests.factories import add_log, make_source, make_task, make_user

pytestmark = pytest.mark.browser
Kind = TaskEvent.Kind


def tell(task: Task, kind: str) -> None:
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=kind)


def make_world() -> Task:
    """A bit of everything; returns the running task."""
    source = make_source(name="prod")
    make_source(name="prod-2", failing_since=now())
    failed = make_task(
        source, state="failed", exit_text="no space left on device", error_line="TASK ERROR: x"
    )
    add_log(failed, "starting", "WARN: nearly full", "TASK ERROR: no space left on device")
    make_task(source, state="completed", warnings=1, exit_text="WARNINGS: 1")
    make_task(source, state="lost", exit_text="unexpected status")
    make_task(source, state="cancelled")
    make_task(source, state="pending", type="vzdump")
    make_task(make_source(name="demo", is_demo=True))
    return make_task(
        source, type="qmclone", object_id="9000", object_name="tpl", new_vmid=207, new_name="web-07",
        percent=62.4, bytes_done=20 * 2**30, bytes_total=32 * 2**30, bytes_per_second=110e6, seconds_left=118,
        step="disk 1 of 2",
    )  # fmt: skip


def wait_until_live(page: Page) -> None:
    expect(page.locator("[data-live-badge][data-state=live]")).to_be_visible()


def serious_findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


PAGES = ["/", "/tasks/", "/tasks/?state=failed&q=zebra", "/tasks/{failed}/", "/tasks/{running}/", "/nowhere/"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_serious_accessibility_finding(open_page: Open, dark: bool) -> None:
    running = make_world()
    failed = Task.objects.get(state="failed")
    person = make_user(Role.OPERATOR)
    page = open_page(person, "/", dark=dark)
    for path in PAGES:
        page.goto(
            re.sub(r"(//[^/]+)/.*", r"\1", page.url) + path.format(failed=failed.pk, running=running.pk)
        )
        page.wait_for_timeout(150)
        assert serious_findings(page) == [], path


@pytest.mark.parametrize("width", [390, 768, 1024, 1920])
def test_pages_fit_without_scrolling_sideways(open_page: Open, width: int) -> None:
    running = make_world()
    failed = Task.objects.get(state="failed")
    page = open_page(make_user(Role.OPERATOR), "/", width=width)
    for path in PAGES:
        page.goto(
            re.sub(r"(//[^/]+)/.*", r"\1", page.url) + path.format(failed=failed.pk, running=running.pk)
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_touch_targets_of_the_frame_are_large_enough_on_a_phone(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/tasks/", width=390)
    for target in page.locator(".nav a, .chip, .filter-more summary, .bar summary").all():
        if not target.is_visible():
            continue  # a phone has no room for all sections at once
        box = target.bounding_box()
        assert box is not None and box["height"] >= 44, target.inner_text()


def test_dark_colours_follow_the_system_and_the_choice_outlives_it(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/tasks/", dark=True)
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(13, 16, 20)"
    page.get_by_label("Account:").click()
    page.get_by_role("button", name="Light").click()
    page.wait_for_load_state()
    assert page.evaluate(background) == "rgb(246, 247, 249)"
    assert "/tasks/" in page.url


def test_compact_rows_are_lower(open_page: Open) -> None:
    make_task(state="completed")
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    row = page.locator("[data-row]")
    usual = row.bounding_box()
    page.get_by_label("Account:").click()
    page.get_by_role("button", name="Compact").click()
    page.wait_for_load_state()
    compact = row.bounding_box()
    assert usual and compact
    assert round(usual["height"]) in (40, 41) and round(compact["height"]) in (32, 33)


def test_chosen_filter_is_in_the_address_and_survives_a_reload(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    page.locator("select[name=state]").select_option("failed")
    page.wait_for_url(re.compile("state=failed"))
    expect(page.locator("[data-row]")).to_have_count(1)
    page.reload()
    expect(page.locator("select[name=state]")).to_have_value("failed")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("[data-row]")).to_have_count(7)


def test_filters_work_without_a_script(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/tasks/", script=False)
    expect(page.locator("select[name=state]")).to_be_visible()
    page.locator("input[name=q]").fill("web-07")
    page.locator("input[name=q]").press("Enter")
    expect(page.locator("[data-row]")).to_have_count(1)


def test_row_changes_in_place_and_its_bar_moves(open_page: Open) -> None:
    task = make_world()
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    wait_until_live(page)
    row = page.locator(f"#task-{task.pk}")
    expect(row).to_contain_text("62 %")
    Task.objects.filter(pk=task.pk).update(percent=80.0, seconds_left=60)
    tell(task, Kind.PROGRESS)
    expect(row).to_contain_text("80 %")
    assert row.locator("progress").evaluate("bar => bar.value") == 80
    order = page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.id)")
    Task.objects.filter(pk=task.pk).update(state=State.COMPLETED, ended_at=now(), exit_text="OK", percent=100)
    tell(task, Kind.STATE)
    expect(row.locator(".state")).to_have_text("Completed")
    assert page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.id)") == order


def test_new_tasks_are_announced_and_nothing_moves_under_the_pointer(open_page: Open) -> None:
    source = make_source()
    for number in range(40):
        make_task(source, state="completed", object_id=str(100 + number))
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    wait_until_live(page)
    page.locator("[data-row]").nth(3).hover()
    tell(make_task(source, state="completed", object_name="fresh"), Kind.NEW)
    pill = page.locator("[data-new-tasks]")
    expect(pill).to_contain_text("1 new task")
    expect(page.locator("[data-row]")).to_have_count(40)
    pill.click()
    expect(page.locator("[data-row]")).to_have_count(41)
    expect(pill).to_have_count(0)


def test_new_tasks_come_by_themselves_when_nobody_is_at_the_list(open_page: Open) -> None:
    source = make_source()
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    wait_until_live(page)
    tell(make_task(source, object_name="fresh"), Kind.NEW)
    expect(page.locator("[data-row]")).to_have_count(1)


def test_more_tasks_are_loaded_below(open_page: Open) -> None:
    source = make_source()
    for number in range(120):
        make_task(source, state="completed", object_id=str(100 + number))
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    page.get_by_role("link", name="Load more").click()
    expect(page.locator("[data-row]")).to_have_count(100)
    page.get_by_role("link", name="Load more").click()
    expect(page.locator("[data-row]")).to_have_count(120)
    ids = page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.id)")
    assert len(set(ids)) == 120


def test_keys_walk_the_list_open_a_task_and_show_the_help(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/tasks/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    second = page.locator("[data-row]").nth(1).locator("[data-open]")
    expect(second).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("input[name=q]")).to_be_focused()
    page.keyboard.press("Escape")
    address = second.get_attribute("href")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{address}")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tasks/")


def test_c_on_a_row_asks_and_cancels_nothing_by_itself(open_page: Open) -> None:
    task = make_task()
    page = open_page(make_user(Role.OPERATOR), "/tasks/")
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_role("link", name="Keep running")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#dialog")).to_be_hidden()
    task.refresh_from_db()
    assert task.cancel_requested_at is None


def test_rows_say_that_their_source_fell_silent_and_that_it_is_back(open_page: Open) -> None:
    source = make_source()
    task = make_task(source, percent=40)
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    wait_until_live(page)
    row = page.locator(f"#task-{task.pk}")
    expect(row).not_to_contain_text("Last known")
    for failing_since in (now(), None):
        Source.objects.filter(pk=source.pk).update(failing_since=failing_since)
        TaskEvent.objects.create(source_id=source.pk, kind=Kind.SOURCE)
        expect(row.get_by_text("Last known: 40 %")).to_have_count(1 if failing_since else 0)


def test_whole_row_of_a_failure_opens_it(open_page: Open) -> None:
    task = make_task(state="failed", object_name="broke")
    page = open_page(make_user(Role.OPERATOR), "/", width=390)
    place = page.locator(".line-action p").bounding_box()
    assert place
    page.mouse.click(place["x"] + 5, place["y"] + 5)  # on the words of the error
    page.wait_for_url(f"**/tasks/{task.pk}/")


def test_dashboard_follows_and_a_failure_can_be_acknowledged(open_page: Open) -> None:
    source = make_source()
    make_task(source, state="failed", object_name="broke")
    page = open_page(make_user(Role.OPERATOR), "/")
    wait_until_live(page)
    page.get_by_role("button", name="Acknowledge: Start broke").click()
    expect(page.get_by_text("No failure of the last 24 hours")).to_be_visible()
    tell(make_task(source, object_name="fresh"), Kind.NEW)
    expect(page.get_by_role("link", name="Start fresh (100)")).to_be_visible()
