"""Orders: what a member asked for, one machine or two hundred, written down before anything is called."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from tasks_app.models.catalog import CatalogItem
from tasks_app.models.source import Source
from tasks_app.models.team import Team

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Orders of the teams of `user` and on the sources they hold a role on."""
        return self.filter(Q(team__in=Team.objects.of(user)) | Q(source__in=Source.objects.visible_to(user)))


class Order(models.Model):
    """Its machines say how far it is; the order itself holds what concerns all of them."""

    class OnFailure(models.TextChoices):
        GO_ON = "go_on", "Go on with the others"
        STOP_FIRST = "stop_first", "Stop at the first failure"
        STOP_AFTER = "stop_after", "Stop after a number of failures"

    class Decision(models.TextChoices):
        NOT_NEEDED = "not_needed", "No approval needed"
        WAITING = "waiting", "Waiting for approval"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="orders")
    item = models.ForeignKey(CatalogItem, on_delete=models.SET_NULL, null=True, related_name="orders")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="orders")
    title = models.CharField(
        max_length=120
    )  # name of the one machine, or of the batch: what roll back asks for
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="orders"
    )
    actor_name = models.CharField(max_length=200)
    request_id = models.CharField(max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=64)
    reason = models.TextField(blank=True)
    size = models.CharField(max_length=40, blank=True)  # key of the item's size, or "custom"
    on_failure = models.CharField(max_length=12, choices=OnFailure.choices, default=OnFailure.GO_ON)
    stop_after = models.PositiveSmallIntegerField(default=1)
    created_at = models.DateTimeField(default=now)

    decision = models.CharField(max_length=12, choices=Decision.choices, default=Decision.NOT_NEEDED)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    decided_by_name = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)

    paused_at = models.DateTimeField(null=True)
    stopped_reason = models.TextField(blank=True)  # set when the policy on failure paused it
    cancel_requested_at = models.DateTimeField(null=True)
    rollback_requested_at = models.DateTimeField(null=True)  # every machine of it is to be deleted

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["actor", "idempotency_key"], name="order_once"),
        ]
        indexes: ClassVar = [
            # the inbox of team admins
            models.Index(fields=["team", "-id"], name="order_waiting", condition=Q(decision="waiting")),
        ]

    def __str__(self) -> str:
        return self.title
