"""The log of a task as pages get it."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.models import AuditEntry, LogChunk, Role, Task, TaskLog
from tests.factories import add_log, make_task, make_user

pytestmark = pytest.mark.django_db

JSON = {"Accept": "application/json"}


@pytest.fixture
def viewer() -> Client:
    client = Client()
    user: User = make_user(Role.VIEWER)
    client.force_login(user)
    return client


def make_ended_log(*texts: str, note: str = "") -> Task:
    task = make_task(state="completed", log_total=len(texts))
    log = TaskLog.objects.create(task=task, lines=len(texts), is_complete=not note, note=note)
    for first in range(0, len(texts), LogChunk.LINES):
        part = list(texts[first : first + LogChunk.LINES])
        LogChunk.objects.create(log=log, first=first + 1, data=LogChunk.pack(part))
    return task


def test_lines_above_a_number_come_with_their_kind(viewer: Client) -> None:
    task = make_task()
    add_log(
        task,
        "starting",
        "INFO:  10% (1.0 GiB of 10.0 GiB) in 3s, read: 1.0 GiB/s, write: 1.0 GiB/s",
        "WARN: x",
        "TASK ERROR: no",
    )
    answer = viewer.get(f"/tasks/{task.pk}/log?after=1", headers=JSON).json()
    assert answer["total"] == 4
    assert [(line["n"], line["kind"]) for line in answer["lines"]] == [
        (2, "progress"),
        (3, "warning"),
        (4, "error"),
    ]


def test_without_a_wish_the_last_lines_come(viewer: Client) -> None:
    task = make_ended_log(*(f"line {number}" for number in range(1, 1201)))
    numbers = [line["n"] for line in viewer.get(f"/tasks/{task.pk}/log", headers=JSON).json()["lines"]]
    assert numbers == list(range(701, 1201))


def test_lines_below_a_number_come_without_gap(viewer: Client) -> None:
    task = make_ended_log(*(f"line {number}" for number in range(1, 1201)))
    answer = viewer.get(f"/tasks/{task.pk}/log?before=701&limit=300", headers=JSON).json()
    assert [line["n"] for line in answer["lines"]] == list(range(401, 701))
    first = viewer.get(f"/tasks/{task.pk}/log?before=3", headers=JSON).json()
    assert [line["n"] for line in first["lines"]] == [1, 2]


def test_search_finds_lines_of_the_whole_log_in_any_case(viewer: Client) -> None:
    texts = [f"line {number}" for number in range(1, 2501)]
    texts[4], texts[2400] = "Needle one", "a NEEDLE"
    task = make_ended_log(*texts)
    assert viewer.get(f"/tasks/{task.pk}/log?find=needle", headers=JSON).json() == {
        "count": 2,
        "lines": [5, 2401],
    }


def test_error_lines_are_found(viewer: Client) -> None:
    task = make_ended_log("fine", "ERROR: broke", "fine", "TASK ERROR: job errors")
    assert viewer.get(f"/tasks/{task.pk}/log?only_errors=1", headers=JSON).json() == {
        "count": 2,
        "lines": [2, 4],
    }


def test_control_characters_do_not_reach_the_page(viewer: Client) -> None:
    task = make_task()
    add_log(task, "\x1b[31mred\x1b[0m\x07 50%\r 100%")
    line = viewer.get(f"/tasks/{task.pk}/log", headers=JSON).json()["lines"][0]
    assert line["text"] == " 100%"


def test_endless_line_is_cut_and_says_so(viewer: Client) -> None:
    task = make_task()
    add_log(task, "x" * 300_000)
    text = viewer.get(f"/tasks/{task.pk}/log", headers=JSON).json()["lines"][0]["text"]
    assert len(text) < 6000 and "300,000 characters" in text


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "before=0", "limit=100000", "after=99999999999999999999"]
)
def test_impossible_wish_is_refused(viewer: Client, query: str) -> None:
    assert viewer.get(f"/tasks/{make_task().pk}/log?{query}", headers=JSON).status_code == 422


def test_page_without_a_script_links_to_earlier_lines(viewer: Client) -> None:
    task = make_ended_log(*(f"line {number}" for number in range(1, 1201)))
    page = viewer.get(f"/tasks/{task.pk}/").text
    assert 'id="L1200"' in page and 'id="L700"' not in page
    assert f"/tasks/{task.pk}/log?before=701" in page
    assert 'id="L700"' in viewer.get(f"/tasks/{task.pk}/log?before=701").text


def test_kept_log_says_why_it_is_partial(viewer: Client) -> None:
    task = make_ended_log("a", note="Only the beginning of this very long log is kept.")
    assert "Only the beginning" in viewer.get(f"/tasks/{task.pk}/").text


def test_download_has_every_line_as_received_and_is_audited(viewer: Client) -> None:
    texts = ["\x1b[31mred", *(f"line {number}" for number in range(2, 4500)), "\ud800 half"]
    task = make_ended_log(*texts)
    answer = viewer.get(f"/tasks/{task.pk}/log.txt")
    content = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert content.splitlines()[:2] == ["\x1b[31mred", "line 2"]
    assert content.count("\n") == len(texts)
    assert answer["Content-Disposition"].startswith('attachment; filename="task-')
    assert AuditEntry.objects.filter(action="task.log_download").count() == 1


def test_a_copy_that_is_not_whole_says_so_in_the_download_and_without_a_script_too(viewer: Client) -> None:
    task = make_ended_log("one", "two", note="Only the first 16 KB of this log are kept.")
    answer = viewer.get(f"/tasks/{task.pk}/log.txt")
    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert lines == ["one", "two", "[task portal: Only the first 16 KB of this log are kept.]"]
    assert "Only the first 16 KB" in viewer.get(f"/tasks/{task.pk}/log").text


def test_name_of_the_download_cannot_break_the_header(viewer: Client) -> None:
    task = make_task(node='pve"\r\nX: 1', type="a/../b", object_id="x;y")
    disposition = viewer.get(f"/tasks/{task.pk}/log.txt")["Content-Disposition"]
    assert disposition == f'attachment; filename="task-{task.pk}-pve-X-1-a-..-b-x-y.log"'
