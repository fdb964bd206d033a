"""Saying whose a Proxmox user or token is, and the tasks that follow."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils.timezone import now

from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.models import AuditEntry, AuditMark, KnownIdentity, Role, Task
from tasks_app.services import identities as service
from tests.factories import (
    make_generation_source,
    make_source,
    make_superuser,
    make_task,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_asked_before():
    cache.clear()


def add(actor=None, source=None, user="ann@pve", token="", name="Ann"):
    return service.add_identity(
        actor=actor or make_superuser(),
        source=source,
        remote_user=user,
        remote_token=token,
        person_name=name,
    )


def work():
    return service.name_persons(sleep=lambda _: None)


def test_it_is_noted_before_and_after_and_the_tasks_follow(
    audited, django_capture_on_commit_callbacks, queued
):
    admin, source = make_superuser(), make_source(name="lab")
    task = make_task(source, remote_user="ann@pve")
    with django_capture_on_commit_callbacks(execute=True):
        identity = add(admin, source)
    assert queued() == [("name_persons", ())]
    work()
    assert Task.objects.get(pk=task.pk).person == "Ann"
    service.change_identity(identity, actor=admin, person_name="Anna")
    work()
    assert Task.objects.get(pk=task.pk).person == "Anna"
    service.remove_identity(identity, actor=admin)
    work()
    assert Task.objects.get(pk=task.pk).person == ""
    assert audited() == ["identity.add", "identity.change", "identity.remove"]
    added, changed, removed = AuditEntry.objects.order_by("number")
    assert (added.target_name, added.source_name) == ("ann@pve is Ann", "lab")
    assert added.data["after"]["person"] == "Ann"
    assert (changed.data["before"]["person"], changed.data["after"]["person"]) == ("Ann", "Anna")
    assert removed.data["before"]["person"] == "Anna"


def test_saying_the_same_again_is_no_deed(audited):
    admin = make_superuser()
    identity = add(admin)
    service.change_identity(identity, actor=admin, person_name=" Ann ")
    service.remove_identity(identity, actor=admin)
    service.remove_identity(identity, actor=admin)
    assert audited() == ["identity.add", "identity.remove"]


def test_the_name_of_somebody_who_signs_in_joins_both():
    ann = make_user(username="ann")
    identity = add(name="ann")
    assert identity.person == ann
    service.change_identity(identity, actor=make_superuser(), person_name="Ann from outside")
    assert KnownIdentity.objects.get().person is None


def test_a_token_may_come_with_its_user():
    identity = add(user=" root@pam!backup ")
    assert (identity.remote_user, identity.remote_token) == ("root@pam", "backup")


@pytest.mark.parametrize("role", [None, *Role])
def test_only_admins_of_the_portal_may(role, audited):
    actor = make_user(role, source=make_source()) if role else make_user()
    identity = add()
    for deed in (
        lambda: add(actor, user="bob@pve"),
        lambda: service.change_identity(identity, actor=actor, person_name="Eve"),
        lambda: service.remove_identity(identity, actor=actor),
    ):
        with pytest.raises(NotPermitted):
            deed()
    assert audited() == ["identity.add"]
    assert KnownIdentity.objects.get().person_name == "Ann"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"user": "ann"}, "remote_user"),
        ({"user": "ann@"}, "remote_user"),
        ({"user": "a nn@pve"}, "remote_user"),
        ({"user": "ann\0@pve"}, "remote_user"),
        ({"user": "ann\ud800@pve"}, "remote_user"),
        ({"user": "@" * 5000}, "remote_user"),
        ({"user": "a" * 200 + "@pve"}, "remote_user"),
        ({"token": "../web"}, "remote_token"),
        ({"token": "w" * 101}, "remote_token"),
        ({"name": "  "}, "person_name"),
        ({"name": "x" * 201}, "person_name"),
        ({"name": "a\0b"}, "person_name"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_nonsense_is_refused_by_field(given, field, audited):
    with pytest.raises(InvalidInput) as refused:
        add(**given)
    assert field in refused.value.fields
    assert audited() == []


def test_the_portals_own_token_belongs_to_nobody():
    source = make_source(name="lab", token_id="portal@pve!web")
    for on in (source, None):
        with pytest.raises(InvalidInput, match="the portal itself works on lab"):
            add(source=on, user="portal@pve", token="web")


def test_a_generation_source_has_no_such_users():
    with pytest.raises(InvalidInput, match="no Proxmox users"):
        add(source=make_generation_source())


@pytest.mark.parametrize("everywhere", [True, False], ids=["every cluster", "one cluster"])
def test_an_identity_is_named_once(everywhere):
    source = None if everywhere else make_source()
    add(source=source)
    with pytest.raises(InvalidInput, match="in the list already"):
        add(source=source, name="Bob")
    assert KnownIdentity.objects.count() == 1


def test_a_fresh_change_is_looked_at_once_more_and_then_done(queued):
    """A pass that had read the map before the change may write its tasks after the first look."""
    task = make_task(remote_user="ann@pve")
    add()
    assert work() == 1
    Task.objects.filter(pk=task.pk).update(person="")  # as the late pass left it
    cache.clear()  # a minute later
    service.pick_up()
    assert queued() == [("name_persons", ())]
    later = now() + timedelta(seconds=service.SETTLE_SECONDS + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "now", lambda: later)
        assert work() == 1
    assert AuditMark.objects.get(name="persons").number == AuditEntry.objects.get().number
    cache.clear()
    service.pick_up()
    assert len(queued()) == 1


def test_it_is_not_asked_for_again_and_again(queued):
    add()
    for _ in range(5):
        service.pick_up()
    assert queued() == [("name_persons", ())]


def test_unknown_identities_come_by_how_often_they_are_seen():
    source = make_source(token_id="portal@pve!web")
    for user, token, count in (
        ("root@pam", "", 2),
        ("root@pam", "ci", 3),
        ("portal@pve", "web", 5),
        ("known@pve", "", 4),
    ):
        for _ in range(count):
            make_task(source, remote_user=user, remote_token=token, person="K" if user == "known@pve" else "")
    found = [(one.remote_user, one.remote_token, one.count) for one in service.find_unknown()]
    assert found == [("root@pam", "ci", 3), ("root@pam", "", 2)]
    assert [one.count for one in service.find_unknown(limit=1)] == [3]


def test_only_the_newest_tasks_are_counted(monkeypatch):
    monkeypatch.setattr(service, "LOOKED_AT", 2)
    source = make_source()
    for user in ("old@pve", "old@pve", "new@pve", "new@pve"):
        make_task(source, remote_user=user)
    assert [one.remote_user for one in service.find_unknown()] == ["new@pve"]


def test_what_was_named_a_moment_ago_is_not_unknown():
    source, other = make_source(), make_source()
    for user, on in (("ann@pve", source), ("ann@pve", other), ("bob@pve", source), ("cy@pve", source)):
        make_task(on, remote_user=user)
    add(source=source)
    add(user="bob@pve", name="Bob")
    found = [(one.source, one.remote_user) for one in service.find_unknown()]
    assert found == [(source, "cy@pve"), (other, "ann@pve")]
