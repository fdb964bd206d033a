"""The demo's past goes in once, whatever happens on the way, and the trail says what it is."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from portal.supervisor.history import seed_history
from tasks_app.audit.actions import Action
from tasks_app.ingest.logs import read_lines
from tasks_app.ingest.texts import index_batch
from tasks_app.models import (
    AuditEntry,
    HistoryGap,
    KnownIdentity,
    LogChunk,
    RetentionPeriod,
    Source,
    Task,
    TaskLog,
    TaskTally,
)
from tasks_app.models.search import parse_terms
from tasks_app.services.acknowledgements import acknowledge_task
from tasks_app.services.audit_trail import verify_trail
from tasks_app.services.search import search_page
from tasks_app.states import State
from tests.factories import make_source, make_task

pytestmark = pytest.mark.django_db

COUNT = 900


class Killed(Exception):
    """Stands for a kill between two bursts of writing."""


def make_demo() -> Source:
    """A demo source that was connected a moment ago and has told of a task that began two days ago."""
    source = make_source(is_demo=True)
    make_task(source, state=State.COMPLETED, started_at=now() - timedelta(days=2))
    return source


def no_wait(_seconds: float) -> None:
    return None


def killed_after(bursts: int):
    left = iter(range(bursts))

    def sleep(_seconds: float) -> None:
        if next(left, None) is None:
            raise Killed

    return sleep


def rows():
    values = Task.objects.order_by("remote_id").values_list("remote_id", "state", "new_vmid", "log__lines")
    return list(values)


def test_every_task_has_its_log_as_if_it_had_been_followed():
    source = make_demo()
    assert seed_history(source, count=COUNT, sleep=no_wait)
    made = Task.objects.filter(source=source).order_by("started_at")[:COUNT]
    assert Task.objects.count() == COUNT + 1
    assert not Task.objects.unfinished().exists()
    assert TaskLog.objects.filter(is_complete=True, note="").count() == COUNT
    assert sum(TaskTally.objects.values_list("count", flat=True)) == COUNT + 1
    for task in made:
        lines = read_lines(task, 0, 1000)
        assert len(lines) == task.log_total == task.log.lines
        if task.state == State.COMPLETED:
            assert lines[-1][1].startswith("TASK OK") or task.warnings
    clone = Task.objects.filter(type="qmclone", state=State.COMPLETED).first()
    assert clone.new_vmid is not None
    assert f"with ID {clone.new_vmid}" in read_lines(clone, 0, 1)[0][1]
    assert not Task.objects.filter(state=State.FAILED, error_line="", exit_text="").exists()


def test_it_ends_before_the_clusters_own_past_and_leaves_no_gap():
    source = make_demo()
    old = make_task(source, state=State.COMPLETED, started_at=now() - timedelta(days=40), object_id="101")
    seed_history(source, count=COUNT, sleep=no_wait)
    made = Task.objects.filter(source=source, started_at__lt=old.started_at)
    assert made.count() == COUNT
    assert not made.filter(ended_at__gte=old.started_at).exists()
    assert not HistoryGap.objects.exists()


def test_it_is_written_once():
    source = make_demo()
    assert seed_history(source, count=COUNT, sleep=no_wait)
    before, entries = rows(), AuditEntry.objects.count()
    assert not seed_history(source, count=COUNT, sleep=no_wait)
    assert (rows(), AuditEntry.objects.count()) == (before, entries)


def test_what_retention_removed_does_not_come_back():
    source = make_demo()
    seed_history(source, count=COUNT, sleep=no_wait)
    RetentionPeriod.objects.create(family="start", days=1)
    Task.objects.filter(type="qmstart").delete()
    assert not seed_history(source, count=COUNT, sleep=no_wait)
    assert not Task.objects.filter(type="qmstart").exists()


@pytest.mark.parametrize("bursts", [0, 1, 3, 6], ids="after-{}".format)
def test_a_killed_one_is_gone_on_with_and_nothing_is_there_twice(bursts):
    whole = make_demo()
    with pytest.raises(Killed):
        seed_history(whole, count=COUNT, sleep=killed_after(bursts))
    part = Task.objects.count()
    assert seed_history(whole, count=COUNT, sleep=no_wait)
    assert part < Task.objects.count() == COUNT + 1 or TaskLog.objects.count() == COUNT
    assert TaskLog.objects.count() == COUNT
    assert LogChunk.objects.count() == TaskLog.objects.filter(lines__gt=0).count()
    assert AuditEntry.objects.filter(action=Action.DEMO_HISTORY).count() == 2


def test_the_trail_says_that_it_was_made_up_and_invents_no_deed():
    source = make_demo()
    seed_history(source, count=COUNT, sleep=no_wait)
    entries = AuditEntry.objects.all()
    assert set(entries.values_list("actor_name", flat=True)) == {"portal"}
    assert set(entries.values_list("action", flat=True)) <= {
        Action.DEMO_HISTORY,
        Action.IDENTITY_ADD,
        Action.TASK_ACKNOWLEDGE,
    }
    assert not verify_trail().problem
    assert entries.filter(action=Action.DEMO_HISTORY).last().data["finished"] is True


def test_the_portal_itself_acknowledges_what_everybody_heard_of():
    task = make_task(make_demo(), state=State.FAILED)
    acknowledge_task(task, actor=None, note="The file server was full.")
    task.refresh_from_db()
    assert (task.acknowledged_by, task.acknowledged_note) == (None, "The file server was full.")
    assert AuditEntry.objects.get(action=Action.TASK_ACKNOWLEDGE).actor_name == "portal"


def test_persons_are_known_from_the_first_row_on():
    source = make_demo()
    seed_history(source, count=COUNT, sleep=no_wait)
    assert KnownIdentity.objects.count() == 5
    persons = set(Task.objects.filter(source=source).values_list("remote_user", "remote_token", "person"))
    assert ("ci@pve", "jenkins", "Build server") in persons
    assert ("alice@pve", "", "alice") in persons
    assert {person for user, _, person in persons if user in ("root@pam", "portal@pve")} == {""}


def test_the_words_of_its_logs_are_found():
    source = make_demo()
    seed_history(source, count=COUNT, sleep=no_wait)
    while index_batch():
        pass
    terms = parse_terms('"create linked clone of drive"')
    found = search_page(Task.objects.all(), terms, below=None, size=500).tasks
    clones = Task.objects.filter(type="qmclone", remote_user="ci@pve", state=State.COMPLETED)
    assert clones.exists()
    assert {task.pk for task in found} >= set(clones.values_list("pk", flat=True))


def test_a_source_that_is_not_the_demos_gets_none():
    with pytest.raises(AssertionError):
        seed_history(make_source(), count=COUNT, sleep=no_wait)
    assert not Task.objects.exists()
