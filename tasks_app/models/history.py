"""What makes a long history quick to search and honest to read: text, counts, gaps, periods, saved views, persons."""

from datetime import UTC, datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from tasks_app.models.source import Node, Source
from tasks_app.models.task import Task
from tasks_app.models.team import Team


class TaskText(models.Model):
    """What is searched of a task: its words and its log, lower case. Filled by a job soon after the task changed.

    `key` grows with the time of the start, so that a search in the order of keys is a search newest first; see
    `TaskText.key_of`. The full-text index over it is made by `models/search_sql.py`.
    """

    key = models.BigIntegerField(primary_key=True)
    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="text")
    text = models.TextField()
    log_characters = models.PositiveIntegerField(default=0)  # how much of it is log
    is_cut = models.BooleanField(default=False)  # the log was longer than what is searched

    _BITS: ClassVar = 22

    def __str__(self) -> str:
        return f"text of task {self.task_id}"

    @classmethod
    def key_of(cls, task: Task) -> int:
        """Seconds of the start, then the low bits of the task's key: the order of the task list, as one number."""
        return cls.first_key(task.started_at) | (task.pk & ((1 << cls._BITS) - 1))

    @classmethod
    def first_key(cls, at: datetime) -> int:
        """The lowest key of a task that began in the second of `at`."""
        return max(0, int(at.timestamp())) << cls._BITS

    @classmethod
    def time_of(cls, key: int) -> datetime:
        """When the task with this key began, to the second."""
        return datetime.fromtimestamp(key >> cls._BITS, UTC)


class TaskTally(models.Model):
    """How many tasks there are of a day (UTC), source, node, type and outcome. Triggers keep it: it cannot drift.

    `outcome` is one of `states.OUTCOMES`: the state, or "warnings".
    """

    day = models.DateField()
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    node = models.CharField(max_length=100, blank=True)
    type = models.CharField(max_length=60)
    outcome = models.CharField(max_length=20)
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["day", "source", "node", "type", "outcome"], name="tally_once")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.type} {self.outcome}: {self.count}"


class TaskRollup(models.Model):
    """The tally over longer times, and by day without the node: so that counting years reads few rows.

    Kept by the same triggers. `day` is the first day of the period; without the node, `node` is "".
    """

    class Grain(models.TextChoices):
        WEEK, MONTH, YEAR = "w", "m", "y"
        DAY_OF_ALL_NODES, WEEK_OF_ALL_NODES, MONTH_OF_ALL_NODES = "D", "W", "M"

    grain = models.CharField(max_length=1, choices=Grain.choices)
    day = models.DateField()
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    node = models.CharField(max_length=100, blank=True)
    type = models.CharField(max_length=60)
    outcome = models.CharField(max_length=20)
    count = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["grain", "day", "source", "node", "type", "outcome"], name="rollup_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.grain} {self.day} {self.type} {self.outcome}: {self.count}"


class HistoryGap(models.Model):
    """A stretch of a node's history that nobody can have any more: the node had dropped it before it was read."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="gaps")
    since = models.DateTimeField()  # the last start that was read before
    until = models.DateTimeField()  # the oldest start the node still had
    found_at = models.DateTimeField(default=now)

    class Meta:
        ordering: ClassVar = ["-until"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["node", "since"], name="history_gap_once")]

    def __str__(self) -> str:
        return f"{self.node} {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"


class RetentionPeriod(models.Model):
    """How long ended tasks of a family are kept, in days. Without a row they are kept for ever."""

    family = models.CharField(max_length=20, unique=True)  # see kinds.HISTORY_FAMILIES
    days = models.PositiveIntegerField()
    purging_until = models.DateTimeField(null=True)  # a purge is under way and holds the family until then

    def __str__(self) -> str:
        return f"{self.family}: {self.days} days"


class SavedView(models.Model):
    """A search with a name; `query` is the query of its address. Private, or of a team when `team` is set."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="saved_views", null=True)
    name = models.CharField(max_length=60)
    query = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["owner", "name"], name="saved_view_once")]

    def __str__(self) -> str:
        return self.name


class KnownIdentity(models.Model):
    """Which person stands behind a Proxmox user, or behind a token of one. `source` null: on every cluster."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+", null=True)
    remote_user = models.CharField(max_length=200)  # user@realm
    remote_token = models.CharField(max_length=100, blank=True)  # "" is the user without a token
    person_name = models.CharField(max_length=200)
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["remote_user", "remote_token"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "remote_user", "remote_token"], name="identity_once"),
            models.UniqueConstraint(
                fields=["remote_user", "remote_token"],
                name="identity_once_everywhere",
                condition=models.Q(source__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        token = f"!{self.remote_token}" if self.remote_token else ""
        return f"{self.remote_user}{token} is {self.person_name}"
