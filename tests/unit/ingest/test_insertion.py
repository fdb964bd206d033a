"""Many new tasks at once are the same rows that one would make of them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tasks_app.ingest.insertion import insert_tasks, like
from tasks_app.ingest.tasks import TOLD_SINGLY, ingest_observations
from tasks_app.models import Task, TaskEvent
from tasks_app.sources.base import TaskObservation
from tasks_app.states import State
from tests.factories import make_source, make_upid

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)


def make_row(source, **fields):
    known = {
        "remote_id": make_upid(started_at=AT),
        "node": "pve1",
        "type": "qmstart",
        "remote_user": "root@pam",
        "started_at": AT,
        "seen_at": AT,
        "changed_at": AT,
    }
    return Task(source=source, **(known | fields))


def values(remote_id):
    row = Task.objects.values().get(remote_id=remote_id)
    return {name: value for name, value in row.items() if name not in ("id", "remote_id", "owner_team_id")}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"state": State.COMPLETED, "ended_at": AT + timedelta(hours=1), "exit_text": "OK", "percent": 100.0},
        {
            "raw": {"pid": 1, "status": "ä€😀 'quoted' \"too\" %s \\ \n", "list": [1, None, True]},
            "warnings": 3,
        },
        {"vmid": 100, "new_vmid": 999_999_999, "bytes_total": 2**62, "object_name": "%(name)s \\u0041"},
        {"tracker_state": {"disk_bytes": {"scsi0": 1}}, "is_indexed": True, "person": "Ann"},
    ],
    ids=["plain", "ended", "text", "numbers", "others"],
)
def test_a_row_is_what_the_model_would_have_written(fields):
    source = make_source()
    by_model, at_once = make_row(source, **fields), make_row(source, **fields)
    by_model.save()
    insert_tasks([at_once])
    assert values(at_once.remote_id) == values(by_model.remote_id)


def test_what_is_there_already_stays_as_it_is():
    source = make_source()
    known = make_row(source, exit_text="first")
    known.save()
    new = make_row(source)
    insert_tasks([make_row(source, remote_id=known.remote_id, exit_text="second"), new])
    assert set(Task.objects.values_list("remote_id", "exit_text")) == {
        (known.remote_id, "first"),
        (new.remote_id, ""),
    }


def test_a_row_like_another_shares_nothing_that_is_set_later():
    empty = make_row(make_source())
    one, other = like(empty), like(empty)
    one.raw, one.exit_text = {"x": 1}, "one"
    assert (other.raw, other.exit_text, empty.exit_text) == ({}, "", "")
    assert one.pk is None


def test_a_batch_is_few_statements(django_assert_max_num_queries):
    source = make_source()
    rows = [make_row(source) for _ in range(500)]
    with django_assert_max_num_queries(1 if connection.vendor != "sqlite" else 500):
        insert_tasks(rows)
    assert Task.objects.count() == 500


# what pages are told of many


def seen(ended_at):
    started_at = ended_at - timedelta(seconds=5)
    upid = make_upid(started_at=started_at.replace(microsecond=0))
    return TaskObservation(
        remote_id=upid,
        node="pve1",
        type="qmstart",
        object_id="100",
        user="root@pam",
        token="",
        started_at=started_at,
        running=False,
        ended_at=ended_at,
        exit_text="OK",
        raw={},
    )


def told():
    return list(
        TaskEvent.objects.filter(kind=TaskEvent.Kind.NEW).order_by("id").values_list("task_id", flat=True)
    )


def test_of_history_pages_are_told_the_last_alone():
    old = [seen(AT - TOLD_SINGLY - timedelta(minutes=n)) for n in range(1, 100)]
    result = ingest_observations(make_source(), old, at=AT, sleep=lambda _: None)
    assert len(result.new_pks) == 99
    assert told() == [result.new_pks[-1]]


def test_of_what_ended_just_now_they_are_told_each():
    result = ingest_observations(
        make_source(), [seen(AT - timedelta(minutes=n)) for n in range(3)], at=AT, sleep=lambda _: None
    )
    assert told() == list(result.new_pks)
