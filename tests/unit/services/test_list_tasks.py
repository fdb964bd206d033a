"""`manage.py list_tasks`: filters, a table for people, JSON lines for scripts."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from tasks_app.states import State
from tests.factories import make_source, make_task

pytestmark = pytest.mark.django_db


def run(*arguments):
    out = io.StringIO()
    call_command("list_tasks", *arguments, stdout=out)
    return out.getvalue().splitlines()


def run_json(*arguments):
    return [json.loads(line) for line in run("--json", *arguments)]


def test_newest_first_and_aligned():
    source = make_source(name="prod")
    old = make_task(source, state=State.COMPLETED, started_at=datetime(2026, 1, 1, 12, tzinfo=UTC))
    new = make_task(source, type="qmclone", new_vmid=207, new_name="web-07", percent=62.4)
    heading, first, second = run()
    assert heading.split() == ["ID", "STATE", "WHAT", "WHERE", "BY", "STARTED", "TOOK", "%"]
    assert first.split()[0] == str(new.pk)
    assert second.split()[0] == str(old.pk)
    assert first.index("prod/pve1") == second.index("prod/pve1") == heading.index("WHERE")
    assert "Clone web-01 (100) → web-07 (207)" in first
    assert first.endswith("62")
    assert "0:00:30" in second
    assert "root@pam" in second


def test_filters_add_up():
    prod, lab = make_source(name="prod"), make_source(name="lab")
    wanted = make_task(prod, state=State.FAILED, type="qmclone")
    make_task(prod, state=State.FAILED)
    make_task(prod, type="qmclone")
    make_task(lab, state=State.FAILED, type="qmclone")
    found = run_json("--source", "prod", "--state", "failed", "--type", "qmclone")
    assert [row["id"] for row in found] == [wanted.pk]


def test_the_limit_counts_newest_first():
    source = make_source()
    tasks = [
        make_task(source, started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)) for n in range(5)
    ]
    assert [row["id"] for row in run_json("--limit", "2")] == [tasks[4].pk, tasks[3].pk]


def test_json_has_the_facts():
    task = make_task(
        make_source(name="prod"),
        state=State.FAILED,
        exit_text="größer",
        remote_user="portal@pve",
        remote_token="web",
    )
    (row,) = run_json()
    assert (row["upid"], row["state"], row["exit_text"], row["user"]) == (
        task.remote_id,
        "failed",
        "größer",
        "portal@pve!web",
    )
    assert datetime.fromisoformat(row["started_at"]) == task.started_at
    assert datetime.fromisoformat(row["ended_at"]) == task.ended_at


def test_without_tasks_there_is_a_heading_or_nothing():
    assert len(run()) == 1
    assert run("--json") == []


def test_a_remote_text_does_not_steer_the_terminal():
    make_task(object_name="evil\x1b[2J\nname", remote_user="a\x07b@pam")
    assert len(run()) == 2
    assert "\x1b" not in "".join(run())
    assert "\x07" not in "".join(run())


def test_an_unknown_source_is_named_with_those_that_exist():
    make_source(name="prod")
    with pytest.raises(CommandError, match=r"There is no source “nosuch”\. Known: prod"):
        run("--source", "nosuch")


@pytest.mark.parametrize(
    "arguments", [("--state", "sleeping"), ("--limit", "0"), ("--limit", "-3"), ("--limit", "x")]
)
def test_what_cannot_be_used_is_refused(arguments):
    with pytest.raises(CommandError):
        run(*arguments)


def test_the_number_of_queries_does_not_grow(django_assert_num_queries):
    source = make_source()
    for _ in range(5):
        make_task(source)
    with django_assert_num_queries(1):
        run()
