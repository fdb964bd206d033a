"""Tasks: one row per unit of remote work, for ever."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, F, Func, OuterRef, Q
from django.utils.timezone import now

from tasks_app import kinds
from tasks_app.models.access import Grant
from tasks_app.models.source import Source
from tasks_app.models.team import Team
from tasks_app.states import ATTENTION, CHOICES, FINAL_STATES, LABELS, OPEN_STATES, WARNINGS, State

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from tasks_app.models.generation import Generation
    from tasks_app.models.machine import Machine

_OPEN = sorted(OPEN_STATES)
WATCH_SECONDS = 30  # a page says every 10 s that it is open, so two of these may get lost


def _literally(field: str, comparison: str) -> Func:
    """A condition that SQLite can read, which is how it finds out that a partial index serves.

    With the states as parameters, the poller's question for open tasks read every task the source ever had (92 ms at
    50,000 tasks on a busy machine, each second, instead of 1).
    """
    return Func(F(field), template=f"%(expressions)s {comparison}", output_field=models.BooleanField())


def _is_one_of(states: Iterable[str]) -> Func:
    return _literally("state", "IN ({})".format(", ".join(f"'{state}'" for state in states)))


_IS_OPEN = _is_one_of(_OPEN)
_IS_FAILURE = _is_one_of([State.FAILED.value, State.LOST.value])
_HAS_WARNINGS = _literally("warnings", "> 0")


class Unindexed(Func):
    """A field that SQLite shall compare row by row: without statistics it would rather take the field's index.

    For the rare among the common: failures that nobody acknowledged of a type that half of all tasks have.
    """

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s")

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s")


# Prefix of an id in the portal's own task API → the type it stands for; "" is every task of a cluster.
_API_TYPES = {"vid": "video", "img": "image", "workflow": "workflow", "pve": ""}


class TaskQuerySet(models.QuerySet["Task"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Tasks on the sources `user` holds a role on, and those of their teams. Every page starts here.

        Roles and teams are asked for here, one or two short queries, so that each person gets the query that is cheap
        for them: nothing to check with a role on all sources; an index with a role on one; EXISTS and not IN with roles
        on some, because for `source_id IN (…)` SQLite reads all rows of these sources and sorts them, instead of the
        first 50 of an index in the order of the list (46 against 3 ms at 50,000 tasks). Who has nothing but teams:
        their few tasks are found by an index of their own.
        """
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        grants = Grant.objects.filter(user_id=user.pk)
        granted = set(grants.values_list("source_id", flat=True))
        if None in granted:
            return self
        team_ids = list(Team.objects.of(user).values_list("pk", flat=True))
        by_role = Q(Exists(grants.filter(source=OuterRef("source_id"))))
        if team_ids:
            by_team = Q(owner_team__in=team_ids)
            return self.filter(by_role | by_team if granted else by_team)
        return self.filter(source__in=granted) if len(granted) <= 1 else self.filter(by_role)

    def of_teams(self, team_ids: Collection[int]) -> Self:
        """Tasks that were asked for by these teams: on their machines, and their videos and images."""
        return self.filter(owner_team__in=team_ids)

    def with_outcome(self, outcome: str) -> Self:
        """One of `states.OUTCOMES`, or ATTENTION; "" is any. Completed with warnings is never among the completed."""
        if outcome == WARNINGS:
            return self.filter(_HAS_WARNINGS, state=State.COMPLETED)
        if outcome == ATTENTION:
            return self.unacknowledged_failures()
        if outcome == State.COMPLETED:
            return self.filter(state=outcome, warnings=0)
        return self.filter(state=outcome) if outcome else self

    def unfinished(self) -> Self:
        return self.filter(_IS_OPEN)

    def finished(self) -> Self:
        return self.exclude(state__in=_OPEN)

    def unacknowledged_failures(self) -> Self:
        """Failed or with an unknown end, and nobody has said that it was seen."""
        return self.filter(_IS_FAILURE, acknowledged_at__isnull=True)

    def by_api_id(self, text: str) -> Self:
        """The task that `Task.api_id` names, or the one of that UPID; none for anything else."""
        prefix, _, number = text.rpartition("_")
        if prefix in _API_TYPES and number.isascii() and number.isdigit() and len(number) < 19:
            types = _API_TYPES[prefix]
            found = self.filter(pk=int(number))
            return found.filter(type=types) if types else found.exclude(type__in=kinds.MADE)
        if not text.startswith("UPID:"):
            return self.none()
        # with the sources, because that is how UPIDs are indexed
        return self.filter(remote_id=text, source__in=Source.objects.values("pk"))

    def watched(self, at: datetime) -> Self:
        """Tasks whose page somebody has open."""
        return self.filter(watched_until__gt=at)

    def cancels_waiting(self) -> Self:
        """A cancel was asked for and is not dealt with."""
        return self.filter(cancel_requested_at__isnull=False, cancel_note="")

    def touch_watched(self, task_ids: Collection[int]) -> int:
        """Say that somebody has these tasks' pages open: for WATCH_SECONDS, renewed in the second half of them.

        Returns how many rows changed; a finished task whose log we have stays as it is.
        """
        at = now()
        soon = at + timedelta(seconds=WATCH_SECONDS / 2)
        due = self.filter(
            Q(watched_until__isnull=True) | Q(watched_until__lt=soon),
            Q(state__in=_OPEN) | Q(log__isnull=True),
            pk__in=task_ids,
        )
        return due.update(watched_until=at + timedelta(seconds=WATCH_SECONDS))


class Task(models.Model):
    """A task of a source. Observed fields are written by `ingest` alone, asked-for ones by `services`."""

    generation: "Generation"

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="tasks")
    remote_id = models.CharField(max_length=1000)  # the UPID, or the id at a generation source
    node = models.CharField(max_length=100, blank=True)  # "" at a generation source
    type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=600, blank=True)  # the id field of the UPID
    vmid = models.PositiveIntegerField(null=True)  # guest in object_id; the source guest of a clone
    object_name = models.CharField(max_length=400, blank=True)  # its name when the task was first seen
    new_vmid = models.PositiveIntegerField(null=True)  # what a clone makes, read from its log
    new_name = models.CharField(max_length=400, blank=True)
    remote_user = models.CharField(max_length=200)  # user@realm
    remote_token = models.CharField(max_length=100, blank=True)

    state = models.CharField(max_length=20, choices=CHOICES, default=State.PROCESSING)
    warnings = models.PositiveIntegerField(default=0)
    exit_text = models.TextField(blank=True)
    error_line = models.TextField(blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(default=now)  # when the portal first saw it
    changed_at = models.DateTimeField(default=now)
    raw = models.JSONField(default=dict)  # the remote's last row about it

    # progress; percent is null while no number is justified
    percent = models.FloatField(null=True)
    step = models.CharField(max_length=200, blank=True)
    bytes_done = models.BigIntegerField(null=True)
    bytes_total = models.BigIntegerField(null=True)
    bytes_per_second = models.FloatField(null=True)
    seconds_left = models.FloatField(null=True)
    tracker_state = models.JSONField(default=dict)
    log_total = models.PositiveIntegerField(default=0)  # lines of its log that we have

    # signs, never states
    missing_count = models.PositiveSmallIntegerField(default=0)
    missing_since = models.DateTimeField(null=True)
    overdue_since = models.DateTimeField(null=True)
    watched_until = models.DateTimeField(null=True)

    # what people asked for
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    cancel_delivered_at = models.DateTimeField(null=True)
    cancel_error = models.TextField(blank=True)
    cancel_note = models.TextField(blank=True)  # how the cancel ended: nothing left, leftovers, too late
    submission = models.ForeignKey(
        "tasks_app.Submission", on_delete=models.SET_NULL, null=True, related_name="tasks"
    )
    # the team that it was asked for, of its machine or its generation; triggers keep it (see models/team_sql.py)
    owner_team = models.ForeignKey(
        Team, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    acknowledged_note = models.TextField(blank=True)

    search_text = models.TextField(blank=True)  # lower case: sentence, UPID, names, user, error
    is_indexed = models.BooleanField(default=False)  # TaskText says what the row and its log say
    person = models.CharField(max_length=200, blank=True)  # who really did it, as far as that is known

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "remote_id"], name="task_once"),
            models.CheckConstraint(
                condition=Q(percent__isnull=True) | Q(percent__gte=0, percent__lte=100),
                name="task_percent_range",
            ),
        ]
        indexes: ClassVar = [
            # the task list, newest first, and its keyset pages
            models.Index(fields=["-started_at", "-id"], name="task_newest"),
            # the list filtered by one thing
            models.Index(fields=["state", "-started_at", "-id"], name="task_state_newest"),
            models.Index(fields=["source", "-started_at", "-id"], name="task_source_newest"),
            models.Index(fields=["node", "-started_at", "-id"], name="task_node_newest"),
            models.Index(fields=["type", "-started_at", "-id"], name="task_type_newest"),
            models.Index(fields=["vmid", "-started_at", "-id"], name="task_vmid_newest"),
            models.Index(fields=["remote_user", "-started_at", "-id"], name="task_user_newest"),
            models.Index(fields=["person", "-started_at", "-id"], name="task_person_newest"),
            models.Index(
                fields=["new_vmid", "-started_at", "-id"],
                name="task_new_vmid_newest",
                condition=Q(new_vmid__isnull=False),
            ),
            models.Index(
                fields=["owner_team", "-started_at", "-id"],
                name="task_team_newest",
                condition=Q(owner_team__isnull=False),
            ),
            # with its state, although that is always the same, so that SQLite sees that it serves the order
            models.Index(
                fields=["state", "-started_at", "-id"],
                name="task_warned_newest",
                condition=Q(warnings__gt=0),
            ),
            # a cell of the grid
            models.Index(fields=["type", "state", "-started_at", "-id"], name="task_type_state"),
            # the poller's open tasks, the top of the list, the dashboard
            models.Index(
                fields=["source", "-started_at"],
                name="task_open",
                condition=Q(state__in=["pending", "processing"]),
            ),
            # needs attention; the first field for the same reason
            models.Index(
                fields=["acknowledged_at", "-started_at", "-id"],
                name="task_attention_newest",
                condition=Q(state__in=["failed", "lost"], acknowledged_at__isnull=True),
            ),
            # the same for who has a role on one source
            models.Index(
                fields=["source", "-started_at", "-id"],
                name="task_attention_of_source",
                condition=Q(state__in=["failed", "lost"], acknowledged_at__isnull=True),
            ),
            # the job that fills the text index
            models.Index(fields=["id"], name="task_unindexed", condition=Q(is_indexed=False)),
            # the poller's look at what somebody has open
            models.Index(
                fields=["source", "watched_until"],
                name="task_watched",
                condition=Q(watched_until__isnull=False),
            ),
            # the job that picks up cancels which nobody finished
            models.Index(
                fields=["cancel_requested_at"],
                name="task_cancel_waiting",
                condition=Q(cancel_requested_at__isnull=False, cancel_note=""),
            ),
        ]

    def __str__(self) -> str:
        return self.sentence

    @property
    def sentence(self) -> str:
        """What it does, in words for people."""
        return kinds.sentence(
            self.type,
            object_id=self.object_id,
            vmid=self.vmid,
            name=self.object_name,
            new_vmid=self.new_vmid,
            new_name=self.new_name,
        )

    @property
    def api_id(self) -> str:
        """Its id in the portal's own task API, for example `vid_4711`."""
        prefixes = {type: prefix for prefix, type in _API_TYPES.items() if type}
        return f"{prefixes.get(self.type, 'pve')}_{self.pk}"

    @property
    def is_generation(self) -> bool:
        """Whether it makes a video or an image; then `generation` is there."""
        return self.type in kinds.MADE

    @property
    def team_id(self) -> int | None:
        """The team it was asked for: that of its machine or of its generation. None for any other task."""
        if self.is_generation:
            return self.generation.team_id
        return self.machine.team_id if self.machine else None

    @property
    def machine(self) -> "Machine | None":
        """The machine of the portal that it makes or works on."""
        return self.submission.machine if self.submission else None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def is_cancelling(self) -> bool:
        """A cancel was asked for and the task has not ended."""
        return self.cancel_requested_at is not None and not self.is_final

    @property
    def state_word(self) -> str:
        """What people read: the label of the state, with warnings and a pending cancel said apart."""
        if self.is_cancelling:
            return "Cancelling…"
        if self.state == State.COMPLETED and self.warnings:
            return f"Completed with warnings ({self.warnings})"
        return LABELS[State(self.state)]

    @property
    def duration_seconds(self) -> float | None:
        """From start to end, or until now while it runs; None when the end is not known."""
        if self.ended_at:
            return max(0.0, (self.ended_at - self.started_at).total_seconds())
        return None if self.is_final else max(0.0, (now() - self.started_at).total_seconds())
