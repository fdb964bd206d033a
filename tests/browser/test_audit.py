"""The audit trail in a real Chromium: entries that open, keys, filters, verifying, export, purge, phones, dark."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now
from playwright.sync_api import expect

from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import write_anchor
from tasks_app.audit.context import Origin, set_origin
from tasks_app.models import AuditEntry, Role, Task, triggers
from tests.browser.conftest import Open
from tests.browser.test_history import base_of, open_folds, too_wide
from tests.browser.test_tasks import serious_findings
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _anchors(settings: Any, tmp_path: Path) -> Any:
    settings.AUDIT_ANCHOR_FILE = tmp_path / "anchors.jsonl"
    yield
    set_origin(Origin())


def make_world() -> Task:
    """Sixty entries, of which the last tell a request about the task that is returned."""
    admin, source = make_superuser(username="anna"), make_source(name="prod")
    task = make_task(source, object_name="web-07")
    for number in range(57):
        result = AuditEntry.Result.FAILED if number % 9 == 0 else AuditEntry.Result.DONE
        recorder.record(Action.SOURCE_CHECK, actor=admin, target=source, result=result, problem="x" * 300)
    set_origin(Origin(request_id="req-1", ip="10.1.2.3", user_agent="Mozilla/5.0 " + "x" * 250))
    before, after = (
        {"urls": ["https://a:8006"], "name": "prod"},
        {"urls": ["https://b:8006"], "name": "prod-1"},
    )
    recorder.record(Action.SOURCE_CHANGE, actor=admin, target=source, before=before, after=after)
    recorder.record(Action.DENIED, actor=admin, target_name="/sources/1/", result=AuditEntry.Result.REFUSED)
    recorder.record(Action.TASK_CANCEL, actor=admin, target=task, upid=task.remote_id, reason="too slow")
    set_origin(Origin())
    write_anchor()
    return task


def test_entries_are_walked_opened_and_followed_by_keys(open_page: Open) -> None:
    task = make_world()
    page = open_page(make_superuser(), "/audit/?q=10.1.2.3")
    expect(page.locator(".entry")).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    first = page.locator(".entry").first
    expect(first.get_by_text("too slow")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("o")
    change = page.locator(".entry").nth(2)
    expect(change.locator("del").first).to_have_text("− https://a:8006")
    expect(change.locator("ins").first).to_have_text("+ https://b:8006")
    page.keyboard.press("o")
    expect(change.locator("del").first).to_be_hidden()
    first.get_by_role("link", name="req-1").click()
    page.wait_for_url("**/audit/requests/req-1/")
    expect(page.locator(".entry")).to_have_count(3)
    expect(page.locator(f"#task-{task.pk}")).to_be_visible()
    page.locator(".entry").last.click()
    page.get_by_role("link", name=task.remote_id).click()
    page.wait_for_url(f"**/tasks/{task.pk}/")


def test_filters_pages_and_the_other_tab_keep_the_search(open_page: Open) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/?actor=anna")
    expect(page.locator(".entry")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**below=**")
    expect(page.locator(".entry")).to_have_count(10)
    page.go_back()
    expect(page.locator(".entry")).to_have_count(50)
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Result").select_option("failed")
    page.wait_for_url("**result=failed**")
    expect(page.locator(".entry")).to_have_count(7)
    page.keyboard.press("/")
    page.keyboard.type("prod")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=prod**")
    page.get_by_role("link", name="Tasks", exact=True).last.click()
    page.wait_for_url("**/history/?**")
    assert "q=prod" in page.url and "person=anna" in page.url


def test_trail_is_verified_and_a_touched_entry_is_told(open_page: Open) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/")
    page.get_by_role("button", name="Verify now").click()
    expect(page.get_by_text("nothing was touched")).to_be_visible()
    expect(page.locator(".integrity")).to_contain_text("Verified up to #")
    triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_app_auditentry SET target_name = 'nothing' WHERE number = 30")
    triggers.install(connection)
    page.get_by_role("button", name="Verify now").click()
    expect(page.get_by_role("alert")).to_contain_text("#30 was changed.")
    expect(page.locator(".integrity")).to_contain_text("Broken")


def test_export_downloads_the_entries_of_the_filters(open_page: Open, tmp_path: Path) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/?request=req-1")
    page.locator(".history-menus summary", has_text="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="JSON Lines").click()
    file = tmp_path / "audit.jsonl"
    waiting.value.save_as(file)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["action"] for line in lines] == ["source.change", "permission.denied", "task.cancel"]
    assert AuditEntry.objects.filter(action="audit.export").count() == 1


def test_purge_asks_with_numbers_first(open_page: Open) -> None:
    make_world()
    admin = make_superuser()
    page = open_page(admin, "/audit/")
    page.get_by_role("link", name="Purge…").click()
    page.get_by_label("Remove what is older than").fill("400")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("nothing would go")).to_be_visible()
    assert AuditEntry.objects.filter(at__lt=now() - timedelta(days=400)).count() == 0


PLACES = [
    "/audit/",
    "/audit/?q=nothing-like-it",
    "/audit/?result=refused",
    "/audit/requests/req-1/",
    "/audit/purge?days=60",
]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_serious_accessibility_finding(open_page: Open, dark: bool) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/", dark=dark)
    base = base_of(page)
    for path in PLACES:
        page.goto(base + path)
        open_folds(page)
        page.wait_for_timeout(150)
        assert serious_findings(page) == [], path


@pytest.mark.parametrize("width", [390, 768, 1024, 1920])
def test_pages_fit_without_scrolling_sideways(open_page: Open, width: int) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/", width=width)
    base = base_of(page)
    for path in PLACES:
        page.goto(base + path)
        assert too_wide(page) == [], path
        open_folds(page)
        assert too_wide(page) == [], path


def test_entries_open_without_a_script(open_page: Open) -> None:
    make_world()
    page = open_page(make_superuser(), "/audit/?request=req-1", script=False)
    page.locator(".entry summary").first.click()
    expect(page.get_by_text("too slow")).to_be_visible()
    page.locator("input[type=search]").fill("prod-1")
    page.locator("input[type=search]").press("Enter")
    expect(page.locator(".entry")).to_have_count(1)


def test_source_auditor_finds_the_way_from_the_menu(open_page: Open) -> None:
    task = make_world()
    page = open_page(make_user(Role.AUDITOR, source=task.source), "/", width=390)
    page.locator(".nav-more summary").click()
    page.get_by_role("link", name="Audit").click()
    page.wait_for_url("**/audit/")
    expect(page.locator(".entry").first).to_be_visible()
