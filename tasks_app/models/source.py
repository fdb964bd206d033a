"""Remote systems, their nodes and their guests, as last seen."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils.timezone import now

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from tasks_app.models.access import Grant  # noqa: F401


class SourceQuerySet(models.QuerySet["Source"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Sources on which `user` holds any role. Every page starts here."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        from tasks_app.models.access import Grant

        grants = Grant.objects.filter(user_id=user.pk)
        return self.filter(
            Q(pk__in=grants.values("source")) | models.Exists(grants.filter(source__isnull=True))
        )

    def watchable(self) -> Self:
        """Sources that the poller visits."""
        return self.filter(paused_at__isnull=True)


class Source(models.Model):
    """A configured remote system. Health fields are written by `ingest`, the rest by `services`."""

    PROXMOX = "proxmox"
    KINDS: ClassVar = [
        (PROXMOX, "Proxmox VE"),
        ("task_api", "Task API"),
        ("openai_videos", "OpenAI-style videos"),
        ("comfyui", "ComfyUI"),
        ("fal", "fal queue"),
        ("replicate", "Replicate"),
    ]

    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=20, choices=KINDS, default=PROXMOX)
    is_demo = models.BooleanField(default=False)
    urls = models.JSONField(default=list)  # base addresses in the order they are tried
    fingerprints = models.JSONField(default=list)  # SHA-256, upper case with colons; one per node
    ca_pem = models.TextField(blank=True)
    token_id = models.CharField(max_length=200, blank=True)
    token_secret_sealed = models.TextField(blank=True)  # see connections.seal
    settings = models.JSONField(default=dict)  # of a generation source: profile, offers, limits, names
    webhook_secret_sealed = models.TextField(blank=True)
    teams = models.ManyToManyField("tasks_app.Team", related_name="generation_sources", blank=True)
    version = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    paused_at = models.DateTimeField(null=True, blank=True)

    # health
    last_pass_at = models.DateTimeField(null=True)  # last pass that got an answer
    latency_ms = models.PositiveIntegerField(null=True)
    failing_since = models.DateTimeField(null=True)  # null while the source answers
    failures = models.PositiveIntegerField(default=0)  # failed passes in a row
    error_kind = models.CharField(max_length=40, blank=True)  # SourceError.kind
    error_text = models.TextField(blank=True)
    permissions = models.JSONField(default=dict)  # path → privileges, as GET /access/permissions answers
    permissions_at = models.DateTimeField(null=True)
    first_synced_at = models.DateTimeField(null=True)

    # the poller's claim: a conditional update of these is the only way to visit the source
    next_pass_at = models.DateTimeField(default=now)
    lease_owner = models.CharField(max_length=60, blank=True)
    lease_until = models.DateTimeField(null=True)

    objects = SourceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_generation(self) -> bool:
        """Whether videos and images are made there; else it is a cluster."""
        return self.kind != self.PROXMOX

    @property
    def is_reachable(self) -> bool:
        """Whether the last pass got an answer."""
        return self.failing_since is None

    @property
    def health(self) -> str:
        """One word for people and CSS: paused, new, failing or ok."""
        if self.paused_at:
            return "paused"
        if self.failing_since:
            return "failing"
        return "ok" if self.last_pass_at else "new"


class Node(models.Model):
    """One node of a source. `cursor` is how far its task list has been read."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=100)
    status = models.CharField(max_length=20, blank=True)
    cursor = models.BigIntegerField(default=0)  # Unix seconds of the newest start that has been read
    first_synced_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "name"], name="node_once")]

    def __str__(self) -> str:
        return self.name


class GuestQuerySet(models.QuerySet["Guest"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Guests on the sources `user` holds any role on."""
        return self.filter(source__in=Source.objects.visible_to(user))


class Guest(models.Model):
    """A VM or container as `GET /cluster/resources` last showed it. `gone_at` is set when it vanished."""

    QEMU, LXC = "qemu", "lxc"
    KINDS: ClassVar = [(QEMU, "VM"), (LXC, "Container")]

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="guests")
    vmid = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=KINDS)
    name = models.CharField(max_length=400, blank=True)
    node = models.CharField(max_length=100)
    status = models.CharField(max_length=20, blank=True)
    pool = models.CharField(max_length=100, blank=True)
    tags = models.CharField(max_length=500, blank=True)
    lock = models.CharField(max_length=40, blank=True)
    is_template = models.BooleanField(default=False)
    max_memory = models.BigIntegerField(null=True)  # bytes
    max_disk = models.BigIntegerField(null=True)  # bytes
    cores = models.FloatField(null=True)
    seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)

    objects = GuestQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["vmid"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "vmid"], name="guest_once")]

    def __str__(self) -> str:
        return f"{self.name or self.kind} ({self.vmid})"
