"""What is kept of the logs of a cluster's tasks."""

from django.contrib.auth.models import User
from django.db import transaction

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.ingest.log_keeping import LARGEST_KB, SMALLEST_KB, LogKeeping, read_log_keeping
from tasks_app.models import Source, TaskEvent


@transaction.atomic
def change_log_keeping(source: Source, *, actor: User, limit_kb: int, keeps_foreign: bool) -> None:
    """Keep at most `limit_kb` of one task's log from now on, and those of tasks that others started or not.

    What is kept already stays. Raises NotPermitted, InvalidInput (limit_kb).
    """
    require(actor, Verb.MANAGE_SOURCE, source)
    if not SMALLEST_KB <= limit_kb <= LARGEST_KB:
        raise InvalidInput(limit_kb=f"Between {SMALLEST_KB} and {LARGEST_KB} KB.")
    row = Source.objects.select_for_update().get(pk=source.pk)
    before, after = read_log_keeping(row.settings), LogKeeping(limit_kb, keeps_foreign)
    if before == after:
        return
    row.settings = row.settings | after.as_settings()
    row.save(update_fields=["settings"])
    source.settings = row.settings
    old, new = before.as_settings(), after.as_settings()
    changed = [name for name in old if old[name] != new[name]]
    record(
        Action.SOURCE_CHANGE,
        actor=actor,
        target=source,
        before={name: old[name] for name in changed},
        after={name: new[name] for name in changed},
    )
    TaskEvent.objects.create(source_id=source.pk, kind=TaskEvent.Kind.SOURCE)
