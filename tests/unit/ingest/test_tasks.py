"""Observations become rows: once, one way, in batches, whatever the remote says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks_app.ingest.signs import mark_overdue
from tasks_app.ingest.tasks import BATCH_ROWS, add_evidence, finish_task, ingest_observations
from tasks_app.models import Submission, Task, TaskEvent
from tasks_app.progress.tracker import Tracker
from tasks_app.sources.base import TaskObservation
from tasks_app.states import State
from tests.factories import make_guest, make_source, make_task, make_user

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def seen(number=1, *, exit_text=None, ended=True, **fields):
    """A running task, or with `exit_text` one that ended 30 s later."""
    started = fields.pop("started_at", AT)
    type_, object_id, user = fields.get("type", "qmstart"), fields.get("object_id", "100"), "root@pam"
    start = int(started.timestamp())
    values = {
        "remote_id": f"UPID:pve1:{number:08X}:{number:08X}:{start:08X}:{type_}:{object_id}:{user}:",
        "node": "pve1",
        "type": type_,
        "object_id": object_id,
        "user": user,
        "token": "",
        "started_at": started,
        "running": exit_text is None,
        "exit_text": exit_text,
        "ended_at": started + timedelta(seconds=30) if exit_text is not None and ended else None,
        "raw": {"pid": number},
    }
    return TaskObservation(**(values | fields))


def ingest(source, *observations, at=AT):
    return ingest_observations(source, observations, at=at, sleep=lambda _: None)


def snapshot():
    return list(Task.objects.order_by("pk").values()), TaskEvent.objects.count()


def test_a_new_task_is_written_with_what_people_search_for():
    source = make_source()
    make_guest(source, vmid=9000, name="tpl-Ubuntu24")
    ingest(source, seen(type="qmclone", object_id="9000", token="web"))
    task = Task.objects.get()
    assert (task.vmid, task.object_name, task.state) == (9000, "tpl-Ubuntu24", State.PROCESSING)
    for text in ("clone tpl-ubuntu24 (9000)", task.remote_id.lower(), "root@pam!web", "pve1"):
        assert text in task.search_text


def test_writing_the_same_twice_writes_nothing(django_assert_num_queries):
    source = make_source()
    rows = [seen(n) for n in range(5)] + [seen(n, exit_text="OK") for n in range(5, 10)]
    ingest(source, *rows)
    before = snapshot()
    with django_assert_num_queries(1):
        result = ingest(source, *rows, at=AT + timedelta(seconds=60))
    assert snapshot() == before
    assert (result.new_pks, result.changed_pks) == ((), ())


def test_each_new_task_has_one_event():
    ingest(make_source(), *(seen(n) for n in range(3)))
    assert list(TaskEvent.objects.values_list("kind", flat=True)) == ["new"] * 3


def test_the_same_task_twice_in_one_list_is_one_row_and_the_end_wins():
    ingest(make_source(), seen(1, exit_text="OK"), seen(1), seen(1))
    assert Task.objects.get().state == State.COMPLETED


def test_rows_are_written_oldest_first():
    ingest(make_source(), *(seen(n, started_at=AT - timedelta(seconds=n)) for n in range(10)))
    starts = list(Task.objects.order_by("pk").values_list("started_at", flat=True))
    assert starts == sorted(starts)


def test_many_tasks_are_written_in_batches_with_a_pause_between():
    pauses = []
    rows = [seen(n, exit_text="OK") for n in range(BATCH_ROWS * 2 + 1)]
    result = ingest_observations(make_source(), rows, at=AT, sleep=pauses.append)
    assert len(result.new_pks) == len(rows)
    assert pauses == [0.02, 0.02]


@pytest.mark.parametrize(
    "broken",
    [
        {"remote_id": "UPID:garbage"},
        {"remote_id": ""},
        {"node": "n" * 101},
        {"type": "t" * 61},
        {"object_id": "x" * 601},
        {"started_at": datetime(2026, 1, 1)},
        {"node": "pve\0"},
        {"user": None},
    ],
)
def test_a_malformed_observation_is_skipped_and_the_others_written(broken, caplog):
    result = ingest(make_source(), seen(1), replace(seen(2), **broken), seen(3))
    assert (len(result.new_pks), result.skipped) == (2, 1)
    assert "observation skipped" in caplog.text


def test_nul_and_half_characters_are_stored_as_replacements():
    ingest(make_source(), seen(1, exit_text="a\0b\ud800c", raw={"status": "a\0b", "x": ["\0"]}))
    task = Task.objects.get()
    assert "\0" not in task.exit_text and "\0" not in str(task.raw)
    assert task.exit_text.startswith("a\ufffdb")


@pytest.mark.parametrize(
    ("exit_text", "state", "warnings"),
    [
        ("OK", State.COMPLETED, 0),
        ("WARNINGS: 3", State.COMPLETED, 3),
        ("no such VM", State.FAILED, 0),
        ("received interrupt", State.CANCELLED, 0),
        ("unexpected status", State.LOST, 0),
        ("", State.LOST, 0),
    ],
)
def test_the_exit_text_decides_the_state(exit_text, state, warnings):
    ingest(make_source(), seen(1, exit_text=exit_text))
    task = Task.objects.get()
    assert (task.state, task.warnings, task.exit_text) == (state, warnings, exit_text)
    assert task.percent == (100 if state == State.COMPLETED else None)


def test_a_running_task_that_ends_gets_one_more_event():
    source = make_source()
    ingest(source, seen(1))
    result = ingest(source, seen(1, exit_text="OK"))
    assert result.ended_pks == (Task.objects.get().pk,)
    assert list(TaskEvent.objects.values_list("kind", flat=True)) == ["new", "state"]


@pytest.mark.parametrize("first", ["OK", "failed", "received interrupt"])
def test_a_final_state_never_changes(first):
    source = make_source()
    ingest(source, seen(1, exit_text=first))
    before = snapshot()
    ingest(source, seen(1), seen(1, exit_text="something else"), seen(1, exit_text="OK"))
    assert snapshot() == before


def test_a_lost_task_is_corrected_by_better_evidence():
    source = make_source()
    ingest(source, seen(1, exit_text="unexpected status"))
    ingest(source, seen(1, exit_text="OK"))
    assert Task.objects.get().state == State.COMPLETED


def test_a_lost_task_does_not_run_again():
    source = make_source()
    ingest(source, seen(1, exit_text="unexpected status"))
    ingest(source, seen(1))
    assert Task.objects.get().state == State.LOST


def test_the_time_of_an_end_is_corrected_and_nothing_else():
    source = make_source()
    ingest(source, seen(1))
    ingest(source, seen(1, exit_text="OK", ended=False), at=AT + timedelta(seconds=99))
    assert Task.objects.get().ended_at == AT + timedelta(seconds=99)
    ingest(source, seen(1, exit_text="OK"))
    assert Task.objects.get().ended_at == AT + timedelta(seconds=30)
    late = replace(seen(1, exit_text="disk full"), ended_at=AT + timedelta(seconds=40))
    ingest(source, late)
    task = Task.objects.get()
    assert (task.state, task.exit_text, task.ended_at) == ("completed", "OK", AT + timedelta(seconds=40))
    before = snapshot()
    ingest(source, late)
    assert snapshot() == before


def test_a_cancel_that_people_asked_for_makes_any_error_a_cancel():
    source = make_source()
    ingest(source, seen(1))
    Task.objects.update(cancel_requested_at=AT)
    ingest(source, seen(1, exit_text="unexpected status"))
    assert Task.objects.get().state == State.CANCELLED


def test_two_sources_may_have_the_same_upid():
    ingest(make_source(), seen(1))
    ingest(make_source(), seen(1))
    assert Task.objects.count() == 2


def test_a_task_that_somebody_asked_for_is_linked_to_the_submission():
    source, actor = make_source(), make_user()
    clone = seen(1, type="qmclone", object_id="9000")
    submission = Submission.objects.create(
        source=source,
        action=Submission.Action.CLONE,
        guest_kind="qemu",
        node="pve1",
        vmid=9000,
        new_vmid=207,
        parameters={"name": "web-07"},
        actor=actor,
        actor_name=actor.username,
        idempotency_key="k",
        remote_id=clone.remote_id,
    )
    ingest(source, clone)
    task = Task.objects.get()
    assert (task.submission, task.new_vmid, task.new_name) == (submission, 207, "web-07")


def test_the_end_takes_error_line_and_new_guest_from_the_log():
    task = make_task(type="qmclone", object_id="9000")
    tracker = Tracker("qmclone")
    tracker.feed("Formatting '/var/lib/vz/images/207/vm-207-disk-0.qcow2', fmt=qcow2")
    tracker.feed("TASK ERROR: clone failed: no space left on device")
    observation = seen(1, exit_text="clone failed: no space left on device")
    assert finish_task(task, observation, at=AT, tracker=tracker)
    task.refresh_from_db()
    assert (task.state, task.new_vmid) == (State.FAILED, 207)
    assert "no space left" in task.search_text
    assert not finish_task(task, observation, at=AT, tracker=tracker)


def test_the_log_of_an_ended_task_adds_evidence_once():
    task = make_task(state=State.LOST, exit_text="unexpected status")
    tracker = Tracker("qmstart")
    tracker.feed("RDMA initialized successfullyTASK OK")
    assert add_evidence(task, tracker, at=AT)
    task.refresh_from_db()
    assert (task.state, task.percent) == (State.COMPLETED, 100)
    assert not add_evidence(task, tracker, at=AT)


def test_evidence_never_changes_a_failed_task_into_another_state():
    task = make_task(state=State.FAILED, exit_text="migration aborted", type="qmigrate")
    tracker = Tracker("qmigrate")
    tracker.feed("2026-11-20 10:00:01 ERROR: interrupted by signal")
    add_evidence(task, tracker, at=AT)
    task.refresh_from_db()
    assert task.state == State.FAILED


def test_overdue_is_a_sign_set_once_and_no_state():
    source = make_source()
    task = make_task(source, started_at=AT - timedelta(seconds=301))
    young = make_task(source, started_at=AT - timedelta(seconds=299))
    assert mark_overdue(source, [task, young], at=AT) == 1
    task.refresh_from_db()
    assert (task.overdue_since, task.state) == (AT, State.PROCESSING)
    assert mark_overdue(source, [task], at=AT) == 0


def test_numbers_that_are_no_json_become_null():
    source = make_source()
    ingest(source, seen(raw={"cpu": float("nan"), "max": float("inf"), "pid": 7}))
    assert Task.objects.get().raw == {"cpu": None, "max": None, "pid": 7}


def test_a_upid_longer_than_any_file_name_spoils_nothing():
    source = make_source()
    long = seen(2, object_id="😀" * 300)
    result = ingest(source, seen(1), long, replace(long, remote_id=long.remote_id + "x" * 2000))
    assert (len(result.new_pks), result.skipped) == (1, 2)
