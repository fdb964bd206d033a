"""Removes what is kept for a while only, in batches that hold nobody up."""

import time
from collections.abc import Callable

from django.db.models import Exists, OuterRef
from django.utils.timezone import now

from tasks_app.ingest.logs import remove_single_lines
from tasks_app.ingest.tasks import BATCH_ROWS, PAUSE_SECONDS
from tasks_app.models import LogLine, TaskEvent, TaskLog
from tasks_app.polling.cadence import EVENTS_KEPT


def tidy(*, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete old events, and single log lines that a killed worker left beside their compressed form."""
    before = now() - EVENTS_KEPT
    while True:
        old = TaskEvent.objects.filter(at__lt=before).order_by("at")
        pks = list(old.values_list("pk", flat=True)[:BATCH_ROWS])
        if not pks:
            break
        TaskEvent.objects.filter(pk__in=pks).delete()
        sleep(PAUSE_SECONDS)
    stored = TaskLog.objects.filter(task=OuterRef("task"))
    for task_pk in LogLine.objects.filter(Exists(stored)).values_list("task", flat=True).distinct():
        remove_single_lines(task_pk, sleep=sleep)
