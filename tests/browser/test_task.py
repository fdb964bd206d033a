"""One task's page in a real Chromium: the log, the cancel dialog, what the stream brings."""

import pytest
from django.utils.timezone import now
from playwright.sync_api import Page, expect

from tasks_app.models import LogChunk, Role, Task, TaskEvent, TaskLog
from tasks_app.states import State
from tests.browser.conftest import Open
from tests.browser.test_tasks import serious_findings, tell, wait_until_live
from tests.factories import add_log, make_source, make_task, make_user

pytestmark = pytest.mark.browser
Kind = TaskEvent.Kind
TOP = "view => view.scrollTop"
AT_END = "view => view.scrollHeight - view.scrollTop - view.clientHeight < 4"


def make_ended(count: int, text: str = "INFO: line {n} of the backup", **fields: object) -> Task:
    """An ended task with a log of `count` lines."""
    task = make_task(state="completed", log_total=count, **fields)
    log = TaskLog.objects.create(task=task, lines=count, is_complete=True)
    for first in range(1, count + 1, LogChunk.LINES):
        numbers = range(first, min(first + LogChunk.LINES, count + 1))
        LogChunk.objects.create(log=log, first=first, data=LogChunk.pack([text.format(n=n) for n in numbers]))
    return task


def log_more(task: Task, *texts: str) -> None:
    add_log(task, *texts)
    tell(task, Kind.LOG)


def view(page: Page):
    return page.locator("[data-log-view]")


def open_running(open_page: Open, lines: int = 100) -> tuple[Page, Task]:
    task = make_task()
    add_log(task, *(f"line {number}" for number in range(1, lines + 1)))
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/")
    wait_until_live(page)
    return page, task


def test_log_of_a_running_task_is_followed(open_page: Open) -> None:
    page, task = open_running(open_page)
    expect(page.locator("#L100")).to_be_in_viewport()
    log_more(task, "a new one", "<b>another</b>")
    expect(page.locator("#L102")).to_be_in_viewport()
    expect(page.locator("#L102 .log-text")).to_have_text("<b>another</b>")
    assert view(page).evaluate(AT_END)


def test_log_that_arrives_whole_after_the_page_announces_nothing(open_page: Open) -> None:
    task = make_task(state="failed")
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/")
    wait_until_live(page)
    log_more(task, *(f"line {number}" for number in range(1, 101)))
    expect(page.locator("#L1")).to_be_visible()
    expect(page.locator("[data-log-pill]")).to_be_hidden()


def test_failure_is_acknowledged_with_a_note(open_page: Open) -> None:
    task = make_task(state="failed")
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/")
    page.get_by_role("link", name="Acknowledge…").click()
    expect(page.get_by_label("Note")).to_be_focused()
    page.keyboard.type("disk replaced")
    page.keyboard.press("Enter")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#task-status")).to_contain_text("disk replaced")
    expect(page.get_by_role("link", name="Acknowledge…")).to_have_count(0)


def test_each_value_stands_right_below_its_name_on_a_phone(open_page: Open) -> None:
    task = make_task()
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/", width=390)
    tops = page.evaluate(
        """[...document.querySelectorAll(".facts dt")].map((name) =>
            [name.getBoundingClientRect().bottom, name.nextElementSibling.getBoundingClientRect().top])"""
    )
    assert tops and all(abs(bottom - top) < 1 for bottom, top in tops)


def test_new_lines_cost_the_server_no_request(open_page: Open) -> None:
    page, task = open_running(open_page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    log_more(task, "INFO: a new one", "TASK ERROR: it broke")
    expect(page.locator("#L102")).to_have_attribute("data-kind", "error")
    assert asked == []


def test_scrolling_up_lets_go_and_the_pill_leads_back(open_page: Open) -> None:
    page, task = open_running(open_page)
    view(page).hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("[data-log-follow]")).to_have_attribute("aria-pressed", "false")
    before = view(page).evaluate(TOP)
    log_more(task, *(f"new {number}" for number in range(38)))
    expect(page.locator("[data-log-pill]")).to_contain_text("38 new lines")
    assert view(page).evaluate(TOP) == before
    page.locator("[data-log-pill]").click()
    expect(page.locator("#L138")).to_be_in_viewport()
    expect(page.locator("[data-log-pill]")).to_be_hidden()
    log_more(task, "followed again")
    expect(page.locator("#L139")).to_be_in_viewport()


def test_end_key_turns_following_on(open_page: Open) -> None:
    page, _ = open_running(open_page)
    view(page).hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("[data-log-follow]")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("End")
    expect(page.locator("[data-log-follow]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#L100")).to_be_in_viewport()


def test_incomplete_last_line_is_completed_in_place(open_page: Open) -> None:
    page, task = open_running(open_page, lines=3)
    task.log_lines.filter(number=3).update(text="line 3 is complete now")
    tell(task, Kind.LOG)
    expect(page.locator("#L3 .log-text")).to_have_text("line 3 is complete now")
    expect(page.locator(".log-line")).to_have_count(3)


def test_progress_lines_fold_into_one_that_updates_and_unfold_on_demand(open_page: Open) -> None:
    task = make_task(type="qmclone", object_id="9000")
    progress = "drive-scsi0: transferred {0}.0 GiB of 32.0 GiB ({0}.00%) in {0}s"
    add_log(task, "create full clone", *(progress.format(number) for number in range(1, 21)))
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/")
    wait_until_live(page)
    expect(page.locator(".log-line")).to_have_count(2)
    expect(page.locator(".log-line").last).to_contain_text("20 progress lines")
    log_more(task, progress.format(21))
    expect(page.locator(".log-line").last).to_contain_text("21.0 GiB of 32.0 GiB")
    expect(page.locator(".log-line").last).to_contain_text("21 progress lines")
    expect(page.locator(".log-line")).to_have_count(2)
    page.locator(".log-fold").click()
    expect(page.locator(".log-line")).to_have_count(22)
    page.locator(".log-fold").click()
    expect(page.locator(".log-line")).to_have_count(2)
    page.get_by_role("button", name="Raw", exact=True).click()
    expect(page.locator(".log-line")).to_have_count(22)


def test_very_long_log_holds_few_lines_in_the_page_and_any_of_them_is_reached(open_page: Open) -> None:
    task = make_ended(100_000)
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/log?after" in request.url else None)
    page.reload()
    expect(page.locator("#L1")).to_be_in_viewport()
    for share in (0.25, 0.5, 0.9):
        view(page).evaluate("(view, share) => { view.scrollTop = view.scrollHeight * share; }", share)
        wanted = round(100_000 * share)
        shown = page.wait_for_function(
            """() => {
                const { top } = document.querySelector("[data-log-view]").getBoundingClientRect();
                const lines = [...document.querySelectorAll(".log-line")];
                return lines.find((line) => line.getBoundingClientRect().top >= top)?.id;
            }"""
        ).json_value()
        assert abs(int(shown[1:]) - wanted) < 500
        assert page.locator(".log-line").count() < 2000
    assert len(asked) < 40  # of 400 pieces


def test_link_to_lines_goes_there_and_marks_them(open_page: Open) -> None:
    task = make_ended(5000)
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/#L2120-L2130")
    expect(page.locator("#L2120")).to_be_in_viewport()
    expect(page.locator(".log-line[data-marked]")).to_have_count(11)
    page.locator("#L2125 .log-number").click()
    assert page.url.endswith("#L2125")
    page.locator("#L2127 .log-number").click(modifiers=["Shift"])
    assert page.url.endswith("#L2125-L2127")
    expect(page.locator(".log-line[data-marked]")).to_have_count(3)


def test_search_counts_over_the_whole_log_and_steps_through_the_hits(open_page: Open) -> None:
    task = make_ended(3000)
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/")
    page.locator("[data-log-find]").fill("LINE 29")
    expect(page.locator("[data-log-hit-words]")).to_have_text("1 of 111")
    expect(page.locator("#L29 mark")).to_have_text("line 29")
    page.locator("[data-log-find]").press("Enter")
    expect(page.locator("[data-log-hit-words]")).to_have_text("2 of 111")
    expect(page.locator("#L290")).to_be_in_viewport()
    page.locator("[data-log-find]").press("Shift+Enter")
    page.locator("[data-log-find]").press("Shift+Enter")
    expect(page.locator("[data-log-hit-words]")).to_have_text("111 of 111")
    expect(page.locator("#L2999")).to_be_in_viewport()
    page.locator("[data-log-find]").fill("not there")
    expect(page.locator("[data-log-hit-words]")).to_have_text("No hit")


def test_first_error_is_one_click_away(open_page: Open) -> None:
    task = make_ended(2000)
    chunk = LogChunk.objects.get(log__task=task, first=1001)
    texts = chunk.unpack()
    texts[499] = "ERROR: Backup of VM 101 failed - no such volume"
    LogChunk.objects.filter(pk=chunk.pk).update(data=LogChunk.pack(texts))
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/")
    page.get_by_role("button", name="Go to the error").click()
    expect(page.locator("#L1500")).to_be_in_viewport()
    expect(page.locator("#L1500")).to_have_attribute("data-kind", "error")


def test_long_lines_wrap_on_demand(open_page: Open) -> None:
    task = make_ended(3, text="{n} " + "word " * 300)
    page = open_page(make_user(Role.VIEWER), f"/tasks/{task.pk}/")
    expect(page.locator("#L1")).to_be_visible()
    assert view(page).evaluate("view => view.scrollWidth > view.clientWidth")
    page.keyboard.press("w")
    expect(page.locator("[data-log-wrap]")).to_have_attribute("aria-pressed", "true")
    assert view(page).evaluate("view => view.scrollWidth <= view.clientWidth")


def test_task_is_followed_to_its_end_without_a_reload(open_page: Open) -> None:
    page, task = open_running(open_page, lines=2)
    expect(page.get_by_role("link", name="Cancel…")).to_be_visible()
    Task.objects.filter(pk=task.pk).update(percent=50.0, seconds_left=30)
    tell(task, Kind.PROGRESS)
    expect(page.locator("#task-status")).to_contain_text("50 %")
    add_log(task, "TASK ERROR: no space left on device")
    Task.objects.filter(pk=task.pk).update(
        state=State.FAILED, ended_at=now(), exit_text="no space left on device", percent=50
    )
    tell(task, Kind.STATE)
    expect(page.locator("#task-status .state")).to_have_text("Failed")
    expect(page.locator("#task-status")).to_contain_text("The storage is full")
    expect(page.get_by_role("link", name="Cancel…")).to_have_count(0)
    expect(page.get_by_role("link", name="Acknowledge…")).to_be_visible()
    expect(page.locator("#L3")).to_contain_text("TASK ERROR")
    expect(page.locator("#task-side")).to_contain_text("Ended: Failed")


def test_cancel_asks_first_and_then_shows_that_it_is_under_way(open_page: Open) -> None:
    page, task = open_running(open_page, lines=1)
    page.keyboard.press("c")
    expect(page.locator("#dialog")).to_contain_text("Cancel this task?")
    expect(page.get_by_role("link", name="Keep running")).to_be_focused()
    assert serious_findings(page) == []
    page.get_by_role("link", name="Keep running").click()
    expect(page.locator("#dialog")).to_be_hidden()
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_label("Reason").fill("wrong template")
    page.get_by_role("button", name="Cancel task").click()
    expect(page.locator("#task-status .state")).to_have_text("Cancelling…")
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.get_by_role("link", name="Cancel…")).to_have_count(0)
    Task.objects.filter(pk=task.pk).update(
        state=State.COMPLETED, ended_at=now(), cancel_note="It finished before the cancel arrived."
    )
    tell(task, Kind.STATE)
    expect(page.locator("#task-status")).to_contain_text("It finished before the cancel arrived.")
    expect(page.locator("#task-status .state")).to_have_text("Completed")


def test_refusal_is_a_notice_and_the_page_stays(open_page: Open) -> None:
    page, task = open_running(open_page, lines=1)
    Task.objects.filter(pk=task.pk).update(state=State.COMPLETED, ended_at=now())
    page.get_by_role("link", name="Cancel…").click()
    expect(page.locator("#notices")).to_contain_text("has already ended")
    expect(page.locator("#dialog")).to_be_hidden()


def test_missing_privilege_is_named_in_the_dialog(open_page: Open) -> None:
    source = make_source(permissions={"/": {"Sys.Audit": 1}})
    task = make_task(source)
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/")
    page.get_by_role("link", name="Why not cancel?").click()
    expect(page.locator("#dialog")).to_contain_text("Sys.Modify on /nodes/pve1")
    expect(page.get_by_role("button", name="Cancel task")).to_have_count(0)


def test_page_reads_and_cancels_without_a_script(open_page: Open) -> None:
    task = make_task()
    add_log(task, "only line")
    page = open_page(make_user(Role.OPERATOR), f"/tasks/{task.pk}/", script=False)
    expect(page.locator("#L1")).to_contain_text("only line")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name="Cancel task").click()
    expect(page.locator("#task-status")).to_contain_text("Cancelling…")
