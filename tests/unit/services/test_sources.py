"""Sources: added, changed, paused and removed by whom, what the audit trail keeps, and that secrets stay inside."""

import json

import pytest
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.errors import InvalidInput, NotPermitted, SourcePaused
from tasks_app.models import AuditEntry, Role, Source, Task, TaskEvent
from tasks_app.services import sources
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db

SECRET = "12345678-1234-1234-1234-123456789abc"
PIN = ":".join(["AB"] * 32)
NEW = {
    "name": "prod",
    "urls": ["pve1.example.com"],
    "fingerprints": [PIN],
    "token_id": "portal@pve!web",
    "token_secret": SECRET,
}


def add(actor=None, **changes):
    return sources.add_source(actor=actor, **(NEW | changes))


def test_an_admin_of_all_sources_adds_one(audited):
    source = add(make_user(Role.ADMIN))
    assert source.urls == ["https://pve1.example.com:8006"]
    assert connections.unseal(source.token_secret_sealed) == SECRET
    assert audited() == ["source.add"]
    assert TaskEvent.objects.get().kind == "source"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, None])
def test_others_may_not_add(role):
    with pytest.raises(NotPermitted):
        add(make_user(role))
    assert not Source.objects.exists()


def test_an_admin_of_one_source_adds_no_other():
    with pytest.raises(NotPermitted):
        add(make_user(Role.ADMIN, source=make_source()))


def test_the_command_line_is_called_portal():
    add()
    assert AuditEntry.objects.get().actor_name == "portal"


def test_the_secret_stands_in_no_entry_and_not_readable_in_the_table():
    source = add()
    sources.replace_token(source, actor=None, token_id="portal@pve!web2", token_secret=SECRET[::-1])
    source.refresh_from_db()
    kept = json.dumps(list(AuditEntry.objects.values("data", "target_name"))) + str(
        Source.objects.values()[0]
    )
    assert SECRET not in kept
    assert SECRET[::-1] not in kept
    assert source.token_secret_sealed not in json.dumps(list(AuditEntry.objects.values("data")))
    assert connections.unseal(source.token_secret_sealed) == SECRET[::-1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"urls": []}, "urls"),
        ({"urls": ["ftp://pve1"]}, "urls"),
        ({"fingerprints": ["AB:CD"]}, "fingerprints"),
        ({"fingerprints": [], "ca_pem": "no certificate"}, "ca_pem"),
        ({"ca_pem": "-----BEGIN PRIVATE KEY-----"}, "ca_pem"),
        ({"token_id": "root"}, "token_id"),
        ({"token_secret": ""}, "token_secret"),
        ({"token_secret": "two words"}, "token_secret"),
    ],
)
def test_what_cannot_be_used_is_named(changes, field, audited):
    with pytest.raises(InvalidInput) as refusal:
        add(**changes)
    assert list(refusal.value.fields) == [field]
    assert SECRET not in str(refusal.value)
    assert audited() == []


def test_a_name_is_taken_once(audited):
    add()
    with pytest.raises(InvalidInput) as refusal:
        add()
    assert list(refusal.value.fields) == ["name"]
    assert audited() == ["source.add"]


def test_a_change_is_kept_with_before_and_after():
    source = add()
    sources.change_source(source, actor=None, name="prod-1", urls=["pve2:8007"])
    entry = AuditEntry.objects.get(action="source.change")
    assert entry.data["before"] == {"name": "prod", "urls": ["https://pve1.example.com:8006"]}
    assert entry.data["after"] == {"name": "prod-1", "urls": ["https://pve2:8007"]}


def test_a_change_to_the_same_is_none(audited):
    source = add()
    sources.change_source(source, actor=None, name="prod", urls=["pve1.example.com"])
    assert audited() == ["source.add"]


def test_a_name_that_is_taken_is_refused_on_change():
    source = add()
    make_source(name="lab")
    with pytest.raises(InvalidInput):
        sources.change_source(source, actor=None, name="lab")
    source.refresh_from_db()
    assert source.name == "prod"


def test_another_certificate_is_accepted_and_visited_at_once():
    source = make_source(next_pass_at=now().replace(year=2100))
    sources.accept_certificate(source, actor=None, fingerprints=[PIN.lower().replace(":", "")])
    source.refresh_from_db()
    assert source.fingerprints == [PIN]
    assert source.next_pass_at <= now()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.data["after"]) == ("source.certificate", {"fingerprints": [PIN]})


def test_pausing_and_resuming_twice_is_one_entry_each(audited):
    source = make_source()
    for _ in range(2):
        sources.pause_source(source, actor=None)
    assert source.paused_at is not None
    for _ in range(2):
        sources.resume_source(source, actor=None)
    assert source.paused_at is None
    assert audited() == ["source.pause", "source.resume"]


def test_removing_forgets_tasks_and_keeps_the_trail():
    source = make_source(name="old")
    make_task(source)
    make_user(Role.OPERATOR, source=source)
    sources.remove_source(source, actor=None)
    assert not Source.objects.exists()
    assert not Task.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target_name, entry.source_name, entry.data["tasks"]) == (
        "source.remove",
        "old",
        "old",
        1,
    )


CHANGES = [
    lambda source, actor: sources.change_source(source, actor=actor, name="other"),
    lambda source, actor: sources.accept_certificate(source, actor=actor, fingerprints=[PIN]),
    lambda source, actor: sources.replace_token(source, actor=actor, token_id="a@pve!b2", token_secret="c"),
    lambda source, actor: sources.pause_source(source, actor=actor),
    lambda source, actor: sources.resume_source(source, actor=actor),
    lambda source, actor: sources.remove_source(source, actor=actor),
    lambda source, actor: sources.check_source(source, actor=actor),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_only_admins_change_sources(change, role, audited):
    source = make_source()
    before = Source.objects.values().get()
    with pytest.raises(NotPermitted):
        change(source, make_user(role, source=source))
    assert Source.objects.values().get() == before
    assert audited() == []


@pytest.mark.parametrize("change", CHANGES)
def test_an_admin_of_another_source_changes_nothing(change):
    source = make_source()
    with pytest.raises(NotPermitted):
        change(source, make_user(Role.ADMIN, source=make_source()))


@pytest.mark.parametrize("change", [*CHANGES[:4], CHANGES[5]])
def test_an_admin_of_the_source_may(change, audited):
    source = make_source()
    change(source, make_user(Role.ADMIN, source=source))
    assert len(audited()) == 1


def test_a_paused_source_is_not_asked():
    with pytest.raises(SourcePaused):
        sources.check_source(make_source(paused_at=now()), actor=make_superuser())


def test_a_secret_that_no_key_opens_is_said_plainly(audited):
    source = make_source(token_secret_sealed="broken")
    check = sources.check_source(source, actor=None)
    assert "key file has changed" in check.problem
    assert AuditEntry.objects.get().result == "failed"
    assert audited() == ["source.check"]
