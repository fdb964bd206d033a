"""Who may do what on which source."""

from typing import ClassVar

from django.conf import settings
from django.db import models


class Role(models.TextChoices):
    """Roles, least first; what each may do is decided in `access/policy.py` alone."""

    VIEWER = "viewer", "Viewer"
    OPERATOR = "operator", "Operator"
    AUDITOR = "auditor", "Auditor"
    ADMIN = "admin", "Admin"


class Grant(models.Model):
    """`user` has `role` on `source`, or on all sources when `source` is null."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants")
    source = models.ForeignKey(
        "tasks_app.Source", on_delete=models.CASCADE, related_name="grants", null=True, blank=True
    )
    role = models.CharField(max_length=20, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "source", "role"], name="grant_once"),
            # null differs from null in a unique index
            models.UniqueConstraint(
                fields=["user", "role"], name="grant_once_on_all", condition=models.Q(source__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.role} on {self.source or 'all sources'}"


class SetupToken(models.Model):
    """The one-time link of the first start. Only a hash is kept; the link itself is printed and forgotten."""

    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"set-up link of {self.created_at}"
