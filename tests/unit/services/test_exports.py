"""Exports: what they hold, in bounded steps, one entry each, and how many run at once."""

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.audit import export as pieces_module
from tasks_app.audit import filters as filters_module
from tasks_app.audit.actions import Action
from tasks_app.audit.chain import verify
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.formats import Format
from tasks_app.audit.recorder import record
from tasks_app.errors import NotPermitted
from tasks_app.ingest.texts import index_batch
from tasks_app.models import AuditEntry, Role, Submission, Task, triggers
from tasks_app.services import exports
from tasks_app.services.exports import AT_ONCE, TooManyExports, export_entries, export_tasks
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.states import State
from tests.factories import (
    make_generation,
    make_machine,
    make_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db
START = datetime(2026, 1, 1, tzinfo=UTC)


def read(export):
    try:
        return b"".join(export.stream)
    finally:
        export.stream.close()


def rows_of(export):
    return list(csv.DictReader(io.StringIO(read(export).decode(), newline="")))


def entries(actor=None, format=Format.JSONL, filters=None, **options):
    return export_entries(filters or AuditFilters(), actor=actor, format=format, **options)


def tasks(actor=None, format=Format.CSV, filters=None, **options):
    return export_tasks(
        filters or HistoryFilters(), actor=actor or make_superuser(), format=format, **options
    )


# What anyone can do with an export: as in docs/operations.md, without a line of the portal's.


def verify_export(file):
    previous = None
    for line in file:
        entry = json.loads(line)
        own, before = entry.pop("hash"), entry.pop("previous_hash")
        content = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(f"{before}\n{content}".encode()).hexdigest() != own:
            return f"#{entry['number']} was changed"
        if previous is not None and (entry["number"], before) != (previous[0] + 1, previous[1]):
            return f"#{entry['number']} does not follow #{previous[0]}"
        previous = entry["number"], own
    return previous


def make_trail():
    alice, source = make_user(username="alice"), make_source(name="prod ü")
    set_origin(Origin("r1", "2001:db8::7", "Agent \ud800 \0 ä"))
    try:
        for number in range(5):
            record(
                Action.SOURCE_CHANGE,
                actor=alice,
                target=source,
                before={"x": 0.5},
                after=[number, None, "ü\n"],
            )
    finally:
        set_origin(Origin())
    record(
        Action.LOGIN_FAILED, actor=None, target_name="=cmd|' /C calc'!A0", result=AuditEntry.Result.REFUSED
    )
    return source


def test_the_chain_can_be_verified_from_an_export_alone():
    make_trail()
    file = read(entries()).splitlines()
    last = AuditEntry.objects.order_by("number").last()
    assert len(file) == 7
    assert verify_export(file) == (7, last.hash)
    assert verify().is_intact


@pytest.mark.parametrize("tampering", ["changed", "removed", "swapped"])
def test_who_touches_an_export_is_found_out(tampering):
    make_trail()
    file = read(entries()).splitlines()
    if tampering == "changed":
        file[2] = file[2].replace(b"alice", b"bobby")
    elif tampering == "removed":
        del file[2]
    else:
        file[2], file[3] = file[3], file[2]
    assert isinstance(verify_export(file), str)


def test_the_recipe_of_the_documentation_says_the_same(tmp_path):
    make_trail()
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    (recipe,) = re.findall(r"### Verifying an export.*?```python\n(.*?)```", page, re.DOTALL)
    file = read(entries())

    def run(file):
        return subprocess.run(
            [sys.executable, "-c", recipe], input=file, capture_output=True, timeout=20, check=False
        )

    good, bad = run(file), run(file.replace(b"alice", b"bobby", 1))
    assert good.stdout.decode().split()[:3] == ["good", "up", "to"] and b"(7, " in good.stdout
    assert (bad.returncode, bad.stderr.strip()) == (1, b"#1 was changed")


def test_an_entry_that_was_changed_in_the_database_is_found_in_the_export():
    make_trail()
    triggers.remove(connection)
    AuditEntry.objects.filter(number=3).update(actor_name="mallory")
    triggers.install(connection)
    assert verify_export(read(entries()).splitlines()) == "#3 was changed"


def test_an_export_is_one_entry_written_before_the_first_byte():
    actor = make_user(Role.AUDITOR)
    begun = entries(actor, Format.CEF, AuditFilters(action="person.login", since=START))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name, entry.result) == ("audit.export", actor.username, "done")
    assert entry.data == {
        "format": "cef",
        "filters": {"action": "person.login", "since": "2026-01-01T00:00:00+00:00"},
    }
    assert read(begun) == b""
    assert AuditEntry.objects.count() == 1


def test_an_export_of_tasks_is_one_entry_too():
    read(tasks(filters=HistoryFilters(text="disk", vmid=7)))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.data) == (
        "tasks.export",
        {"format": "csv", "filters": {"text": "disk", "vmid": "7"}},
    )


def test_an_export_holds_the_entry_about_itself():
    assert [json.loads(line)["action"] for line in read(entries()).splitlines()] == ["audit.export"]


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.OPERATOR], ids=["stranger", "viewer", "operator"])
def test_who_may_not_read_the_trail_may_not_export_it(role):
    with pytest.raises(NotPermitted):
        entries(make_user(role))
    assert not AuditEntry.objects.filter(action="audit.export").exists()
    read(entries())  # and no place is held


def test_an_auditor_of_one_source_gets_the_entries_of_that_source():
    source = make_trail()
    record(Action.SOURCE_PAUSE, actor=None, target=make_source())
    file = read(entries(make_user(Role.AUDITOR, source=source))).splitlines()
    assert {json.loads(line)["source_name"] for line in file} == {source.name}
    assert len(file) == 5
    whole = read(entries(make_user(Role.AUDITOR))).splitlines()
    assert len(whole) == 9  # with both exports


def test_a_person_exports_the_tasks_they_see():
    mine, other = make_task(), make_task()
    viewer = make_user(Role.VIEWER, source=mine.source)
    assert [row["remote_id"] for row in rows_of(tasks(viewer))] == [mine.remote_id]
    assert rows_of(tasks(make_user())) == []
    assert len(rows_of(tasks())) == 2
    assert other.source != mine.source


def test_a_row_of_a_task_says_what_happened_and_who_asked():
    source = make_source(name="prod")
    machine = make_machine(source=source, team=make_team(make_user(), name="Blue"))
    submission = Submission.objects.create(
        source=source,
        action="start",
        guest_kind="qemu",
        node="pve1",
        vmid=100,
        actor_name="alice",
        request_id="req-7",
        idempotency_key="k",
        machine=machine,
    )
    task = make_task(
        source,
        state=State.FAILED,
        started_at=START,
        submission=submission,
        exit_text="=HYPERLINK(1)",
        error_line="-no space left",
        warnings=0,
    )
    (row,) = rows_of(tasks())
    assert {name: row[name] for name in row if row[name]} == {
        "id": str(task.pk),
        "started_at": "2026-01-01T00:00:00.000000Z",
        "ended_at": "2026-01-01T00:00:30.000000Z",
        "seconds": "30.0",
        "source": "prod",
        "node": "pve1",
        "type": "qmstart",
        "what": task.sentence,
        "outcome": "failed",
        "warnings": "0",
        "exit_text": "'=HYPERLINK(1)",
        "error_line": "'-no space left",
        "object_id": "100",
        "vmid": "100",
        "object_name": "web-01",
        "remote_user": "root@pam",
        "person": "alice",
        "asked_by": "alice",
        "team": "Blue",
        "request_id": "req-7",
        "remote_id": task.remote_id,
    }


def test_a_video_names_its_team_and_request():
    generation = make_generation(team=make_team(name="Red"), request_id="req-9")
    (row,) = rows_of(tasks())
    assert (row["team"], row["request_id"], row["asked_by"]) == ("Red", "req-9", generation.actor_name)


@pytest.mark.parametrize(
    ("outcome", "severity"),
    [
        ({"state": "failed"}, 107),
        ({"state": "lost"}, 108),
        ({"state": "completed"}, 110),
        ({"state": "completed", "warnings": 2}, 108),
        ({"state": "cancelled"}, 109),
        ({"state": "processing"}, 110),
    ],
    ids=["failed", "lost", "completed", "warnings", "cancelled", "running"],
)
def test_the_outcome_decides_the_severity(outcome, severity):
    make_task(**outcome)
    assert read(tasks(format=Format.SYSLOG)).startswith(f"<{severity}>1 ".encode())


def test_the_filters_of_the_history_hold_also_the_text_beyond_one_page(monkeypatch):
    monkeypatch.setattr(exports, "ROWS", 3)
    source = make_source()
    for number in range(20):
        words = "broken disk" if number % 2 else "all is well"
        make_task(source, search_text=words, started_at=START + timedelta(minutes=number), state=State.FAILED)
    while index_batch():
        pass
    filters = HistoryFilters(text="disk", since=START + timedelta(minutes=4))
    found = [row["started_at"] for row in rows_of(tasks(filters=filters))]
    assert found == [f"2026-01-01T00:{minute:02}:00.000000Z" for minute in range(19, 4, -2)]
    assert len(rows_of(tasks(filters=HistoryFilters(node="pve2")))) == 0


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_every_task_comes_once_whatever_the_size_of_the_steps(monkeypatch, size):
    monkeypatch.setattr(exports, "ROWS", size)
    source = make_source()
    made = [make_task(source, started_at=START + timedelta(seconds=number // 3)) for number in range(10)]
    assert [int(row["id"]) for row in rows_of(tasks())] == [task.pk for task in reversed(made)]


def test_rows_are_read_while_the_reader_takes_them(monkeypatch):
    monkeypatch.setattr(filters_module, "CHUNK", 2)
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", 1)
    for _ in range(10):
        record(Action.LOGIN, actor=None)
    begun = entries()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        next(begun.stream)
    assert len([query for query in queries if "auditentry" in query["sql"]]) == 1
    begun.stream.close()


def test_only_so_many_run_at_once_and_a_closed_one_makes_room():
    running = [entries() for _ in range(AT_ONCE)]
    with pytest.raises(TooManyExports):
        tasks()
    assert Task.objects.count() == 0
    assert not AuditEntry.objects.filter(action="tasks.export").exists()
    running[0].stream.close()
    running[0].stream.close()  # twice is once
    running.append(entries())
    with pytest.raises(TooManyExports):
        entries()
    read(running.pop())
    running.append(tasks())
    for export in running:
        export.stream.close()


def test_an_export_that_cannot_be_written_down_does_not_begin(monkeypatch):
    def fails(*args, **kwargs):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(exports, "record", fails)
        for _ in range(AT_ONCE + 1):
            with pytest.raises(OSError):
                entries()
    read(entries())


def test_a_failure_half_way_is_not_taken_for_the_end(monkeypatch):
    make_trail()
    begun = entries(format=Format.CSV)
    monkeypatch.setattr(exports, "record_of_entry", None)
    with pytest.raises(TypeError):
        read(begun)
    read(entries(filters=AuditFilters(actor="nobody")))


def test_it_stops_when_the_reader_has_left(monkeypatch):
    monkeypatch.setattr(filters_module, "CHUNK", 2)
    make_trail()
    answers = iter([False, False, True])
    assert len(read(entries(has_left=lambda: next(answers))).splitlines()) == 4
