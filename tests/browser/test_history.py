"""The history in a real Chromium: search, saved views, export, acknowledging, brushing, keys, phones, dark."""

import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils.timezone import now
from playwright.sync_api import Locator, Page, expect

from tasks_app.ingest.texts import index_batch
from tasks_app.models import HistoryGap, Node, Role, SavedView, Task, TaskEvent
from tests.browser.conftest import Open
from tests.browser.test_tasks import serious_findings
from tests.factories import make_source, make_task, make_team, make_user

pytestmark = pytest.mark.browser
DAYS = 40


def make_world() -> Task:
    """Forty days with a task of each of three types; the newest failed and is returned."""
    source = make_source(name="prod")
    node = Node.objects.create(source=source, name="pve1")
    today = now()
    for day in range(DAYS):
        at = today - timedelta(days=day, minutes=10)
        make_task(source, type="vzdump", object_id="", state="failed" if day % 7 == 0 else "completed",
                  node="pve2", person="Anna", started_at=at)  # fmt: skip
        make_task(source, object_name=f"web-{day:02}", state="completed", started_at=at - timedelta(hours=1))
        make_task(source, type="qmclone", object_id="9000", state="lost" if day == 3 else "completed",
                  warnings=int(day == 5), started_at=at - timedelta(hours=2))  # fmt: skip
    until = today - timedelta(days=1, hours=12)
    HistoryGap.objects.create(node=node, since=until - timedelta(hours=5), until=until)
    failed = Task.objects.filter(state="failed").latest("started_at")
    Task.objects.filter(pk=failed.pk).update(search_text="back up: zebra stripes are missing")
    while index_batch():
        pass
    return failed


def rows(page: Page) -> Locator:
    return page.locator("#history-list [data-row]")


def query_of(page: Page) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


# ---- search


def test_words_are_searched_by_slash_and_enter_and_stand_in_the_address(open_page: Open) -> None:
    failed = make_world()
    page = open_page(make_user(Role.VIEWER), "/history/")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()
    page.keyboard.type("zebra stripes")
    page.keyboard.press("Enter")
    page.wait_for_url("**/history/?q=zebra+stripes")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/tasks/{failed.pk}/")
    page.go_back()
    expect(page.locator("input[type=search]")).to_have_value("zebra stripes")
    expect(rows(page)).to_have_count(1)


@pytest.mark.parametrize("path", ["/history/", "/tasks/"])
def test_pasted_upid_opens_its_task(open_page: Open, path: str) -> None:
    failed = make_world()
    page = open_page(make_user(Role.VIEWER), path)
    box = page.locator("input[type=search]")
    box.fill("what of ")
    box.press("End")
    page.evaluate("text => document.execCommand('insertText', false, text)", failed.remote_id)
    box.press("Enter")
    page.wait_for_url(f"**/tasks/{failed.pk}/")


def test_filters_add_up_and_are_taken_back_one_by_one(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/")
    page.locator(".facet[aria-label=Node] a", has_text="pve2").click()
    page.wait_for_url("**node=pve2**")
    page.get_by_role("navigation", name="By outcome").get_by_role("link", name="Failed").click()
    page.wait_for_url("**outcome=failed**")
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Type", exact=True).select_option("vzdump")  # applies at once
    page.wait_for_url("**type=vzdump**")
    assert query_of(page) == {"outcome": "failed", "node": "pve2", "type": "vzdump"}
    expect(rows(page)).to_have_count(6)
    page.get_by_role("link", name=re.compile("Outcome: Failed.*remove")).click()
    page.wait_for_url(lambda address: "outcome" not in address)
    expect(rows(page)).to_have_count(40)
    page.go_back()
    expect(rows(page)).to_have_count(6)


def test_cell_of_the_grid_leads_to_its_tasks_by_keyboard(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/")
    cell = page.get_by_role("link", name="Backup, Failed: 6")
    cell.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**outcome=failed**")
    assert query_of(page) == {"outcome": "failed", "type": "vzdump"}
    expect(rows(page)).to_have_count(6)
    expect(page.locator(".type-grid td[data-chosen]")).to_have_count(1)


def test_older_pages_and_the_way_back(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?since=60d")
    first = rows(page).first.get_attribute("id")
    expect(page.locator(".gap")).to_have_count(1)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**below=**")
    expect(page.get_by_role("link", name="Back to the newest")).to_be_visible()
    expect(rows(page)).to_have_count(50)
    assert query_of(page)["since"] == "60d"
    second = rows(page).first.get_attribute("id")
    assert second != first
    address = page.url
    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(20)
    page.wait_for_url(lambda now_at: now_at != address)
    # A person looks at the page for a moment; htmx keeps it for the way back once it has settled.
    page.wait_for_timeout(1000)
    page.go_back()
    expect(rows(page).first).to_have_attribute("id", str(second))
    page.wait_for_timeout(1000)
    page.go_back()
    expect(rows(page).first).to_have_attribute("id", str(first))
    page.go_forward()
    expect(rows(page).first).to_have_attribute("id", str(second))


def test_everything_works_without_a_script(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/history/?since=60d", script=False)
    page.locator("input[type=search]").fill("zebra")
    page.locator("input[type=search]").press("Enter")
    expect(rows(page)).to_have_count(1)
    assert query_of(page)["since"] == "60d"
    page.locator(".bucket").last.click()
    expect(rows(page)).to_have_count(1)
    page.locator(".task-tick").check()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("1 failure acknowledged.")).to_be_visible()


# ---- time


def test_stretch_of_time_is_brushed_with_the_mouse(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?type=vzdump&since=39d")
    bars = page.locator(".bucket")
    count = bars.count()
    box = page.locator(".bars").bounding_box()
    assert box and count == 40
    share = box["width"] / count
    page.mouse.move(box["x"] + 10.5 * share, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 12.5 * share, box["y"] + 20, steps=5)
    expect(page.locator("[data-chosen][role=status]")).to_contain_text(" to ")
    page.mouse.move(box["x"] + 14.5 * share, box["y"] + 20, steps=5)
    page.mouse.up()
    page.wait_for_url("**until=**")
    assert query_of(page)["type"] == "vzdump"
    expect(page.locator(".bucket")).to_have_count(5)
    expect(rows(page)).to_have_count(5)
    page.go_back()
    expect(page.locator(".bucket")).to_have_count(40)


def test_one_bar_is_chosen_by_a_click(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?type=vzdump&since=39d")
    page.locator(".bucket").nth(20).click()
    page.wait_for_url("**until=**")
    expect(rows(page)).to_have_count(1)


def test_stretch_of_time_is_chosen_with_the_keyboard(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?type=vzdump&since=39d")
    page.locator(".bucket[tabindex='0']").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("[data-chosen][role=status]")).to_contain_text(" to ")
    page.keyboard.press("Enter")
    page.wait_for_url("**until=**")
    expect(page.locator(".bucket")).to_have_count(72)  # three days by hour
    expect(rows(page)).to_have_count(3)


def test_stretch_of_time_is_chosen_by_two_fields(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?type=vzdump")
    day = (now() - timedelta(days=10)).date()
    page.get_by_label("From").fill(f"{day}T00:00")
    page.get_by_label("until").fill(f"{day + timedelta(days=2)}T00:00")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**since=**")
    expect(rows(page)).to_have_count(2)
    expect(page.get_by_label("From")).to_have_value(f"{day}T00:00")
    page.get_by_label("From").fill("")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(lambda address: "since" not in address)
    assert set(query_of(page)) == {"type", "until"}


# ---- saved views, export, acknowledging


def test_search_is_saved_opened_renamed_and_removed(open_page: Open) -> None:
    make_world()
    person = make_user(Role.VIEWER)
    make_team(person, name="Biology")
    page = open_page(person, "/history/?outcome=failed")
    menu = page.locator(".history-menus summary", has_text="Saved views")
    menu.click()
    page.get_by_role("link", name="Save this search…").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.press("Enter")  # without a name
    dialog = page.locator("#dialog")
    page.get_by_label("Name", exact=True).fill("What failed")
    page.get_by_label("Who sees it").select_option(label="Biology")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved as “What failed”.")).to_be_visible()
    view = SavedView.objects.get()
    assert (view.query, str(view.team)) == ("outcome=failed", "Biology")

    page.goto(page.url.partition("?")[0])
    menu.click()
    page.get_by_role("link", name="What failed Biology").click()
    page.wait_for_url("**/history/?outcome=failed")
    menu.click()
    page.get_by_role("link", name="Rename What failed").click()
    page.get_by_label("Name", exact=True).fill("Failures")
    dialog.get_by_role("button", name="Rename").click()
    expect(page.get_by_text("Renamed to “Failures”.")).to_be_visible()
    menu.click()
    page.get_by_role("link", name="Remove Failures").click()
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("was removed")).to_be_visible()
    assert not SavedView.objects.exists()


def test_export_downloads_what_passes_the_filters(open_page: Open, tmp_path: Path) -> None:
    failed = make_world()
    page = open_page(make_user(Role.VIEWER), "/history/?q=zebra")
    page.locator(".history-menus summary", has_text="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV", exact=True).click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert re.fullmatch(r"task-\d{8}T\d{6}Z\.csv", file.name)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert failed.remote_id in lines[1] and len(lines) == 2
    assert "source" in lines[0]


def test_failures_are_ticked_by_key_and_acknowledged_together(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/history/?outcome=attention")
    expect(rows(page)).to_have_count(7)
    bar = page.locator(".acknowledge-bar")
    expect(bar).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(bar).to_contain_text("2 ticked")
    bar.get_by_label("Seen?").fill("cable replaced")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 failures acknowledged.")).to_be_visible()
    expect(rows(page)).to_have_count(5)
    assert query_of(page) == {"outcome": "attention"}
    assert Task.objects.filter(acknowledged_note="cable replaced").count() == 2


def test_row_follows_its_task_and_keeps_its_tick(open_page: Open) -> None:
    failed = make_world()
    running = make_task(failed.source, object_name="fresh")
    page = open_page(make_user(Role.OPERATOR), "/history/")
    expect(page.locator("[data-live-badge][data-state=live]")).to_be_visible()
    page.locator(f"#task-{failed.pk} .task-tick").check()
    Task.objects.filter(pk=running.pk).update(state="failed", ended_at=now(), exit_text="broken")
    for task in (running, failed):
        TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=TaskEvent.Kind.STATE)
    expect(page.locator(f"#task-{running.pk} .state")).to_have_text("Failed")
    expect(page.locator(f"#task-{failed.pk} .task-tick")).to_be_checked()


def test_help_tells_the_keys(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("Tick a failure")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tasks/")
    page.keyboard.press("g")
    page.keyboard.press("h")
    page.wait_for_url("**/history/")


# ---- on any screen

PLACES = [
    "/history/",
    "/history/?q=zebra&since=30d&outcome=attention",
    "/history/?outcome=cancelled",
    "/history/views/add?on=tasks&query=outcome%3Dfailed",
]


def open_folds(page: Page) -> None:
    """Menus, panels and folds of the page."""
    page.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways."""
    return list(
        page.evaluate(
            """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.body.querySelectorAll("*")]
            .filter((part) => part.getBoundingClientRect().right > innerWidth && !part.closest(".table-wrap, .chips"))
            .map((part) => part.outerHTML.slice(0, 80))"""
        )
    )


def base_of(page: Page) -> str:
    return re.sub(r"(//[^/]+)/.*", r"\1", page.url)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_serious_accessibility_finding(open_page: Open, dark: bool) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/history/", dark=dark)
    base = base_of(page)
    for path in PLACES:
        page.goto(base + path)
        open_folds(page)
        page.wait_for_timeout(150)
        assert serious_findings(page) == [], path


@pytest.mark.parametrize("width", [390, 768, 1024, 1280, 1920])
def test_pages_fit_without_scrolling_sideways(open_page: Open, width: int) -> None:
    make_world()
    page = open_page(make_user(Role.OPERATOR), "/history/", width=width)
    base = base_of(page)
    for path in PLACES:
        page.goto(base + path)
        assert too_wide(page) == [], path
        open_folds(page)
        if page.locator(".task-tick").first.is_visible():
            page.locator(".task-tick").first.check()
        assert too_wide(page) == [], path


def test_bars_are_drawn_in_their_colours(open_page: Open) -> None:
    make_world()
    page = open_page(make_user(Role.VIEWER), "/history/", dark=True)
    heights = page.locator(".bucket-part[data-state=failed]").evaluate_all(
        "parts => parts.map(part => part.getBBox().height)"
    )
    assert len(heights) == 7 and min(heights) >= 3
    fill = page.locator(".hatch rect").first.evaluate("part => getComputedStyle(part).fill")
    assert fill == "rgb(255, 139, 130)"
