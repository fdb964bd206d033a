"""Audit entries: what they keep, that they read when rows are gone, and that there is no deed without one."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction

from tasks_app.audit.actions import Action
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, Source
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db


def test_an_entry_reads_when_actor_and_target_are_gone():
    task = make_task(make_source(name="prod"))
    actor = make_user(username="ada")
    record(Action.TASK_CANCEL, actor=actor, target=task, reason="wrong")
    what = str(task)
    task.source.delete()
    actor.delete()
    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.target_name, entry.source_name) == ("ada", what, "prod")
    assert (entry.target_kind, entry.target_id) == ("task", str(entry.target_id))
    assert entry.data == {"reason": "wrong"}


def test_the_portal_itself_and_nobody_have_names():
    assert record(Action.LOGIN_FAILED, actor=None).actor_name == "portal"
    assert record(Action.DENIED, actor=AnonymousUser()).actor_name == "nobody signed in"


def test_origin_is_carried_beside_the_call():
    set_origin(Origin("abc", "2001:db8::1", "x" * 1000))
    try:
        entry = record(Action.LOGIN, actor=make_user())
    finally:
        set_origin(Origin())
    assert (entry.request_id, entry.ip, len(entry.user_agent)) == ("abc", "2001:db8::1", 300)


def test_what_cannot_be_recorded_undoes_the_deed():
    source = make_source()

    @transaction.atomic
    def remove():
        source.delete()
        record(Action.SOURCE_REMOVE, actor=None, reason=object())

    with pytest.raises(TypeError):
        remove()
    assert Source.objects.exists()
