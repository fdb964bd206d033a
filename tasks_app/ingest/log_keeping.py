"""What a cluster's settings say about the logs that are kept of its tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.ingest.logs import MAX_CHARACTERS
from tasks_app.models import Source, Task

KB = 1024  # characters; nearly all of a log is plain text, a byte each
SMALLEST_KB = 16
LARGEST_KB = MAX_CHARACTERS // KB
NOT_KEPT_NOTE = "Logs of tasks that were not started here are not kept: this cluster is set up so."
_LIMIT, _FOREIGN = "log_limit_kb", "keep_foreign_logs"


@dataclass(frozen=True, slots=True)
class LogKeeping:
    """`limit_kb` of one task's log, counted before it is compressed."""

    limit_kb: int = LARGEST_KB
    keeps_foreign: bool = True

    @property
    def characters(self) -> int:
        return self.limit_kb * KB

    @property
    def partial_note(self) -> str:
        """What is said of a log that was longer."""
        if self.limit_kb >= LARGEST_KB:
            return "Only the beginning of this very long log is kept."
        return f"Only the first {self.limit_kb} KB of this log are kept: this cluster is set up so."

    def as_settings(self) -> dict[str, Any]:
        """For `Source.settings`."""
        return {_LIMIT: self.limit_kb, _FOREIGN: self.keeps_foreign}


def read_log_keeping(settings: Mapping[str, Any]) -> LogKeeping:
    """Out of `Source.settings`; what is missing or makes no sense is as usual: whole logs of all tasks."""
    limit = settings.get(_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool) or not SMALLEST_KB <= limit <= LARGEST_KB:
        limit = LARGEST_KB
    return LogKeeping(limit, settings.get(_FOREIGN) is not False)


def is_foreign(task: Task, source: Source) -> bool:
    """Whether the task was not started by the portal: neither asked for here nor begun by its token."""
    identity = f"{task.remote_user}!{task.remote_token}" if task.remote_token else task.remote_user
    return task.submission_id is None and identity != source.token_id
