"""Tasks of generation sources that show no sign of life: how long they have, and who is past it."""

from collections.abc import Collection
from datetime import datetime, timedelta

from tasks_app.ingest import generations
from tasks_app.models import Generation, Source
from tasks_app.polling.asking import QUIET_SECONDS, is_quiet
from tasks_app.polling.memory import GenerationMemory
from tasks_app.progress.estimate import usual_duration
from tasks_app.states import State

USUAL_RUNS = 30
USUAL_KEPT = timedelta(minutes=10)
"""What is usual changes slowly; between two looks at the table."""


def count_lists(memory: GenerationMemory, listed: Collection[Generation]) -> None:
    """A list has shown these tasks: one more question about each, unless it has shown a sign since the last."""
    for row in listed:
        since, count = memory.lists_without_sign.get(row.pk, (row.last_sign_at, 0))
        memory.lists_without_sign[row.pk] = (row.last_sign_at, count + 1 if since == row.last_sign_at else 1)


def note_quiet(source: Source, memory: GenerationMemory, rows: Collection[Generation], at: datetime) -> int:
    """Warn of tasks without a sign of life. `rows` as they stood before the pass; returns how many are new."""
    quiet = []
    for row in rows:
        seconds = (at - row.last_sign_at).total_seconds()
        if row.quiet_since is not None or seconds < QUIET_SECONDS:
            continue
        _, lists = memory.lists_without_sign.get(row.pk, (None, 0))
        usual = usual_seconds(source, row.kind, memory, at)
        if is_quiet(asks=row.asks_without_sign + lists, seconds=seconds, usual_seconds=usual):
            quiet.append(row)
    return generations.mark_quiet(source, quiet, at=at) if quiet else 0


def usual_seconds(source: Source, kind: str, memory: GenerationMemory, at: datetime) -> float | None:
    """The median of recent completed tasks of that kind there; None when too few are known. Remembered."""
    known = memory.usual.get(kind)
    if known is not None and at - known[0] < USUAL_KEPT:
        return known[1]
    ended = Generation.objects.filter(
        task__source=source, kind=kind, task__state=State.COMPLETED, task__ended_at__isnull=False
    )
    times = ended.order_by("-task_id").values_list("processing_at", "called_at", "asked_at", "task__ended_at")
    usual = usual_duration(
        [
            (end - (began or called or asked)).total_seconds()
            for began, called, asked, end in times[:USUAL_RUNS]
            if end is not None
        ]
    )
    memory.usual[kind] = (at, usual.median if usual else None)
    return memory.usual[kind][1]
