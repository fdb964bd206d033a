"""Generation tasks: what belongs to a video or image task beside its row among all tasks."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from tasks_app.models.source import Source
from tasks_app.models.task import Task
from tasks_app.models.team import Team
from tasks_app.states import OPEN_STATES

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

_OPEN = sorted(OPEN_STATES)
UNNAMED = "result"
"""Stands in the address of a result file that has no name yet."""


def new_own_id() -> str:
    return str(uuid.uuid4())


class GenerationQuerySet(models.QuerySet["Generation"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Of the teams of `user`, and on sources on which they hold a role."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(
            Q(team__in=Team.objects.of(user)) | Q(task__source__in=Source.objects.visible_to(user))
        )

    def of_teams(self, team_ids: Collection[int]) -> Self:
        return self.filter(team__in=team_ids)

    def unfinished(self) -> Self:
        return self.filter(task__state__in=_OPEN)

    def held(self) -> Self:
        """Waiting in the portal's own queue: nothing has been sent."""
        return self.unfinished().filter(actor_name__gt="", called_at__isnull=True)

    def at_remote(self) -> Self:
        """Sent, or perhaps sent: they count against the limits."""
        return self.unfinished().filter(Q(called_at__isnull=False) | Q(actor_name=""))

    def deliverable(self, at: datetime) -> Self:
        """Sent without an answer, and in nobody's hands: what came of the call is to be found out."""
        return self.unfinished().filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=at),
            called_at__isnull=False,
            answered_at__isnull=True,
            actor_name__gt="",
            next_attempt_at__lte=at,
        )

    def startable(self, at: datetime) -> Self:
        """Held, due and in nobody's hands. Whether a place is free is decided by the queue."""
        return self.held().filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=at),
            next_attempt_at__lte=at,
            task__source__paused_at__isnull=True,
            task__cancel_requested_at__isnull=True,
        )

    def askable(self) -> Self:
        """Known to the remote and not ended: what the poller asks about."""
        return self.unfinished().filter(answered_at__isnull=False)


class Generation(models.Model):
    """One video, image or workflow task. Observed fields are written by `ingest`, the rest by `services`.

    A task that somebody started at the remote without the portal has no person: `actor_name` is "". Before the remote
    has named the task, `Task.remote_id` is `own_id`. `called_at` without `answered_at`: nobody knows whether the order
    arrived; such a row is reconciled, never simply sent again.
    """

    class Kind(models.TextChoices):
        VIDEO = "video", "Video"
        IMAGE = "image", "Image"
        WORKFLOW = "workflow", "Workflow"

    task = models.OneToOneField(Task, on_delete=models.CASCADE, primary_key=True, related_name="generation")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    offer = models.CharField(max_length=100, blank=True)  # Offer.key of the source
    prompt = models.TextField(blank=True)
    parameters = models.JSONField(default=dict)  # as sent, without uploads

    # who asked
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="generations"
    )
    actor_name = models.CharField(max_length=200, blank=True)
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, related_name="generations")
    request_id = models.CharField(max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=64, blank=True)
    asked_at = models.DateTimeField(default=now)
    cancel_at = models.DateTimeField(null=True)  # the person's own deadline: then a cancel is asked for

    # bringing it to the remote, once
    own_id = models.CharField(max_length=36, unique=True, default=new_own_id)
    handle = models.JSONField(default=dict)  # what later calls need besides the id; may hold signed addresses
    called_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    lease_until = models.DateTimeField(null=True)
    hold_reason = models.TextField(blank=True)  # why it waits, beside its place in the queue
    webhook_token = models.CharField(max_length=64, blank=True)

    # what the remote told
    word = models.CharField(max_length=60, blank=True)  # its own status word
    queue_position = models.PositiveIntegerField(null=True)
    message = models.TextField(blank=True)
    processing_at = models.DateTimeField(null=True)
    remote_updated_at = models.DateTimeField(null=True)
    problem_kind = models.CharField(max_length=30, blank=True)  # sources.generation.problems.Kind
    problem_code = models.CharField(max_length=100, blank=True)
    problem_detail = models.TextField(blank=True)  # everything it said; for staff
    cost = models.CharField(max_length=60, blank=True)
    metadata = models.JSONField(default=dict)

    # asking again
    ask_at = models.DateTimeField(null=True)  # next question; null when there is none
    pause_seconds = models.FloatField(default=0.0)  # of the last interval, for the backoff
    bad_answers = models.PositiveSmallIntegerField(
        default=0
    )  # before it is taken: calls that came to nothing
    asks_without_sign = models.PositiveIntegerField(default=0)
    last_sign_at = models.DateTimeField(default=now)  # state, progress, place, update time or log changed
    quiet_since = models.DateTimeField(
        null=True
    )  # set while there is no sign of life; a warning, never a state

    # keeping
    kept_at = models.DateTimeField(null=True)
    kept_by_name = models.CharField(max_length=200, blank=True)
    cleaned_at = models.DateTimeField(null=True)  # results, uploads and log were removed by retention

    objects = GenerationQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            # a double click or a reload makes one task
            models.UniqueConstraint(
                fields=["actor", "idempotency_key"],
                name="generation_once",
                condition=Q(actor__isnull=False, idempotency_key__gt=""),
            ),
        ]
        indexes: ClassVar = [
            # what one request of a person led to
            models.Index(fields=["request_id"], name="generation_request"),
            # the poller's next question
            models.Index(fields=["ask_at"], name="generation_ask", condition=Q(ask_at__isnull=False)),
            # the queue, and what was sent and not answered
            models.Index(
                fields=["next_attempt_at"], name="generation_open", condition=Q(answered_at__isnull=True)
            ),
            # the gallery of a team
            models.Index(fields=["team", "-task"], name="generation_team"),
            models.Index(fields=["actor", "-task"], name="generation_actor"),
        ]

    def __str__(self) -> str:
        return str(self.task)

    @property
    def is_held(self) -> bool:
        """Waits in the portal's own queue; nothing has been sent."""
        return bool(self.actor_name) and self.called_at is None and not self.task.is_final


class Upload(models.Model):
    """A picture that goes with an order. Its file is removed with the results; `file` is "" from then on."""

    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="uploads")
    parameter = models.CharField(max_length=60)
    name = models.CharField(max_length=200)
    media_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    file = models.FileField(upload_to="uploads/", max_length=200)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["generation", "parameter"], name="upload_once")
        ]

    def __str__(self) -> str:
        return self.name


class AssetQuerySet(models.QuerySet["Asset"]):
    def unclaimed(self, at: datetime) -> Self:
        """Waiting to be copied, due, and in nobody's hands: conditions on the row alone, so that it can be claimed."""
        return self.filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=at),
            state=Asset.State.WAITING,
            next_attempt_at__lte=at,
        )

    def due(self, at: datetime) -> Self:
        """What may be claimed: a paused source is asked for nothing."""
        return self.unclaimed(at).filter(generation__task__source__paused_at__isnull=True)

    def under_way(self, at: datetime) -> Self:
        """Being copied at this moment."""
        return self.filter(state=Asset.State.WAITING, lease_until__gte=at)


class Asset(models.Model):
    """One result file of a task and the portal's own copy of it. The task is completed whatever becomes of the copy."""

    class State(models.TextChoices):
        WAITING = "waiting", "Being copied"
        COPIED = "copied", "Copied"
        EXPIRED = "expired", "Expired at the provider"
        TOO_LARGE = "too_large", "Larger than the limit"
        FAILED = "failed", "Could not be copied"
        REMOVED = "removed", "Removed by retention"

    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="assets")
    number = models.PositiveSmallIntegerField()  # place in the remote's answer, from 0
    name = models.CharField(max_length=200)
    url = models.TextField(blank=True)  # may be signed: never shown
    ref = models.JSONField(default=dict)
    needs_auth = models.BooleanField(default=False)
    origin = models.CharField(max_length=300, blank=True)  # for people: scheme, host and path without query
    declared_type = models.CharField(max_length=100, blank=True)
    declared_size = models.PositiveBigIntegerField(null=True)
    expires_at = models.DateTimeField(null=True)

    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    error = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=now)
    lease_until = models.DateTimeField(null=True)
    bytes_done = models.PositiveBigIntegerField(default=0)

    file = models.FileField(upload_to="results/", max_length=200, blank=True)
    size = models.PositiveBigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    media_type = models.CharField(max_length=100, blank=True)  # sniffed from the bytes, not believed
    copied_at = models.DateTimeField(null=True)

    objects = AssetQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["generation", "number"], name="asset_once")]
        indexes: ClassVar = [
            # what is to be copied
            models.Index(fields=["next_attempt_at"], name="asset_due", condition=Q(state="waiting")),
        ]

    def __str__(self) -> str:
        return self.name


class WebhookCall(models.Model):
    """An event that has been taken: the same one again changes nothing. Kept for a day."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    event_id = models.CharField(max_length=200)
    at = models.DateTimeField(default=now, db_index=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "event_id"], name="webhook_once")]

    def __str__(self) -> str:
        return self.event_id


class ApiToken(models.Model):
    """A person's key to the portal's own API. Only a hash is kept; the token is shown once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    hint = models.CharField(max_length=12)  # its first characters, to tell it from others
    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"
