"""What most tests of services need: a source in memory, and the deeds the audit trail and the queue have seen."""

import pytest
from django_q.models import OrmQ

from tasks_app.models import AuditEntry
from tests.unit.services.fake_source import FakeSource


@pytest.fixture
def remote():
    return FakeSource()


@pytest.fixture
def audited():
    """Actions recorded so far, oldest first."""
    return lambda: list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


@pytest.fixture
def queued():
    """(function, arguments) of the jobs waiting, oldest first."""

    def read():
        jobs = [message.task for message in OrmQ.objects.order_by("pk")]
        return [(job["func"].rpartition(".")[2], tuple(job["args"])) for job in jobs]

    return read
