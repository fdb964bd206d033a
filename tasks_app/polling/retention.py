"""Removes what is kept for a while only, in batches that hold nobody up."""

import time
from collections.abc import Callable
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from tasks_app.ingest.logs import remove_single_lines
from tasks_app.ingest.tasks import BATCH_ROWS, PAUSE_SECONDS
from tasks_app.models import LogLine, TaskEvent, TaskLog, WebhookCall
from tasks_app.polling.cadence import EVENTS_KEPT, WEBHOOKS_KEPT


def tidy(*, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete old events, old ids of webhooks, and single log lines that a killed worker left beside their chunks."""
    _delete_older(TaskEvent, EVENTS_KEPT, sleep)
    _delete_older(WebhookCall, WEBHOOKS_KEPT, sleep)
    stored = TaskLog.objects.filter(task=OuterRef("task"))
    for task_pk in LogLine.objects.filter(Exists(stored)).values_list("task", flat=True).distinct():
        remove_single_lines(task_pk, sleep=sleep)


def _delete_older(
    model: type[TaskEvent | WebhookCall], kept: timedelta, sleep: Callable[[float], None]
) -> None:
    """Rows of `model` whose `at` is longer ago."""
    before = now() - kept
    while pks := list(
        model.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:BATCH_ROWS]
    ):
        model.objects.filter(pk__in=pks).delete()
        sleep(PAUSE_SECONDS)
