"""What teams may order: catalogue items, each a template of a source with limits set by an admin."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.db import models

from tasks_app.models.source import Source
from tasks_app.models.team import Team

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class CatalogItemQuerySet(models.QuerySet["CatalogItem"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Items granted to a team of `user`, and those of sources they hold a role on."""
        return self.filter(
            models.Q(
                pk__in=CatalogItem.teams.through.objects.filter(team__in=Team.objects.of(user)).values(
                    "catalogitem"
                )
            )
            | models.Q(source__in=Source.objects.visible_to(user))
        )


class CatalogItem(models.Model):
    """An item is picked from what the source has; the portal decides every key it sends from these fields."""

    class Kind(models.TextChoices):
        QEMU_CLONE = "qemu", "Clone of a VM or template"
        LXC_CLONE = "lxc", "Clone of a container"
        LXC_CREATE = "ostemplate", "Container from an OS template"

    class Placement(models.TextChoices):
        SAME = "same", "The template's own node"
        AUTOMATIC = "automatic", "The node with most free memory that reaches the storage"
        FIXED = "fixed", "One of a fixed list, the one with most free memory"

    class IpMode(models.TextChoices):
        NONE = "none", "As the template has it"
        DHCP = "dhcp", "DHCP"
        STATIC = "static", "Static, from a pool"

    class Approval(models.TextChoices):
        NEVER = "never", "Never"
        ALWAYS = "always", "Always"
        ABOVE = "above", "Above a size or count"

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="items")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    vmid = models.PositiveIntegerField(null=True, blank=True)  # template or source guest of a clone
    ostemplate = models.CharField(max_length=300, blank=True)  # volume id, for LXC_CREATE
    slug = models.SlugField(max_length=30)
    title = models.CharField(max_length=80)
    description = models.TextField(blank=True)
    icon = models.CharField(max_length=40, default="box")  # a lucide name

    full_clone = models.BooleanField(default=True)
    storage = models.CharField(max_length=100, blank=True)  # "": beside the template
    placement = models.CharField(max_length=12, choices=Placement.choices, default=Placement.SAME)
    nodes = models.JSONField(default=list, blank=True)  # names, for FIXED
    pool = models.CharField(max_length=100, blank=True)
    vmid_from = models.PositiveIntegerField(default=100)
    vmid_to = models.PositiveIntegerField(default=999_999_999)
    name_pattern = models.CharField(max_length=80, default="{team}-{item}-{nn:02}")

    # [{"key": "S", "label": "Small", "cores": 1, "memory_mb": 1024, "disk_gb": 16}]; disk_gb 0: as the template has it
    sizes = models.JSONField(default=list)
    allows_custom = models.BooleanField(default=False)
    max_cores = models.PositiveSmallIntegerField(default=4)
    max_memory_mb = models.PositiveIntegerField(default=8192)
    max_disk_gb = models.PositiveIntegerField(default=100)
    disk_key = models.CharField(max_length=20, blank=True)  # the disk that grows: scsi0, rootfs
    template_disk_gb = models.PositiveIntegerField(
        default=0
    )  # its size in the template; sizes may only be larger
    template_disks_gb = models.PositiveIntegerField(default=0)  # all disks together, for the quota

    ci_user = models.CharField(max_length=60, blank=True)
    takes_ssh_keys = models.BooleanField(default=True)
    ip_mode = models.CharField(max_length=8, choices=IpMode.choices, default=IpMode.NONE)
    # {"network": "10.20.30.0/24", "first": "10.20.30.50", "last": "10.20.30.99", "gateway": "10.20.30.1"}
    ip_pool = models.JSONField(default=dict, blank=True)
    bridge = models.CharField(max_length=60, blank=True)  # for LXC_CREATE
    starts = models.BooleanField(default=True)  # start after clone

    lease_days = models.PositiveSmallIntegerField(null=True, blank=True)  # null: for ever
    max_lease_days = models.PositiveSmallIntegerField(null=True, blank=True)
    deletes_after_lease = models.BooleanField(default=False)
    grace_days = models.PositiveSmallIntegerField(default=7)
    approval = models.CharField(max_length=8, choices=Approval.choices, default=Approval.NEVER)
    approval_above_cores = models.PositiveSmallIntegerField(null=True, blank=True)
    approval_above_memory_mb = models.PositiveIntegerField(null=True, blank=True)
    approval_above_disk_gb = models.PositiveIntegerField(null=True, blank=True)
    approval_above_count = models.PositiveSmallIntegerField(null=True, blank=True)
    cancels_overdue = models.BooleanField(default=False)

    is_enabled = models.BooleanField(default=True)
    vanished_at = models.DateTimeField(null=True)  # the template is not on the source any more
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CatalogItemQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["title"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["source", "slug"], name="item_slug_once")]

    def __str__(self) -> str:
        return self.title

    @property
    def guest_kind(self) -> str:
        return "qemu" if self.kind == self.Kind.QEMU_CLONE else "lxc"

    @property
    def obstacle(self) -> str:
        """Why nothing can be ordered from it now; "" when it can."""
        if self.vanished_at:
            what = self.ostemplate or f"template {self.vmid}"
            return f"The {what} is not on {self.source.name} any more."
        if not self.is_enabled:
            return "An admin has switched this item off."
        return f"{self.source.name} is paused." if self.source.paused_at else ""
