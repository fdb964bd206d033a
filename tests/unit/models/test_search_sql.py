"""The tally and the text index follow the rows, on both databases."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from tasks_app.models import (
    Generation,
    Machine,
    Submission,
    Task,
    TaskRollup,
    TaskTally,
    TaskText,
    search_sql,
)
from tasks_app.states import outcome_of
from tests.factories import make_generation, make_machine, make_source, make_task, make_team

pytestmark = pytest.mark.django_db
GROUP = ("day", "source_id", "node", "type", "outcome")
FIRST_DAYS = {
    "w": lambda day: day - timedelta(days=day.weekday()),
    "m": lambda day: day.replace(day=1),
    "y": lambda day: day.replace(month=1, day=1),
    "D": lambda day: day,
    "W": lambda day: day - timedelta(days=day.weekday()),
    "M": lambda day: day.replace(day=1),
}


def counted() -> list[tuple]:
    """What both tallies have to say: first those of days, then the others."""
    days: Counter = Counter()
    others: Counter = Counter()
    for task in Task.objects.all():
        outcome, day = outcome_of(task.state, task.warnings), task.started_at.date()
        days[day, task.source_id, task.node, task.type, outcome] += 1
        for grain, first in FIRST_DAYS.items():
            node = "" if grain.isupper() else task.node
            others[grain, first(day), task.source_id, node, task.type, outcome] += 1
    return sorted((*key, n) for key, n in days.items()) + sorted((*key, n) for key, n in others.items())


def tallied() -> list[tuple]:
    days = TaskTally.objects.exclude(count=0).values_list(*GROUP, "count")
    return sorted(days) + sorted(TaskRollup.objects.exclude(count=0).values_list("grain", *GROUP, "count"))


def test_the_tally_follows_inserts_updates_and_deletes():
    chance = random.Random(1)
    sources = [make_source(), make_source()]
    for _ in range(30):
        at = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=chance.randrange(-9, 9))
        make_task(chance.choice(sources), type=chance.choice(["qmstart", "vzdump"]), started_at=at)
    assert tallied() == counted()
    for task in Task.objects.all()[::2]:
        Task.objects.filter(pk=task.pk).update(state=chance.choice(["completed", "failed"]))
    Task.objects.filter(type="vzdump").update(node="pve9")
    Task.objects.filter(state="completed").update(warnings=2)
    assert tallied() == counted()
    Task.objects.filter(pk__in=list(Task.objects.values_list("pk", flat=True)[:10])).delete()
    assert tallied() == counted() != []


def test_a_source_goes_with_its_tally():
    source, other = make_source(), make_source()
    make_task(source)
    make_task(other)
    source.delete()
    assert tallied() == counted()
    assert set(TaskTally.objects.values_list("source_id", flat=True)) == {other.pk}
    assert set(TaskRollup.objects.values_list("source_id", flat=True)) == {other.pk}


def test_installing_again_changes_nothing():
    make_task()
    before = tallied()
    search_sql.install(connection)
    assert tallied() == before


def test_a_lost_tally_is_counted_anew():
    make_task()
    before = tallied()
    search_sql.remove(connection)
    assert tallied() == []
    search_sql.install(connection)
    assert tallied() == before


@pytest.mark.django_db(transaction=True)
def test_the_newest_migration_is_undone_and_done_again_with_its_triggers_and_counts():
    make_task()
    before = tallied()
    call_command("migrate", "tasks_app", "0005", verbosity=0)
    call_command("migrate", verbosity=0)
    assert tallied() == before
    make_task()
    assert tallied() == counted()


def test_keys_of_texts_have_the_order_of_the_list():
    source = make_source()
    for _ in range(5):
        make_task(source)
    newest_first = list(Task.objects.order_by("-started_at", "-pk"))
    for task in newest_first:
        TaskText.objects.create(key=TaskText.key_of(task), task=task, text=str(task))
    assert [text.task for text in TaskText.objects.order_by("-key")] == newest_first


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps its index by itself")
def test_the_text_index_follows_its_rows():
    task = make_task()
    text = TaskText.objects.create(key=TaskText.key_of(task), task=task, text="guest-1.example.com")

    def found(trigram: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM {search_sql.FTS} WHERE {search_sql.FTS} MATCH %s", [f'"{trigram}"']
            )
            return cursor.fetchone()[0] == 1

    assert found("t-1")
    assert not found("xyz")
    text.text = "xyzzy"
    text.save()
    assert found("xyz")
    assert not found("t-1")
    task.delete()
    assert not found("xyz")


def test_a_task_has_the_team_of_its_machine_or_generation():
    one, other = make_team(), make_team()
    machine = make_machine(team=one)
    submission = Submission.objects.create(
        source=machine.source,
        action="start",
        guest_kind="qemu",
        node="pve1",
        vmid=1,
        actor_name="a",
        machine=machine,
    )
    task, made, foreign = make_task(submission=submission), make_generation(team=one).task, make_task()

    def teams():
        return [Task.objects.get(pk=row.pk).owner_team for row in (task, made, foreign)]

    assert teams() == [one, one, None]
    assert set(Task.objects.of_teams([one.pk])) == {task, made}
    Task.objects.filter(pk=foreign.pk).update(submission=submission)
    Generation.objects.update(team=None)
    assert teams() == [one, None, one]
    Machine.objects.update(team=other)
    assert teams() == [other, None, other]
    Submission.objects.update(machine=None)
    assert teams() == [None, None, None]
    Submission.objects.update(machine=machine)
    assert teams() == [other, None, other]
    Task.objects.filter(pk=foreign.pk).update(submission=None)
    assert teams() == [other, None, None]
