"""Machines: guests that the portal makes or has made, from the order until they are gone."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now

from tasks_app.models.catalog import CatalogItem
from tasks_app.models.order import Order
from tasks_app.models.source import Source
from tasks_app.models.team import Team

if TYPE_CHECKING:
    from datetime import datetime

    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class Stage(models.TextChoices):
    """How far a machine is. From `QUEUED` to `READY` each stage is one step with a submission of its own."""

    APPROVAL = "approval", "Waiting for approval"
    QUEUED = "queued", "Queued"
    CLONE = "clone", "Clone"
    CONFIGURE = "configure", "Configure"
    RESIZE = "resize", "Grow disk"
    START = "start", "Start"
    ADDRESS = "address", "Address"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    REJECTED = "rejected", "Rejected"
    GONE = "gone", "Gone"


WORKING = (Stage.CLONE, Stage.CONFIGURE, Stage.RESIZE, Stage.START, Stage.ADDRESS)
CALLING = (Stage.CLONE, Stage.CONFIGURE, Stage.RESIZE, Stage.START)
WAITING = (Stage.APPROVAL, Stage.QUEUED)


class MachineQuerySet(models.QuerySet["Machine"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Machines of the teams of `user` and on the sources they hold a role on."""
        return self.filter(Q(team__in=Team.objects.of(user)) | Q(source__in=Source.objects.visible_to(user)))

    def holding_quota(self) -> Self:
        """Machines that exist or may come to exist: all whose end is not written."""
        return self.filter(ended_at__isnull=True)

    def in_the_making(self) -> Self:
        return self.filter(stage__in=[*WAITING, *WORKING])

    def standing(self) -> Self:
        """Guests that stand on their source, made to the end or not, and are not being made now."""
        return self.filter(
            exists=True, ended_at__isnull=True, stage__in=[Stage.READY, Stage.FAILED, Stage.CANCELLED]
        )

    def being_deleted(self, at: "datetime") -> Self:
        """Machines whose deletion has begun; one that is only announced has no such step yet."""
        return self.filter(
            ended_at__isnull=True,
            delete_at__lte=at,
            submissions__step="delete",
            submissions__created_at__gte=F("delete_at"),
        ).distinct()

    def startable(self) -> Self:
        """Machines whose clone may start as soon as there is room."""
        return self.filter(
            stage=Stage.QUEUED,
            cancel_requested_at__isnull=True,
            source__paused_at__isnull=True,
            order__paused_at__isnull=True,
            order__decision__in=(Order.Decision.NOT_NEEDED, Order.Decision.APPROVED),
        )

    def calling(self, at: "datetime") -> Self:
        """Machines whose stage is a call on the source, due and in nobody's hands."""
        free = Q(lease_until__isnull=True) | Q(lease_until__lt=at)
        return self.filter(free, stage__in=CALLING, next_look_at__lte=at, source__paused_at__isnull=True)

    def without_address(self, at: "datetime") -> Self:
        """Machines that are to be asked for their addresses now."""
        return self.filter(stage=Stage.ADDRESS, next_look_at__lte=at, source__paused_at__isnull=True)


class Machine(models.Model):
    """`stage` moves by conditional updates only. `ended_at` releases quota, VMID and address.

    It is unset by "retry" alone, which reserves all of them anew under the lock of the team.
    """

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="machines")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="machines")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="machines")
    item = models.ForeignKey(CatalogItem, on_delete=models.SET_NULL, null=True, related_name="machines")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="machines"
    )
    owner_name = models.CharField(max_length=200)

    # what was ordered
    position = models.PositiveSmallIntegerField(default=1)  # row of the batch
    name = models.CharField(max_length=63)
    kind = models.CharField(max_length=10)  # qemu or lxc
    vmid = models.PositiveIntegerField(null=True)  # reserved while ended_at is null
    node = models.CharField(max_length=100)  # where it will stand, then where it was last seen
    storage = models.CharField(max_length=100, blank=True)
    cores = models.PositiveSmallIntegerField()
    memory_mb = models.PositiveIntegerField()
    disk_gb = models.PositiveIntegerField()  # all disks together, as counted against the quota
    grow_disk_gb = models.PositiveIntegerField(default=0)  # size the item's disk_key must reach; 0: as cloned
    starts = models.BooleanField(default=True)
    ssh_keys = models.TextField(blank=True)
    static_ip = models.GenericIPAddressField(null=True)  # reserved while ended_at is null

    # how far it is
    stage = models.CharField(max_length=12, choices=Stage.choices, default=Stage.QUEUED)
    stage_at = models.DateTimeField(default=now)
    attempt = models.PositiveSmallIntegerField(default=1)  # counted up by "retry"
    exists = models.BooleanField(default=False)  # the clone was made: there is a guest on the source
    error = models.TextField(blank=True)
    cause = models.CharField(max_length=80, blank=True)  # failures of one cause are shown together
    differences = models.JSONField(default=list)  # sentences: what the guest has that was not ordered
    leftovers = models.TextField(blank=True)
    addresses = models.JSONField(default=list)
    address_note = models.CharField(max_length=200, blank=True)  # why there is none
    cancel_requested_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(
        null=True
    )  # a job holds the row until then (not the lease of the machine)
    next_look_at = models.DateTimeField(default=now)
    created_at = models.DateTimeField(default=now)
    ready_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    # its lease
    expires_at = models.DateTimeField(null=True)
    reminded_days = models.SmallIntegerField(null=True)  # the smallest of 7, 3, 1, 0 that was told
    delete_at = models.DateTimeField(null=True)  # set when the lease has ended and the item says so

    objects = MachineQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["order", "position"]
        constraints: ClassVar = [
            # one VMID is promised to one machine
            models.UniqueConstraint(
                fields=["source", "vmid"],
                name="machine_vmid_once",
                condition=Q(ended_at__isnull=True, vmid__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["source", "static_ip"],
                name="machine_address_once",
                condition=Q(ended_at__isnull=True, static_ip__isnull=False),
            ),
            # two machines may not be told apart otherwise
            models.UniqueConstraint(
                fields=["source", "name"], name="machine_name_once", condition=Q(ended_at__isnull=True)
            ),
        ]
        indexes: ClassVar = [
            # the pipeline
            models.Index(
                fields=["next_look_at"],
                name="machine_in_the_making",
                condition=Q(
                    stage__in=["approval", "queued", "clone", "configure", "resize", "start", "address"]
                ),
            ),
            # quotas of a team, and its list
            models.Index(fields=["team", "-id"], name="machine_team", condition=Q(ended_at__isnull=True)),
            # leases
            models.Index(
                fields=["expires_at"],
                name="machine_expires",
                condition=Q(ended_at__isnull=True, expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.vmid})" if self.vmid else self.name

    @property
    def is_standing(self) -> bool:
        """See the queryset: only such a machine can be worked on."""
        stages = (Stage.READY, Stage.FAILED, Stage.CANCELLED)
        return self.exists and self.ended_at is None and self.stage in stages

    @property
    def is_in_the_making(self) -> bool:
        return self.stage in WAITING or self.stage in WORKING
