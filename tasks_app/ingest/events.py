"""Collects the events of one transaction: at most one of a kind for each task."""

from datetime import datetime

from tasks_app.models import TaskEvent


class Events:
    """Write with `save` inside the transaction of the change."""

    def __init__(self, source_pk: int, at: datetime) -> None:
        self._source_pk, self._at = source_pk, at
        self._wanted: dict[tuple[int, str], None] = {}

    def add(self, kind: TaskEvent.Kind, task_pk: int = 0) -> None:
        self._wanted[(task_pk, kind.value)] = None

    def save(self) -> None:
        TaskEvent.objects.bulk_create(
            TaskEvent(task_id=task_pk, source_id=self._source_pk, kind=kind, at=self._at)
            for task_pk, kind in self._wanted
        )
