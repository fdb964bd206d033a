"""The tally and the text index follow the rows, on both databases."""

import random

import pytest
from django.db import connection
from django.db.models import Count
from django.db.models.functions import TruncDate

from tasks_app.models import Task, TaskTally, TaskText, search_sql
from tests.factories import make_source, make_task

pytestmark = pytest.mark.django_db
GROUP = ("day", "source_id", "node", "type", "state")


def counted() -> list[tuple]:
    rows = Task.objects.annotate(day=TruncDate("started_at")).values_list(*GROUP)
    return sorted(rows.annotate(n=Count("pk")).values_list(*GROUP, "n"))


def tallied() -> list[tuple]:
    return sorted(TaskTally.objects.exclude(count=0).values_list(*GROUP, "count"))


def test_the_tally_follows_inserts_updates_and_deletes():
    chance = random.Random(1)
    sources = [make_source(), make_source()]
    for _ in range(30):
        make_task(chance.choice(sources), type=chance.choice(["qmstart", "vzdump"]))
    assert tallied() == counted()
    for task in Task.objects.all()[::2]:
        Task.objects.filter(pk=task.pk).update(state=chance.choice(["completed", "failed"]))
    Task.objects.filter(type="vzdump").update(node="pve9")
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


def test_installing_again_changes_nothing():
    make_task()
    before = tallied()
    search_sql.install(connection)
    assert tallied() == before


def test_a_lost_tally_is_counted_anew():
    make_task()
    before = tallied()
    TaskTally.objects.all().delete()
    search_sql.install(connection)
    assert tallied() == before


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
            cursor.execute(f"SELECT count(*) FROM {search_sql.FTS} WHERE {search_sql.FTS} MATCH %s", [f'"{trigram}"'])
            return cursor.fetchone()[0] == 1

    assert found("t-1")
    assert not found("xyz")
    text.text = "xyzzy"
    text.save()
    assert found("xyz")
    assert not found("t-1")
    task.delete()
    assert not found("xyz")
