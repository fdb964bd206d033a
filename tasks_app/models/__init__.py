"""Tables, constraints and querysets. No network, no decisions."""

from tasks_app.models.access import Grant, Role, SetupToken
from tasks_app.models.audit import AuditEntry
from tasks_app.models.event import TaskEvent
from tasks_app.models.log import LogChunk, LogLine, TaskLog
from tasks_app.models.polling import WatchSlot
from tasks_app.models.source import Guest, Node, Source
from tasks_app.models.submission import Submission
from tasks_app.models.task import Task

__all__ = [
    "AuditEntry",
    "Grant",
    "Guest",
    "LogChunk",
    "LogLine",
    "Node",
    "Role",
    "SetupToken",
    "Source",
    "Submission",
    "Task",
    "TaskEvent",
    "TaskLog",
    "WatchSlot",
]
