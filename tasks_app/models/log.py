"""Logs of tasks: single lines while a task runs, compressed chunks when it has ended."""

import json
import zlib
from typing import ClassVar

from django.db import models
from django.utils.timezone import now

from tasks_app.models.task import Task


class LogLine(models.Model):
    """One line of a running task. The last line may be incomplete and is written again by the next pass."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="log_lines")
    number = models.PositiveIntegerField()  # from 1, no gaps
    text = models.TextField()
    seen_at = models.DateTimeField(default=now)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["task", "number"], name="log_line_once")]

    def __str__(self) -> str:
        return f"{self.number}: {self.text[:80]}"


class TaskLog(models.Model):
    """What is kept of an ended task's log. `note` says why it is partial or missing, for people."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="log")
    lines = models.PositiveIntegerField(default=0)
    is_complete = models.BooleanField(default=False)
    note = models.CharField(max_length=300, blank=True)
    stored_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return f"log of {self.task_id}, {self.lines} lines"


class LogChunk(models.Model):
    """Consecutive lines of an ended task, compressed. Chunks of a task have no gaps."""

    LINES = 1000  # a page of the log touches one or two chunks, and a chunk inflates in about a millisecond

    log = models.ForeignKey(TaskLog, on_delete=models.CASCADE, related_name="chunks")
    first = models.PositiveIntegerField()  # number of its first line
    data = models.BinaryField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["log", "first"], name="log_chunk_once")]

    def __str__(self) -> str:
        return f"lines from {self.first}"

    @staticmethod
    def pack(texts: list[str]) -> bytes:
        """JSON rather than joined text: a line may hold anything, line breaks of broken remotes included."""
        return zlib.compress(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass"), 6)

    def unpack(self) -> list[str]:
        texts: list[str] = json.loads(zlib.decompress(bytes(self.data)).decode("utf-8", "surrogatepass"))
        return texts
