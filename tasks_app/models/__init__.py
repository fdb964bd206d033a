"""Tables, constraints and querysets. No network, no decisions."""

from tasks_app.models.access import Grant, Role, SetupToken
from tasks_app.models.audit import AuditEntry, AuditHead, AuditMark
from tasks_app.models.catalog import CatalogItem
from tasks_app.models.event import TaskEvent
from tasks_app.models.generation import ApiToken, Asset, Generation, Upload, WebhookCall
from tasks_app.models.history import (
    HistoryGap,
    KnownIdentity,
    RetentionPeriod,
    SavedView,
    TaskRollup,
    TaskTally,
    TaskText,
)
from tasks_app.models.log import LogChunk, LogLine, TaskLog
from tasks_app.models.machine import Machine, Stage
from tasks_app.models.order import Order
from tasks_app.models.polling import WatchSlot
from tasks_app.models.source import Guest, Node, Source
from tasks_app.models.submission import Submission
from tasks_app.models.task import Task
from tasks_app.models.team import Notice, Profile, Team, TimeLimit

__all__ = [
    "ApiToken",
    "Asset",
    "AuditEntry",
    "AuditHead",
    "AuditMark",
    "CatalogItem",
    "Generation",
    "Grant",
    "Guest",
    "HistoryGap",
    "KnownIdentity",
    "LogChunk",
    "LogLine",
    "Machine",
    "Node",
    "Notice",
    "Order",
    "Profile",
    "RetentionPeriod",
    "Role",
    "SavedView",
    "SetupToken",
    "Source",
    "Stage",
    "Submission",
    "Task",
    "TaskEvent",
    "TaskLog",
    "TaskRollup",
    "TaskTally",
    "TaskText",
    "Team",
    "TimeLimit",
    "Upload",
    "WatchSlot",
    "WebhookCall",
]
