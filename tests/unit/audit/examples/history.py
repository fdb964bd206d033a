"""The trail itself and the history: verified, purged, taken out; what nobody can have any more."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

from django.utils.timezone import now

from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.formats import Format
from tasks_app.kinds import history_family
from tasks_app.models import Node, RetentionPeriod
from tasks_app.polling import harvest
from tasks_app.services import audit_trail, exports, retention
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.sources.base import TaskObservation
from tasks_app.states import State
from tests.factories import make_source, make_superuser, make_task, make_upid
from tests.unit.audit.deeds import example

FAMILY = history_family("qmstart")
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@example("services.audit_trail.verify_trail", Action.AUDIT_VERIFY)
def verify():
    admin = make_superuser()
    return lambda: audit_trail.verify_trail(actor=admin)


@example("services.audit_trail.purge_trail", Action.AUDIT_PURGE, writer="services.audit_trail._purge_step")
def purge():
    admin = make_superuser()
    with patch.object(recorder, "now", lambda: now() - timedelta(days=500)):
        recorder.record(Action.LOGIN, actor=admin)
    return lambda: audit_trail.purge_trail(365, actor=admin, reason="privacy")


def as_long_trail(call):
    """`call` where so many entries are too many to wait for."""
    with patch.object(audit_trail, "AT_ONCE", -1):
        call()


@example("services.audit_trail.request_verification", Action.AUDIT_VERIFY, note="of a long trail")
def ask_to_verify():
    admin = make_superuser()
    return lambda: as_long_trail(lambda: audit_trail.request_verification(actor=admin))


@example(
    "services.audit_trail.request_verification",
    Action.AUDIT_VERIFY,
    writer="services.audit_trail.verify_trail",
)
def ask_to_verify_now():
    admin = make_superuser()
    return lambda: audit_trail.request_verification(actor=admin)


@example("services.audit_trail.request_purge", Action.AUDIT_PURGE, writer="services.audit_trail._purge_step")
def ask_to_purge():
    admin = make_superuser()
    with patch.object(recorder, "now", lambda: now() - timedelta(days=500)):
        recorder.record(Action.LOGIN, actor=admin)
    return lambda: audit_trail.request_purge(365, actor=admin, reason="privacy")


@example("services.retention.change_periods", Action.RETENTION_CHANGE)
def change_periods():
    admin = make_superuser()
    return lambda: retention.change_periods({FAMILY: 90}, actor=admin)


@example("services.retention.request_purge", Action.TASKS_PURGE)
def ask_for_purge():
    admin = make_superuser()
    return lambda: retention.request_purge(actor=admin)


@example("services.retention.purge", Action.TASKS_PURGE, writer="services.retention._announce", by="portal")
def purge_tasks():
    RetentionPeriod.objects.create(family=FAMILY, days=90)
    make_task(state=State.COMPLETED, started_at=BEGIN - timedelta(days=900))
    return lambda: retention.purge(sleep=lambda _: None)


def taken(export):
    """To its end, so that its place is free again."""
    b"".join(export.stream)


@example("services.exports.export_entries", Action.AUDIT_EXPORT)
def export_entries():
    admin = make_superuser()
    return lambda: taken(exports.export_entries(AuditFilters(), actor=admin, format=Format.CSV))


@example("services.exports.export_tasks", Action.TASKS_EXPORT)
def export_tasks():
    admin = make_superuser()
    return lambda: taken(exports.export_tasks(HistoryFilters(), actor=admin, format=Format.CSV))


@example("views.exports.audit", Action.AUDIT_EXPORT, writer="services.exports.export_entries", page=True)
def download_entries(client):
    client.force_login(make_superuser())
    return lambda: b"".join(client.get("/audit/export?format=csv").streaming_content)


@example("views.exports.history", Action.TASKS_EXPORT, writer="services.exports.export_tasks", page=True)
def download_tasks(client):
    client.force_login(make_superuser())
    return lambda: b"".join(client.get("/history/export?format=csv").streaming_content)


@example("polling.harvest.look_for_gap", Action.HISTORY_GAP, by="portal")
def find_gap():
    """The node knows none of the tasks that we know: somebody emptied its list."""
    source = make_source()
    node = Node.objects.create(
        source=source, name="pve1", cursor=int(BEGIN.timestamp()), first_synced_at=BEGIN
    )
    make_task(source, state=State.COMPLETED, started_at=BEGIN - timedelta(hours=1))
    later = BEGIN + timedelta(hours=1)
    seen = TaskObservation(
        remote_id=make_upid(started_at=later),
        node="pve1",
        type="qmstart",
        object_id="100",
        user="root@pam",
        token="",
        started_at=later,
        running=False,
        ended_at=later,
        exit_text="OK",
    )
    visit = SimpleNamespace(source=source, clock=now)
    return lambda: harvest.look_for_gap(visit, harvest.Listing(node, (seen,), 1), {})
