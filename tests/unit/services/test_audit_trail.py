"""Verifying and purging the audit trail: the verdict is kept, and a purged chain still verifies."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.models import OrmQ

from tasks_app import jobs
from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import write_anchor
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.models import AuditEntry, AuditHead, AuditMark, Role
from tasks_app.services import audit_trail
from tasks_app.services.audit_trail import count_purgeable, purge_trail, verify_trail
from tests.factories import make_source, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def anchor_file(settings, tmp_path):
    settings.AUDIT_ANCHOR_FILE = tmp_path / "anchors.jsonl"


@pytest.fixture
def write(monkeypatch):
    def write(count: int, *, days_ago: float = 0.0) -> list[AuditEntry]:
        at = timezone.now() - timedelta(days=days_ago)
        monkeypatch.setattr(recorder, "now", lambda: at)
        entries = [record(Action.LOGIN, actor=None, number=number) for number in range(count)]
        monkeypatch.setattr(recorder, "now", timezone.now)
        return entries

    return write


def test_the_verdict_is_kept_for_the_page(write):
    write(3)
    auditor = make_user(Role.AUDITOR)
    assert verify_trail(actor=auditor).verified == 3
    mark = AuditMark.objects.get(name="verified")
    assert (mark.number, mark.problem) == (3, "")
    assert AuditEntry.objects.order_by("-number").first().action == Action.AUDIT_VERIFY


def test_a_stranger_may_not_verify():
    with pytest.raises(NotPermitted):
        verify_trail(actor=make_user(Role.OPERATOR, source=make_source()))


def test_the_command_tells_how_far_and_ends_with_an_error(write, anchor_file):
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert "empty" in out.getvalue()
    write(3)
    call_command("verify_audit", stdout=out)
    assert "up to #3" in out.getvalue()
    AuditHead.objects.update(number=9)
    with pytest.raises(CommandError, match="cut off"):
        call_command("verify_audit")


def test_a_broken_anchor_file_is_no_verified_trail(write, settings):
    write(1)
    settings.AUDIT_ANCHOR_FILE.write_text("nonsense\n")
    assert not verify_trail().is_intact


def test_a_purge_leaves_a_chain_that_verifies(write, monkeypatch):
    monkeypatch.setattr(audit_trail, "PURGE_STEP", 4)
    write(10, days_ago=400)
    write_anchor()
    write(5)
    write_anchor()
    assert count_purgeable(365) == 10
    admin = make_user(Role.ADMIN)
    assert purge_trail(365, actor=admin, reason="privacy") == 10
    assert AuditEntry.objects.order_by("number").first().number == 11
    purges = AuditEntry.objects.filter(action=Action.AUDIT_PURGE).order_by("number")
    assert [entry.data["to"] for entry in purges] == [4, 8, 10]
    assert verify_trail().is_intact
    assert count_purgeable(365) == 0
    assert purge_trail(365, actor=admin) == 0


def test_purging_again_later_purges_the_earlier_purge(write, monkeypatch):
    write(3, days_ago=900)
    admin = make_user(Role.ADMIN)
    old = timezone.now() - timedelta(days=500)
    monkeypatch.setattr(recorder, "now", lambda: old)
    purge_trail(800, actor=admin)
    monkeypatch.setattr(recorder, "now", timezone.now)
    assert purge_trail(365, actor=admin) == 1
    assert [entry.action for entry in AuditEntry.objects.all()] == [Action.AUDIT_PURGE]
    assert verify_trail().is_intact


def test_what_stands_behind_a_newer_entry_is_kept(write):
    """A clock that went back must not make holes."""
    write(2, days_ago=400)
    write(1)
    write(2, days_ago=400)
    assert count_purgeable(365) == 2


def test_last_month_cannot_be_purged_and_not_by_everybody(write):
    write(1, days_ago=400)
    with pytest.raises(InvalidInput):
        purge_trail(29, actor=make_user(Role.ADMIN))
    with pytest.raises(NotPermitted):
        purge_trail(365, actor=make_user(Role.AUDITOR))
    assert AuditEntry.objects.filter(action=Action.LOGIN).exists()


def test_a_purge_by_a_job_is_noted_as_coming_from_the_click(write, monkeypatch):
    write(2, days_ago=400)
    monkeypatch.setattr(audit_trail, "AT_ONCE", 0)
    set_origin(Origin("c" * 32, "192.0.2.7", "A browser"))
    try:
        assert audit_trail.request_purge(365, actor=make_user(Role.ADMIN), reason="privacy") is None
    finally:
        set_origin(Origin())
    jobs.purge_audit(*OrmQ.objects.get().task["args"])
    entry = AuditEntry.objects.get(action=Action.AUDIT_PURGE)
    assert (entry.request_id, entry.ip, entry.user_agent) == ("c" * 32, "192.0.2.7", "A browser")
    assert verify_trail().is_intact
