"""Logs of generation tasks: a remote tells its whole log each time, and what is new of it is kept.

Stored like the logs of a cluster's tasks, so that one page shows both. No progress is read from them.
"""

from collections.abc import Sequence
from datetime import datetime

from tasks_app.ingest.logs import store_final_log
from tasks_app.ingest.text import storable
from tasks_app.models import LogLine, Task

MOST_LINES = 20_000
"""Lines kept of one task; its log comes whole with every answer, so no remote gives more."""
MOST_CHARS = 2000
"""Characters kept of one line."""


def append_log(task: Task, lines: Sequence[str], *, at: datetime) -> bool:
    """Add the lines that are new; the last known one is written again when it has grown. False when nothing is new.

    Call it inside the transaction that holds the task's lock. A log that became shorter changes nothing.
    """
    texts = _kept(lines)
    known = task.log_total
    if len(texts) < max(known, 1):
        return False
    changed = 0
    if known:
        last = LogLine.objects.filter(task=task, number=known)
        changed = last.exclude(text=texts[known - 1]).update(text=texts[known - 1], seen_at=at)
    fresh = [
        LogLine(task=task, number=number, text=text, seen_at=at)
        for number, text in enumerate(texts[known:], known + 1)
    ]
    if not fresh and not changed:
        return False
    LogLine.objects.bulk_create(fresh, batch_size=500)
    if fresh:
        task.log_total = len(texts)
        Task.objects.filter(pk=task.pk).update(log_total=task.log_total)
    return True


def tells_more(task: Task, lines: Sequence[str] | None) -> bool:
    """Whether `lines` may hold more than what is kept: more of them, or a last one that may have grown."""
    return bool(lines) and len(lines or ()) >= task.log_total


def close_log(task: Task, *, at: datetime) -> None:
    """Compress the log of a task that has ended; one without a line is closed too, so that nobody looks for more."""
    note = "" if task.log_total < MOST_LINES else "Only the beginning of this very long log is kept."
    store_final_log(task, (), complete=not note, note=note, at=at, sleep=lambda _: None)


def _kept(lines: Sequence[str]) -> list[str]:
    texts = (line if isinstance(line, str) else str(line) for line in lines[:MOST_LINES])
    return [storable(text[:MOST_CHARS]) for text in texts]
