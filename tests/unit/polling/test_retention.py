"""What is kept for a while only goes; nothing else does."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.ingest.logs import store_final_log
from tasks_app.models import LogLine, TaskEvent, WebhookCall
from tasks_app.polling.retention import tidy
from tests.factories import add_log, make_generation_source, make_task

pytestmark = pytest.mark.django_db


def test_events_older_than_an_hour_go_in_batches():
    for minutes, count in ((61, 1200), (59, 3)):
        at = now() - timedelta(minutes=minutes)
        TaskEvent.objects.bulk_create(
            TaskEvent(task_id=1, source_id=1, kind="state", at=at) for _ in range(count)
        )
    pauses = []
    tidy(sleep=pauses.append)
    assert TaskEvent.objects.count() == 3
    assert len(pauses) == 3


def test_single_lines_go_only_when_the_log_is_stored_compressed():
    running, ended = make_task(), make_task()
    add_log(running, "one")
    add_log(ended, "one")
    store_final_log(ended, [], complete=True, at=now(), sleep=lambda _: None)
    LogLine.objects.create(task=ended, number=1, text="left by a killed worker")
    tidy(sleep=lambda _: None)
    assert list(LogLine.objects.values_list("task", flat=True)) == [running.pk]


def test_ids_of_webhooks_go_after_a_day():
    source = make_generation_source()
    for hours in (23, 25):
        at = now() - timedelta(hours=hours)
        WebhookCall.objects.create(source=source, event_id=f"{hours} h old", at=at)
    tidy(sleep=lambda _: None)
    assert list(WebhookCall.objects.values_list("event_id", flat=True)) == ["23 h old"]
