"""Submissions: what a person asked a remote to do, written down before the remote is called."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from tasks_app.models.source import Source
from tasks_app.models.team import Team
from tasks_app.states import CHOICES, FINAL_STATES, OPEN_STATES, State

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class SubmissionQuerySet(models.QuerySet["Submission"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Submissions on the sources `user` holds a role on, and those for machines of their teams."""
        return self.filter(
            Q(source__in=Source.objects.visible_to(user)) | Q(machine__team__in=Team.objects.of(user))
        )

    def of_teams(self, team_ids: Collection[int]) -> Self:
        """Submissions for machines of these teams."""
        return self.filter(machine__team__in=team_ids)

    def unfinished(self) -> Self:
        return self.filter(state__in=sorted(OPEN_STATES))

    def deliverable(self, at: datetime) -> Self:
        """Not answered yet, due, and in no delivery job's hands."""
        return self.unfinished().filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=at),
            answered_at__isnull=True,
            next_attempt_at__lte=at,
        )

    def settleable(self) -> Self:
        """Still open although their task has ended."""
        return self.unfinished().filter(tasks__state__in=sorted(FINAL_STATES))


class Submission(models.Model):
    """One deed on a remote. pending: not called yet; processing: called, its task runs; then as the task ended.

    `called_at` is written before the call and `answered_at` after it. A row with the first and without the second
    was cut off: it is reconciled (look for proof), never simply repeated. `lost` means outcome unknown.
    """

    class Action(models.TextChoices):
        START = "start", "Start"
        STOP = "stop", "Stop"
        SHUTDOWN = "shutdown", "Shut down"
        REBOOT = "reboot", "Reboot"
        SNAPSHOT = "snapshot", "Snapshot"
        CLONE = "clone", "Clone"
        CREATE = "create", "Create"
        CONFIGURE = "configure", "Configure"
        RESIZE = "resize", "Grow disk"
        ROLLBACK = "rollback", "Roll back"
        BACKUP = "backup", "Back up"
        DELETE = "delete", "Delete"

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="submissions")
    action = models.CharField(max_length=20, choices=Action.choices)
    guest_kind = models.CharField(max_length=10)
    node = models.CharField(max_length=100)
    vmid = models.PositiveIntegerField()
    guest_name = models.CharField(max_length=400, blank=True)
    parameters = models.JSONField(default=dict)  # what will be sent besides node and vmid
    new_vmid = models.PositiveIntegerField(null=True)  # reserved for a clone or a new container
    # the machine it makes or works on; a step of its pipeline when `step` says which
    machine = models.ForeignKey(
        "tasks_app.Machine", on_delete=models.SET_NULL, null=True, related_name="submissions"
    )
    step = models.CharField(max_length=12, blank=True)

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    actor_name = models.CharField(max_length=200)
    request_id = models.CharField(max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=64)

    state = models.CharField(max_length=20, choices=CHOICES, default=State.PENDING)
    error = models.TextField(blank=True)
    remote_id = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=now)
    called_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    overdue_since = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)  # a delivery job holds the row until then

    objects = SubmissionQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            # a double click or a reload makes one submission
            models.UniqueConstraint(fields=["actor", "idempotency_key"], name="submission_once"),
            # one open reservation per VMID of a source
            models.UniqueConstraint(
                fields=["source", "new_vmid"],
                name="submission_vmid_reserved_once",
                condition=Q(state__in=["pending", "processing"], new_vmid__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            # what one request of a person led to
            models.Index(fields=["request_id"], name="submission_request"),
            # the job that picks up what a killed worker left
            models.Index(
                fields=["next_attempt_at"],
                name="submission_open",
                condition=Q(state__in=["pending", "processing"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.guest_name or self.vmid}"

    @property
    def is_final(self) -> bool:
        return State(self.state) not in OPEN_STATES
