"""Teams: Django groups with quotas, admins and grants on catalogue items; profiles of their members."""

from typing import TYPE_CHECKING, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class TeamQuerySet(models.QuerySet["Team"]):
    def of(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Teams `user` belongs to, as member or admin."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        return self.filter(group__user=user.pk)

    def led_by(self, user: "AbstractBaseUser | AnonymousUser") -> Self:
        """Teams whose quota and approvals are `user`'s to decide."""
        return self.of(user).filter(admins=user.pk)


class Team(models.Model):
    """Members are the group's; `admins` are members who approve. A limit of null is no limit.

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

    def __str__(self) -> str:
        return self.text


class TimeLimit(models.Model):
    """How long a family of tasks may take before it is overdue, where it differs from the default."""

    family = models.CharField(max_length=20, unique=True)  # see kinds.FAMILIES
    seconds = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.family}: {self.seconds} s"
