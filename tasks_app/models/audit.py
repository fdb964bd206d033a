"""The audit trail: what a person did or was refused, for ever."""

from typing import ClassVar

from django.db import models
from django.utils.timezone import now


class AuditEntry(models.Model):
    """Appended by `audit.recorder` in the deed's own transaction.

    Names are kept as text: they read when the rows are gone.
    """

    class Result(models.TextChoices):
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    at = models.DateTimeField(default=now)
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    result = models.CharField(max_length=10, choices=Result.choices, default=Result.DONE)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=200, blank=True)
    target_name = models.TextField(blank=True)
    source_name = models.CharField(max_length=60, blank=True)
    request_id = models.CharField(max_length=40, blank=True)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["-at", "-id"], name="audit_newest"),
            # what was done to one task or source
            models.Index(fields=["target_kind", "target_id", "-at"], name="audit_target"),
        ]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_name}"
