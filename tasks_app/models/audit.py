"""The audit trail: what a person did or was refused, each entry chained to the one before."""

from typing import ClassVar

from django.db import models
from django.utils.timezone import now

GENESIS = "0" * 64
"""What the first entry of a chain follows."""


class AuditEntry(models.Model):
    """Appended by `audit.recorder` in the deed's own transaction.

    Names are kept as text: they read when the rows are gone. `hash` covers the entry and the hash before it
    (`audit/chain.py`), so that nothing can be changed, taken out, put in or cut off unseen. Triggers refuse UPDATE and
    DELETE (`models/triggers.py`).
    """

    class Result(models.TextChoices):
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    number = models.PositiveBigIntegerField(unique=True)  # its place in the chain, from 1 without gaps
    previous_hash = models.CharField(max_length=64)  # SHA-256 in hex; that of number 1 is GENESIS
    hash = models.CharField(max_length=64)
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
            # what came of one click
            models.Index(fields=["request_id"], name="audit_request", condition=~models.Q(request_id="")),
            # what one person did, one kind of deed
            models.Index(fields=["actor_name", "-at", "-id"], name="audit_actor"),
            models.Index(fields=["action", "-at", "-id"], name="audit_action"),
            # what was done to one task or source
            models.Index(fields=["target_kind", "target_id", "-at"], name="audit_target"),
        ]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_name}"


class AuditHead(models.Model):
    """The end of the chain, one row with the key 1. Appending locks it, so writers stand in line and never fork.

    Entries up to `purged_to` were removed by retention; `purged_hash` is the hash of the last of them, and an entry in
    the chain (`audit.purge`) says the same.
    """

    KEY: ClassVar = 1

    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)
    purged_to = models.PositiveBigIntegerField(default=0)
    purged_hash = models.CharField(max_length=64, default=GENESIS)

    def __str__(self) -> str:
        return f"audit chain up to #{self.number}"


class AuditMark(models.Model):
    """How far something that follows the chain has come: `verified`, `anchored`, `shipped` or `persons`."""

    name = models.CharField(max_length=20, unique=True)
    number = models.PositiveBigIntegerField(default=0)
    at = models.DateTimeField(default=now)
    problem = models.TextField(blank=True)  # why it stands where it stands, for people

    def __str__(self) -> str:
        return f"{self.name} up to #{self.number}"
