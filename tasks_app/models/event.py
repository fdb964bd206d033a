"""Events: something about a task or a source changed. The increasing id is the cursor of the live stream."""

from typing import ClassVar

from django.db import models
from django.utils.timezone import now


class TaskEvent(models.Model):
    """Appended by `ingest` and `services` in the transaction of the change. Kept for an hour, for reconnects.

    `task` and `source` are plain numbers: an event outlives what it tells of. `task` is 0 for an event of a source.
    """

    class Kind(models.TextChoices):
        NEW = "new", "New task"
        STATE = "state", "State or signs changed"
        PROGRESS = "progress", "Progress moved"
        LOG = "log", "Lines were added"
        SOURCE = "source", "Health of a source changed"

    task_id = models.BigIntegerField(default=0)
    source_id = models.BigIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    at = models.DateTimeField(default=now)

    class Meta:
        indexes: ClassVar = [
            # retention
            models.Index(fields=["at"], name="event_at"),
            # the events of one task's page
            models.Index(fields=["task_id", "id"], name="event_task"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} task={self.task_id} source={self.source_id}"
