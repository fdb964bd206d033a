"""Django's admin for superusers: a look at all rows. What leaves audit entries is changed in the pages of the portal.

Observed rows and the audit trail are read-only here for everybody, and so are people, roles and sources: their
services check more than Django's admin would (the last superuser, sealed secrets) and write the audit entry.
"""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import models
from django.http import HttpRequest

from tasks_app.models import (
    AuditEntry,
    Grant,
    Guest,
    Node,
    Source,
    Submission,
    Task,
    TaskEvent,
    TaskLog,
    WatchSlot,
)

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[models.Model]
else:
    _Base = admin.ModelAdmin


class LookOnly(_Base):
    """Shown to superusers, changed by nobody."""

    show_full_result_count = False  # counting five million rows costs seconds
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False


# What others registered could be changed without an entry: second factors, schedules. Django's groups mean nothing.
for _model in list(admin.site._registry):
    admin.site.unregister(_model)


@admin.register(User)
class UserAdmin(LookOnly):
    list_display = ["username", "email", "is_active", "is_superuser", "last_login"]
    search_fields = ["username", "email"]
    fields = ["username", "email", "is_active", "is_superuser", "last_login", "date_joined"]


@admin.register(Grant)
class GrantAdmin(LookOnly):
    list_display = ["user", "role", "source", "created_at"]


@admin.register(Source)
class SourceAdmin(LookOnly):
    list_display = [
        "name",
        "kind",
        "version",
        "is_demo",
        "last_pass_at",
        "failing_since",
        "paused_at",
    ]
    exclude = ["token_secret_sealed"]


@admin.register(Node)
class NodeAdmin(LookOnly):
    list_display = ["name", "source", "status", "cursor", "seen_at"]
    list_select_related = ["source"]


@admin.register(Guest)
class GuestAdmin(LookOnly):
    list_display = ["vmid", "name", "kind", "source", "node", "status", "gone_at"]
    list_select_related = ["source"]
    search_fields = ["name", "=vmid"]


@admin.register(Task)
class TaskAdmin(LookOnly):
    list_display = ["pk", "sentence", "source", "node", "state", "started_at", "ended_at"]
    list_select_related = ["source"]
    list_filter = ["state"]
    search_fields = ["=remote_id"]
    raw_id_fields = ["source", "submission"]
    ordering = ["-started_at", "-id"]


@admin.register(TaskLog)
class TaskLogAdmin(LookOnly):
    list_display = ["task_id", "lines", "is_complete", "stored_at"]
    raw_id_fields = ["task"]


@admin.register(TaskEvent)
class TaskEventAdmin(LookOnly):
    list_display = ["pk", "kind", "task_id", "source_id", "at"]
    ordering = ["-pk"]


@admin.register(Submission)
class SubmissionAdmin(LookOnly):
    list_display = [
        "pk",
        "action",
        "guest_name",
        "vmid",
        "source",
        "actor_name",
        "state",
        "created_at",
    ]
    list_select_related = ["source"]
    ordering = ["-pk"]


@admin.register(AuditEntry)
class AuditEntryAdmin(LookOnly):
    list_display = [
        "at",
        "actor_name",
        "action",
        "result",
        "target_name",
        "source_name",
        "request_id",
    ]
    list_filter = ["result", "action"]
    search_fields = ["actor_name", "target_name", "=request_id"]
    ordering = ["-at", "-id"]


@admin.register(WatchSlot)
class WatchSlotAdmin(LookOnly):
    list_display = ["slot", "owner", "until", "generation"]
