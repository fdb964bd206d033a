"""Teams: Django groups with quotas, admins and grants on catalogue items; profiles of their members."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models

from tasks_app.models.access import Grant, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class TeamQuerySet(models.QuerySet["Team"]):
    def of(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Teams `user` belongs to, as member or admin."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        return self.filter(group__user=user.pk)

    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Teams `user` belongs to; all of them for auditors and admins of all sources."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if getattr(user, "is_superuser", False):
            return self
        readers = Grant.objects.filter(
            user_id=user.pk, source__isnull=True, role__in=[Role.AUDITOR, Role.ADMIN]
        )
        return self.filter(models.Q(pk__in=Team.objects.of(user)) | models.Exists(readers))

    def led_by(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Teams whose quota and approvals are `user`'s to decide."""
        return self.of(user).filter(admins=user.pk)


class Team(models.Model):
    """Members are the group's; `admins` are members who approve. A limit of null is no limit.

    `max_…` is the quota that counts, which team admins set; `ceiling_…` is how far they may raise it.

    What is used is not kept here: it is the sum over the team's machines that hold quota, read under a lock of this
    row (see `services/quotas.py`), so it cannot drift.
    """

    group = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="team")
    slug = models.SlugField(max_length=30, unique=True)  # in names of machines
    admins = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="led_teams", blank=True)
    items = models.ManyToManyField("tasks_app.CatalogItem", related_name="teams", blank=True)
    max_machines = models.PositiveIntegerField(null=True, blank=True)
    max_cores = models.PositiveIntegerField(null=True, blank=True)
    max_memory_mb = models.PositiveIntegerField(null=True, blank=True)
    max_disk_gb = models.PositiveIntegerField(null=True, blank=True)
    ceiling_machines = models.PositiveIntegerField(null=True, blank=True)
    ceiling_cores = models.PositiveIntegerField(null=True, blank=True)
    ceiling_memory_mb = models.PositiveIntegerField(null=True, blank=True)
    ceiling_disk_gb = models.PositiveIntegerField(null=True, blank=True)
    max_generations = models.PositiveIntegerField(null=True, blank=True)  # open at once
    max_generations_per_day = models.PositiveIntegerField(null=True, blank=True)  # asked for in the last 24 h
    max_parallel_clones = models.PositiveSmallIntegerField(default=4)
    quota_lock = models.PositiveBigIntegerField(default=0)  # counted up to lock the row on both databases

    objects = TeamQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.group.name


class Profile(models.Model):
    """What a member brings along: SSH keys for machines, one per line."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="profile")
    ssh_keys = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"profile of {self.user}"


class Notice(models.Model):
    """One line in a person's inbox. `key` makes it once: a job that runs twice tells nobody twice."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notices")
    key = models.CharField(max_length=120)
    text = models.TextField()
    path = models.CharField(max_length=200, blank=True)  # page of the portal
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["user", "key"], name="notice_once")]
        indexes: ClassVar = [
            # how many are unread, asked for by every page
            models.Index(fields=["user"], name="notice_unread", condition=models.Q(read_at__isnull=True)),
            # those that are still to be mailed
            models.Index(
                fields=["created_at"], name="notice_unmailed", condition=models.Q(mailed_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.text


class TimeLimit(models.Model):
    """How long a family of tasks may take before it is overdue, where it differs from the default."""

    family = models.CharField(max_length=20, unique=True)  # see kinds.FAMILIES
    seconds = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.family}: {self.seconds} s"
