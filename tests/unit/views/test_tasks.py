"""The list of tasks and one task's page: who sees what, filters, pages, cancelling, acknowledging."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, Node, Role, Source, Submission, Task
from tasks_app.states import State
from tasks_app.views.paging import Cursor, read_page
from tests.factories import add_log, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(answer: Any) -> list[int]:
    """Keys of the rows in the order they stand."""
    return [int(pk) for pk in re.findall(r'<tr id="task-(\d+)"', answer.text)]


def count_queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


# ---- who sees what


@pytest.mark.parametrize("part", ["", "log", "log.txt", "raw", "actions", "cancel"])
def test_stranger_cannot_tell_that_the_task_exists(part: str) -> None:
    task = make_task()
    assert signed_in(make_user()).get(f"/tasks/{task.pk}/{part}").status_code == 404


@pytest.mark.parametrize(
    "address", ["/", "/tasks/", "/tasks/new-count", "/tasks/1/", "/tasks/1/log", "/tasks/1/raw"]
)
def test_nobody_signed_in_is_led_to_the_sign_in(client: Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


def test_list_shows_only_tasks_of_sources_one_has_a_role_on() -> None:
    mine, other = make_task(), make_task()
    client = signed_in(make_user(Role.VIEWER, source=mine.source))
    answer = client.get("/tasks/")
    assert shown(answer) == [mine.pk]
    assert other.source.name not in answer.text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN])
def test_every_role_opens_the_task(role: Role) -> None:
    task = make_task(object_name="db-01")
    answer = signed_in(make_user(role)).get(f"/tasks/{task.pk}/")
    assert answer.status_code == 200
    assert "Start db-01 (100)" in answer.text


def test_opening_a_running_task_makes_the_poller_watch_it() -> None:
    task = make_task()
    signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/")
    task.refresh_from_db()
    assert task.watched_until is not None


def test_actions_are_offered_to_an_operator_and_not_to_a_viewer() -> None:
    task = make_task()
    address = f"/tasks/{task.pk}/actions"
    assert "Cancel…" in signed_in(make_user(Role.OPERATOR)).get(address).text
    assert "Cancel…" not in signed_in(make_user(Role.VIEWER)).get(address).text


def test_an_audit_entry_of_a_task_leads_to_what_came_of_its_request() -> None:
    task = make_task(make_source())
    record(Action.TASK_BEGAN, actor=None, target=task, request_id="c" * 32, by="ann", upid=task.remote_id)
    text = signed_in(make_user(Role.AUDITOR)).get(f"/tasks/{task.pk}/").text
    assert "asked for by ann" in text
    assert f'href="/audit/requests/{"c" * 32}/"' in text


def test_audit_entries_are_for_auditors() -> None:
    task = make_task(
        state="failed", started_at=now() - timedelta(minutes=5), seen_at=now() - timedelta(minutes=4)
    )
    signed_in(make_user(Role.OPERATOR)).post(f"/tasks/{task.pk}/acknowledge")
    address = f"/tasks/{task.pk}/"
    assert "task.acknowledge" in signed_in(make_user(Role.AUDITOR)).get(address).text
    assert "task.acknowledge" not in signed_in(make_user(Role.VIEWER)).get(address).text


# ---- the list


def test_running_tasks_stand_on_top_then_the_newest() -> None:
    source, at = make_source(), datetime(2026, 11, 20, 12, tzinfo=UTC)
    old = make_task(source, started_at=at - timedelta(hours=9))
    ended = [make_task(source, state="completed", started_at=at - timedelta(minutes=m)) for m in (30, 10, 20)]
    answer = signed_in(make_user(Role.VIEWER)).get("/tasks/")
    assert shown(answer) == [old.pk, ended[1].pk, ended[2].pk, ended[0].pk]


def test_row_says_what_where_who_and_how_far() -> None:
    source = make_source(name="prod")
    make_task(
        source,
        type="qmclone",
        object_id="9000",
        object_name="tpl",
        new_vmid=207,
        new_name="web-07",
        node="pve2",
        remote_user="ann@pve",
        percent=62.4,
        seconds_left=118,
    )
    text = signed_in(make_user(Role.VIEWER)).get("/tasks/").text
    assert "Clone tpl (9000) → web-07 (207)" in text
    assert "pve2" in text and "ann@pve" in text
    assert "62 % · ~2 min left" in text
    assert 'title="qmclone' in text


def test_person_who_asked_through_the_portal_is_named() -> None:
    source, person = make_source(), make_user(username="mira")
    asked = Submission.objects.create(
        source=source,
        action="start",
        guest_kind="qemu",
        node="pve1",
        vmid=100,
        actor=person,
        actor_name="mira",
        idempotency_key="1",
    )
    make_task(source, submission=asked, remote_user="portal@pve")
    assert ">mira</span>" in signed_in(make_user(Role.VIEWER)).get("/tasks/").text


@pytest.mark.parametrize(
    ("fields", "identity", "words"),
    [
        (
            {"remote_user": "portal@pve", "remote_token": "web"},
            "portal@pve!web",
            "unknown person using token web",
        ),
        ({"remote_user": "root@pam"}, "root@pam", "unknown person behind root@pam"),
        ({"remote_user": "root@pam", "person": "Ann of ops"}, "as root@pam", "Ann of ops"),
    ],
    ids=["token", "user", "known"],
)
def test_a_foreign_task_names_its_person_or_says_that_nobody_knows(fields, identity, words) -> None:
    task = make_task(make_source(), **fields)
    client = signed_in(make_user(Role.VIEWER))
    row, page = client.get("/tasks/").text, client.get(f"/tasks/{task.pk}/").text
    assert words in row and identity in row
    assert words in page and identity.removeprefix("as ") in page


def test_failed_row_shows_its_last_error_line() -> None:
    make_task(state="failed", exit_text="start failed", error_line="TASK ERROR: no space left\nsecond")
    assert "no space left second</span>" in signed_in(make_user(Role.VIEWER)).get("/tasks/").text


def test_hostile_names_are_text() -> None:
    task = make_task(
        object_name="<script>alert(1)</script>\x1b[31m",
        node="<img src=x>",
        remote_user='"><b>@pve',
        error_line="<i>\x07",
        exit_text="<u>",
        state="failed",
    )
    add_log(task, "<script>alert(2)</script>\x1b[2J")
    client = signed_in(make_superuser())
    for address in ("/", "/tasks/", f"/tasks/{task.pk}/", f"/tasks/{task.pk}/log"):
        text = client.get(address).text
        for part in ("<script>alert", "<img src=x", '"><b>', "<i>", "<u>", "\x1b", "\x07"):
            assert part not in text, (address, part)


def test_rows_of_a_silent_source_say_that_they_are_the_last_known() -> None:
    source = make_source(name="prod-2", failing_since=now() - timedelta(minutes=5))
    make_task(source)
    make_task(source, state="completed")
    text = signed_in(make_user(Role.VIEWER)).get("/tasks/").text
    assert len(re.findall(r"<tr [^>]*data-stale", text)) == 1
    assert "<strong>prod-2</strong> unreachable since" in text


def test_list_costs_the_same_number_of_queries_for_few_and_many_tasks() -> None:
    source = make_source()
    client = signed_in(make_user(Role.OPERATOR))
    make_task(source)
    make_task(source, state="completed")
    few = count_queries(client, "/tasks/")
    for _ in range(20):
        make_task(source)
        make_task(source, state="failed")
    assert count_queries(client, "/tasks/") == few
    assert few <= 15


def test_list_does_not_read_the_wide_columns() -> None:
    make_task()
    client = signed_in(make_superuser())
    with CaptureQueriesContext(connection) as queries:
        client.get("/tasks/")
    assert not [query for query in queries if re.search(r"tracker_state|\"raw\"|search_text", query["sql"])]


# ---- filters


def make_zoo() -> dict[str, Task]:
    prod, lab = make_source(name="prod"), make_source(name="lab")
    for source in (prod, lab):
        Node.objects.create(source=source, name="pve1")
    Node.objects.create(source=lab, name="pve9")
    day_old = now() - timedelta(hours=30)
    return {
        "running": make_task(prod, type="qmclone", object_id="9000", new_vmid=207, new_name="web-07"),
        "queued": make_task(prod, state="pending", type="vzdump", object_id="105", object_name="mail"),
        "clean": make_task(prod, state="completed", remote_user="ann@pve"),
        "warned": make_task(prod, state="completed", warnings=2, object_id="300"),
        "failed": make_task(lab, state="failed", node="pve9", object_id="301"),
        "seen": make_task(lab, state="failed", acknowledged_at=now(), object_id="302"),
        "lost": make_task(lab, state="lost", object_id="303"),
        "old": make_task(lab, state="failed", started_at=day_old, object_id="304"),
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=processing", {"running"}),
        ("state=pending", {"queued"}),
        ("state=completed", {"clean"}),
        ("state=warnings", {"warned"}),
        ("state=failed", {"failed", "seen", "old"}),
        ("state=failed&since=24h", {"failed", "seen"}),
        ("state=attention", {"failed", "lost", "old"}),
        ("type=vzdump", {"queued"}),
        ("type=neverheardof", set()),
        ("node=pve9", {"failed"}),
        ("user=ANN", {"clean"}),
        ("q=207", {"running"}),
        ("q=web-07", {"running"}),
        ("q=303", {"lost"}),
        ("q=mail", {"queued"}),
        ("state=failed&node=pve9&q=301", {"failed"}),
        (
            "state=nonsense&source=x&node=--&since=ever",
            {*["running", "queued", "clean", "warned", "failed", "seen", "lost", "old"]},
        ),
    ],
)
def test_filter_leaves_what_was_asked_for(query: str, expected: set[str]) -> None:
    zoo = make_zoo()
    answer = signed_in(make_user(Role.VIEWER)).get(f"/tasks/?{query}")
    names = {task.pk: name for name, task in zoo.items()}
    assert {names[pk] for pk in shown(answer)} == expected


def test_filter_by_source_and_a_pasted_upid() -> None:
    zoo = make_zoo()
    client = signed_in(make_user(Role.VIEWER))
    lab = Source.objects.get(name="lab")
    assert set(shown(client.get(f"/tasks/?source={lab.pk}"))) == {
        zoo[name].pk for name in ("failed", "seen", "lost", "old")
    }
    rows = client.get("/tasks/", {"q": zoo["warned"].remote_id}, headers={"HX-Request": "true"})
    assert shown(rows) == [zoo["warned"].pk]


def test_chips_count_within_the_other_filters() -> None:
    make_zoo()
    lab = Source.objects.get(name="lab")
    answer = signed_in(make_user(Role.VIEWER)).get(f"/tasks/?source={lab.pk}")
    counts = {chip["words"]: chip["count"] for chip in answer.context["chips"]}
    assert counts == {"All": 4, "Running": 0, "Queued": 0, "Failed": 2, "Warnings": 0, "Needs attention": 2}


def test_new_tasks_are_counted_with_the_same_filters() -> None:
    source = make_source()
    newest = make_task(source).pk
    make_task(source, type="vzdump", object_id="105")
    make_task(source, type="vzdump", object_id="106")
    make_task(source)
    make_task(type="vzdump")  # of a source the person may not see
    client = signed_in(make_user(Role.VIEWER, source=source))
    assert "2 new tasks" in client.get(f"/tasks/new-count?type=vzdump&newest={newest}").text
    assert client.get("/tasks/new-count?newest=x").text.strip() == ""


# ---- empty lists


def test_empty_list_without_a_source_leads_to_the_wizard() -> None:
    assert "Connect a cluster" in signed_in(make_superuser()).get("/tasks/").text
    text = signed_in(make_user()).get("/tasks/").text
    assert "You have no role on a cluster yet" in text and "Connect a cluster" not in text


def test_empty_list_names_the_filters_that_hide_everything() -> None:
    make_task()
    text = signed_in(make_user(Role.VIEWER)).get("/tasks/?state=failed&q=zebra").text
    assert "State: Failed" in text and "Text: zebra" in text and "Clear filters" in text


def test_empty_list_names_the_privilege_the_token_lacks() -> None:
    make_source(permissions={"/vms": {"VM.Audit": 1}})
    text = signed_in(make_user(Role.VIEWER)).get("/tasks/").text
    assert "lacks <code>Sys.Audit</code>" in text and "pveum acl modify" in text


def test_truly_empty_list_says_so() -> None:
    make_source()
    assert "No tasks yet" in signed_in(make_user(Role.VIEWER)).get("/tasks/").text


# ---- pages


def test_pages_have_no_gap_and_no_double() -> None:
    source, at = make_source(), datetime(2026, 11, 20, 12, tzinfo=UTC)
    for number in range(30):
        # several tasks begin in the same second, as they do
        state = "processing" if number % 7 == 0 else "completed"
        make_task(
            source, state=state, started_at=at - timedelta(seconds=number // 4), object_id=str(100 + number)
        )
    seen: list[int] = []
    cursor = None
    for _ in range(20):
        page = read_page(Task.objects.all(), cursor, rows=4)
        seen += [task.pk for task in page.tasks]
        cursor = page.next and Cursor.parse(str(page.next))
        if cursor is None:
            break
    ordered = sorted(
        Task.objects.all(), key=lambda task: (not task.is_final, task.started_at, task.pk), reverse=True
    )
    assert seen == [task.pk for task in ordered]


def test_next_page_is_linked_with_the_filters_and_ends_the_list() -> None:
    source = make_source()
    for number in range(60):
        make_task(source, type="vzdump", state="completed", object_id=str(100 + number))
    make_task(source, state="completed")
    client = signed_in(make_user(Role.VIEWER))
    first = client.get("/tasks/?type=vzdump")
    link = re.search(r'<a class="button" href="(\?[^"]*before=[^"]*)"', first.text)
    assert link is not None
    second = client.get("/tasks/" + link[1].replace("&amp;", "&"), headers=HTMX | {"HX-Target": "task-more"})
    assert len(shown(first)) == 50 and len(shown(second)) == 10
    assert not set(shown(first)) & set(shown(second))
    assert "<html" not in second.text and "task-more" not in second.text


@pytest.mark.parametrize("text", ["", "x", "o-1", "e-99999999999999999-1", "e-1-", "o-1-1-1", "e-١-1"])
def test_cursor_that_is_not_ours_is_ignored(text: str) -> None:
    make_task()
    assert len(shown(signed_in(make_user(Role.VIEWER)).get("/tasks/", {"before": text}))) in (0, 1)


# ---- one task


def test_failure_is_shown_large_and_explained() -> None:
    task = make_task(state="failed", exit_text="unable to create VM 303 - no space left on device")
    text = signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/").text
    assert "The storage is full" in text and "What you can do" in text


def test_running_task_without_a_number_shows_what_is_usual_as_an_estimate() -> None:
    source, at = make_source(), now() - timedelta(days=1)
    for seconds in (20, 25, 30, 40):
        make_task(source, state="completed", started_at=at, ended_at=at + timedelta(seconds=seconds))
    task = make_task(source)
    text = signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/").text
    assert re.search(r"usually \d+–\d+ s \(last 4 runs\), an estimate", text)
    assert "<progress" in text and "value=" not in text.split("<progress", 1)[1].split(">", 1)[0]


def test_task_page_costs_a_bounded_number_of_queries() -> None:
    task = make_task(state="failed")
    add_log(task, *(f"line {number}" for number in range(600)))
    assert count_queries(signed_in(make_user(Role.OPERATOR)), f"/tasks/{task.pk}/") <= 14


def test_raw_json_is_given_as_json() -> None:
    task = make_task(raw={"upid": "UPID:x", "status": "<b>"})
    answer = signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/raw")
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {"upid": "UPID:x", "status": "<b>"}


def test_fragment_of_the_stream_is_the_same_for_everybody() -> None:
    """What is rendered without a request must be what the page includes."""
    from django.template.loader import render_to_string

    task = make_task(percent=10.0)
    row = render_to_string("tasks/_row.html", {"task": task, "oob": True})
    assert row.count('hx-swap-oob="true"') == 1
    page = signed_in(make_user(Role.OPERATOR)).get("/tasks/").text
    drawn = re.sub(r"\s+", " ", row.replace(' hx-swap-oob="true"', "")).strip()
    drawn = re.sub(r"\d+:\d\d<|\d+ (s|min) ago<", "<", drawn)
    assert drawn in re.sub(r"\d+:\d\d<|\d+ (s|min) ago<", "<", re.sub(r"\s+", " ", page))


# ---- cancelling


def test_operator_is_asked_in_words_with_the_focus_on_keeping() -> None:
    task = make_task(type="qmclone", object_id="9000", new_vmid=207)
    text = signed_in(make_user(Role.OPERATOR)).get(f"/tasks/{task.pk}/cancel", headers=HTMX).text
    assert "unfinished disks of the new guest" in text and "207" in text
    keep = text.split("Keep running")[0].rsplit("<a", 1)[1]
    assert "autofocus" in keep


def test_operator_cancels_and_it_is_audited() -> None:
    task = make_task()
    answer = signed_in(make_user(Role.OPERATOR)).post(
        f"/tasks/{task.pk}/cancel", {"reason": "wrong"}, headers=HTMX
    )
    assert answer.status_code == 200
    assert "Cancelling…" in answer.text
    assert f'id="task-{task.pk}"' in answer.text and 'id="task-status"' in answer.text
    assert "close-dialog" in answer["HX-Trigger-After-Swap"]
    assert AuditEntry.objects.get(action="task.cancel").data["reason"] == "wrong"


def test_without_a_script_the_cancel_leads_back_to_the_task() -> None:
    task = make_task()
    answer = signed_in(make_user(Role.OPERATOR)).post(f"/tasks/{task.pk}/cancel", {"reason": ""})
    assert answer["Location"] == f"/tasks/{task.pk}/"


@pytest.mark.parametrize("deed", ["cancel", "acknowledge"])
def test_viewer_is_refused_and_stranger_and_nobody_get_nothing(deed: str, client: Client) -> None:
    task = make_task(state=State.FAILED if deed == "acknowledge" else State.PROCESSING)
    address = f"/tasks/{task.pk}/{deed}"
    assert signed_in(make_user(Role.VIEWER)).post(address).status_code == 403
    assert signed_in(make_user()).post(address).status_code == 404
    assert client.post(address)["Location"].startswith("/account/login/")
    task.refresh_from_db()
    assert task.cancel_requested_at is None and task.acknowledged_at is None
    assert AuditEntry.objects.filter(action="permission.denied").count() == 1


def test_reason_that_is_too_long_is_shown_in_the_dialog() -> None:
    task = make_task()
    client = signed_in(make_user(Role.OPERATOR))
    answer = client.post(f"/tasks/{task.pk}/cancel", {"reason": "x" * 501}, headers=HTMX)
    assert answer.status_code == 422
    assert "at most 500 characters" in answer.text


def test_missing_privilege_is_named_instead_of_offering_a_button() -> None:
    source = make_source(permissions={"/": {"Sys.Audit": 1}})
    task = make_task(source, remote_user="root@pam")
    text = signed_in(make_user(Role.OPERATOR)).get(f"/tasks/{task.pk}/cancel", headers=HTMX).text
    assert "<code>Sys.Modify</code> on <code>/nodes/pve1</code>" in text
    assert "Cancel task</button>" not in text


def test_cancel_of_an_ended_task_says_that_it_ended() -> None:
    task = make_task(state="completed")
    client = signed_in(make_user(Role.OPERATOR))
    assert client.get(f"/tasks/{task.pk}/cancel", headers=HTMX).status_code == 409
    answer = client.post(f"/tasks/{task.pk}/cancel", headers=HTMX)
    assert answer.status_code == 409 and "has already ended" in answer.text


def test_too_late_cancel_is_told_with_the_true_end() -> None:
    task = make_task(
        state="completed",
        cancel_requested_at=now(),
        cancel_note="It finished before the cancel arrived.",
    )
    text = signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/").text
    assert "It finished before the cancel arrived." in text
    assert "Completed" in text


def test_note_is_asked_for_before_a_failure_is_acknowledged_on_its_page() -> None:
    task = make_task(state="failed", error_line="no space left")
    client = signed_in(make_user(Role.OPERATOR))
    address = f"/tasks/{task.pk}/acknowledge"
    assert f'hx-get="{address}"' in client.get(f"/tasks/{task.pk}/").text
    assert "no space left" in client.get(address, headers=HTMX).text
    assert "at most 500 characters" in client.post(address, {"note": "x" * 501}, headers=HTMX).text
    client.post(address, {"note": "disk replaced"}, headers=HTMX)
    task.refresh_from_db()
    assert task.acknowledged_note == "disk replaced"


def test_question_about_a_failure_is_not_for_viewers() -> None:
    task = make_task(state="failed")
    assert signed_in(make_user(Role.VIEWER)).get(f"/tasks/{task.pk}/acknowledge").status_code == 403


def test_last_line_of_a_lost_task_is_not_called_its_error() -> None:
    source = make_source()
    task = make_task(
        source, state="lost", exit_text="unexpected status", error_line="generating cloud-init ISO"
    )
    client = signed_in(make_user(Role.VIEWER))
    row = client.get("/tasks/").text
    assert "unexpected status</span>" in row and "generating cloud-init ISO" not in row
    page = client.get(f"/tasks/{task.pk}/").text
    assert '<p class="failure-line">unexpected status</p>' in page
    assert "The last line of its log: <code>generating cloud-init ISO</code>" in page


def test_paused_source_is_named_above_its_tasks() -> None:
    task = make_task(make_source(name="lab", paused_at=now()))
    client = signed_in(make_user(Role.VIEWER))
    for address in ("/tasks/", f"/tasks/{task.pk}/"):
        assert "<strong>lab</strong> is paused since" in client.get(address).text


def test_time_left_comes_before_what_a_narrow_row_cuts() -> None:
    make_task(percent=47, step="disk 2 of 2", bytes_done=1 << 30, bytes_total=2 << 30, seconds_left=100)
    text = signed_in(make_user(Role.VIEWER)).get("/tasks/").text
    assert "47 % · ~2 min left · disk 2 of 2 · 1.0 of 2.0 GiB" in text


def test_operator_acknowledges_a_failure() -> None:
    task = make_task(state="failed")
    answer = signed_in(make_user(Role.OPERATOR, username="olga")).post(
        f"/tasks/{task.pk}/acknowledge", headers=HTMX
    )
    assert "Acknowledged by olga" in re.sub(r"\s+", " ", answer.text)
    task.refresh_from_db()
    assert task.acknowledged_at is not None
