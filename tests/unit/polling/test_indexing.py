"""The job that makes texts searchable: started while there is something to do, one at a time."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from django_q.brokers import get_broker

from tasks_app.models import Task, TaskText, WatchSlot
from tasks_app.polling import indexing
from tasks_app.polling.indexing import enqueue_indexing, index_texts
from tests.factories import make_source, make_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def enqueued():
    """Jobs enqueued since the test began."""
    before = get_broker().queue_size()
    return lambda: get_broker().queue_size() - before


def run():
    return index_texts(sleep=lambda _: None)


def test_nothing_to_index_enqueues_nothing(enqueued):
    make_task()
    run()
    enqueue_indexing(now())
    assert enqueued() == 0


def test_a_job_is_enqueued_once_and_again_when_its_message_is_lost(enqueued):
    make_task()
    at = now()
    for _ in range(3):
        enqueue_indexing(at)
    assert enqueued() == 1
    enqueue_indexing(at + timedelta(seconds=61))
    assert enqueued() == 2


def test_the_job_indexes_in_batches_until_nothing_is_left(monkeypatch, enqueued):
    monkeypatch.setattr("tasks_app.ingest.texts.BATCH", 2)
    source = make_source()
    for _ in range(5):
        make_task(source)
    assert run() == 5
    assert TaskText.objects.count() == 5
    make_task(source)
    enqueue_indexing(now())
    assert enqueued() == 1


def test_the_job_ends_in_time_and_the_next_goes_on(monkeypatch, enqueued):
    monkeypatch.setattr("tasks_app.ingest.texts.BATCH", 2)
    monkeypatch.setattr(indexing, "RUN_SECONDS", 0.0)
    source = make_source()
    for _ in range(5):
        make_task(source)
    assert run() == 2
    enqueue_indexing(now())
    assert enqueued() == 1
    assert run() == 2


def test_a_second_job_at_the_same_time_does_nothing():
    make_task()
    WatchSlot.objects.create(slot=100, owner="other:1", until=now() + timedelta(seconds=5))
    assert run() == 0
    WatchSlot.objects.update(until=now())
    assert run() == 1


def test_a_job_that_broke_off_leaves_the_slot_free(monkeypatch):
    make_task()
    with monkeypatch.context() as patch:
        patch.setattr(indexing, "index_batch", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert run() == 1
    assert not Task.objects.filter(is_indexed=False).exists()
