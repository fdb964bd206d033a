"""What people do with machines: who may, what is written, how a deletion goes call by call."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import InvalidInput, NotPermitted, Refused, SourcePaused
from tasks_app.models import AuditEntry, Guest, Machine, Notice, Role, Stage, Submission
from tasks_app.services.machines import (
    DAYS_WITHOUT_ITEM,
    MACHINE_ACTIONS,
    delete_machine,
    extend_lease,
    fetch_backup_storages,
    machine_obstacle,
    submit_machine_action,
    transfer_machine,
)
from tasks_app.services.removal import continue_removals
from tasks_app.sources.proxmox import Resource
from tasks_app.states import State
from tests.factories import make_item, make_machine, make_source, make_superuser, make_team, make_user

pytestmark = pytest.mark.django_db

Deed = Submission.Action
FULL = {"/": {"VM.Audit": 1, "VM.PowerMgmt": 1, "VM.Snapshot": 1, "VM.Backup": 1, "VM.Allocate": 1}}
PARAMETERS = {"snapshot": {"name": "before"}, "rollback": {"name": "before"}, "backup": {"storage": "local"}}


def submit(machine, action="reboot", *, actor=None, key="key-1", parameters=None):
    return submit_machine_action(
        machine,
        actor=actor or machine.owner,
        action=action,
        parameters=PARAMETERS.get(action, {}) if parameters is None else parameters,
        idempotency_key=key,
    )


def delete(machine, *, actor=None, key="key-1", typed=None):
    return delete_machine(
        machine,
        actor=actor or machine.owner,
        typed_name=machine.name if typed is None else typed,
        idempotency_key=key,
    )


def people_around(machine):
    """Everybody who stands in some relation to the machine, and whether they may use it."""
    team_admin, member, former = make_user(), make_user(), make_user()
    machine.team.group.user_set.add(team_admin, member)
    machine.team.admins.add(team_admin)
    other_admin = make_user()
    make_team(admins=(other_admin,))
    return {
        "owner": (machine.owner, True),
        "team admin": (team_admin, True),
        "operator": (make_user(Role.OPERATOR, source=machine.source), True),
        "source admin": (make_user(Role.ADMIN, source=machine.source), True),
        "superuser": (make_superuser(), True),
        "member": (member, False),
        "viewer": (make_user(Role.VIEWER, source=machine.source), False),
        "auditor": (make_user(Role.AUDITOR), False),
        "admin of another team": (other_admin, False),
        "operator elsewhere": (make_user(Role.OPERATOR, source=make_source()), False),
        "stranger": (former, False),
    }


WHO = [
    "owner", "team admin", "operator", "source admin", "superuser", "member", "viewer", "auditor",
    "admin of another team", "operator elsewhere", "stranger",
]  # fmt: skip


@pytest.mark.parametrize("who", WHO)
def test_everybody_is_tried_against_an_action(who):
    machine = make_machine()
    person, may = people_around(machine)[who]
    if may:
        assert submit(machine, actor=person).actor == person
    else:
        with pytest.raises(NotPermitted):
            submit(machine, actor=person)
    assert Submission.objects.count() == may


@pytest.mark.parametrize("who", WHO)
def test_everybody_is_tried_against_deleting_extending_and_handing_over(who):
    machine = make_machine(expires_at=now() + timedelta(days=2))
    person, may = people_around(machine)[who]
    deeds = [
        lambda: extend_lease(machine, actor=person, days=20),
        lambda: transfer_machine(machine, actor=person, to=machine.owner),
        lambda: delete(machine, actor=person),
    ]
    for deed in deeds:
        if may:
            deed()
        else:
            with pytest.raises(NotPermitted):
                deed()


@pytest.mark.parametrize("action", [action.value for action in MACHINE_ACTIONS])
def test_each_action_is_one_submission_and_one_audit_entry(
    audited, queued, action, django_capture_on_commit_callbacks
):
    machine = make_machine()
    with django_capture_on_commit_callbacks(execute=True):
        submission = submit(machine, action)
    assert (submission.action, submission.machine, submission.vmid, submission.node, submission.step) == (
        action,
        machine,
        machine.vmid,
        "pve1",
        "",
    )
    assert audited() == ["machine.action"]
    assert queued() == [("deliver", (submission.pk,))]
    again = submit(machine, action)
    assert again == submission
    assert audited() == ["machine.action"]


@pytest.mark.parametrize("action", ["clone", "create", "configure", "resize", "delete", "explode", ""])
def test_other_actions_are_not_done_here(action):
    with pytest.raises(InvalidInput):
        submit(make_machine(), action, parameters={})
    assert not Submission.objects.exists()


def test_a_guest_is_asked_for_where_it_was_last_seen():
    machine = make_machine()
    Guest.objects.update(node="pve7")
    assert submit(machine).node == "pve7"


def test_a_machine_no_pass_has_seen_yet_is_asked_for_where_it_was_made():
    machine = make_machine(has_guest=False, node="pve3")
    submission = submit(machine, "stop")
    assert (submission.node, submission.vmid, submission.guest_name) == ("pve3", machine.vmid, machine.name)


@pytest.mark.parametrize("parameters", [{}, {"name": "1"}, {"name": "ok-1", "colour": "red"}])
def test_wrong_parameters_are_refused_with_the_field(parameters):
    with pytest.raises(InvalidInput):
        submit(make_machine(), "snapshot", parameters=parameters)
    assert not AuditEntry.objects.exists()


def test_nothing_is_sent_to_a_paused_source():
    machine = make_machine(source=make_source(paused_at=now()))
    for deed in (submit, delete):
        with pytest.raises(SourcePaused):
            deed(machine)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage.CLONE, "still being made"),
        (Stage.QUEUED, "still being made"),
        (Stage.GONE, "does not exist any more"),
    ],
)
def test_a_machine_that_does_not_stand_is_left_alone(stage, words):
    machine = make_machine(stage=stage)
    for deed in (submit, delete):
        with pytest.raises(Refused, match=words):
            deed(machine)


def test_a_machine_that_was_made_but_not_finished_can_be_used():
    machine = make_machine(stage=Stage.FAILED, exists=True, vmid=777)
    assert submit(machine, "start").vmid == 777


@pytest.mark.parametrize("action", ["start", "reboot"])
def test_a_machine_whose_lease_has_ended_is_not_started(action):
    machine = make_machine(expires_at=now() - timedelta(hours=1))
    with pytest.raises(Refused, match="lease has ended"):
        submit(machine, action)
    assert submit(machine, "shutdown").action == "shutdown"


# leases


@pytest.fixture
def leased():
    item = make_item(max_lease_days=30)
    return make_machine(item=item, expires_at=now() + timedelta(days=3), reminded_days=3)


def test_extending_sets_the_end_counted_from_now_and_reminds_anew(leased, audited):
    extend_lease(leased, actor=leased.owner, days=30)
    leased.refresh_from_db()
    assert timedelta(days=29) < leased.expires_at - now() <= timedelta(days=30)
    assert leased.reminded_days is None
    assert audited() == ["machine.extend"]


def test_a_short_extension_does_not_remind_at_once(leased):
    extend_lease(leased, actor=leased.owner, days=5)
    leased.refresh_from_db()
    assert leased.reminded_days == 7


@pytest.mark.parametrize("days", [0, -1, 31, 10**6])
def test_a_lease_is_not_extended_beyond_what_the_item_allows(leased, days):
    with pytest.raises(InvalidInput, match="1 to 30"):
        extend_lease(leased, actor=leased.owner, days=days)


def test_extending_never_shortens(leased):
    with pytest.raises(InvalidInput, match="already lasts longer"):
        extend_lease(leased, actor=leased.owner, days=2)


def test_a_machine_of_a_removed_item_may_be_extended_a_little(leased):
    leased.item.delete()
    machine = Machine.objects.get()
    with pytest.raises(InvalidInput):
        extend_lease(machine, actor=machine.owner, days=DAYS_WITHOUT_ITEM + 1)
    extend_lease(machine, actor=machine.owner, days=DAYS_WITHOUT_ITEM)


def test_extending_calls_an_announced_deletion_off(leased):
    Machine.objects.update(
        expires_at=now() - timedelta(days=1), delete_at=now() + timedelta(days=6), reminded_days=0
    )
    extend_lease(leased, actor=leased.owner, days=10)
    leased.refresh_from_db()
    assert (leased.delete_at, leased.reminded_days) == (None, None)


def test_a_machine_without_lease_has_nothing_to_extend():
    machine = make_machine()
    with pytest.raises(Refused, match="no lease"):
        extend_lease(machine, actor=machine.owner, days=10)


# owners


def test_a_machine_is_handed_over_to_a_member_who_is_told(audited):
    machine = make_machine()
    former, heir = machine.owner, make_user(username="heir")
    machine.team.group.user_set.add(heir)
    transfer_machine(machine, actor=former, to=heir)
    machine.refresh_from_db()
    assert (machine.owner, machine.owner_name) == (heir, "heir")
    assert audited() == ["machine.transfer"]
    assert [notice.user for notice in Notice.objects.all()] == [heir]
    transfer_machine(machine, actor=heir, to=heir)
    assert audited() == ["machine.transfer"]


def test_a_machine_is_not_handed_to_somebody_outside_the_team():
    machine = make_machine()
    switched_off = make_user(is_active=False)
    machine.team.group.user_set.add(switched_off)
    for person in (make_user(), switched_off):
        with pytest.raises(InvalidInput, match="no member"):
            transfer_machine(machine, actor=machine.owner, to=person)
    assert not AuditEntry.objects.exists()


# deleting


def end(submission, state=State.COMPLETED, error=""):
    Submission.objects.filter(pk=submission.pk).update(state=state, error=error, ended_at=now())


def steps():
    return list(Submission.objects.order_by("pk").values_list("action", flat=True))


def test_a_running_machine_is_stopped_and_then_deleted_and_then_gone(audited):
    machine = make_machine()
    owner = machine.owner
    end(delete(machine))
    assert steps() == ["stop"]
    continue_removals()
    continue_removals()
    assert steps() == ["stop", "delete"]
    assert Machine.objects.get().ended_at is None
    end(Submission.objects.get(action="delete"))
    continue_removals()
    machine = Machine.objects.get()
    assert (machine.stage, machine.exists, machine.delete_at) == (Stage.GONE, False, None)
    assert machine.ended_at is not None
    assert audited() == ["machine.delete", "machine.gone"]
    assert "deleted it with its disks" in Notice.objects.get(user=owner).text
    assert {submission.actor for submission in Submission.objects.all()} == {owner}


def test_a_stopped_machine_is_deleted_at_once():
    machine = make_machine()
    Guest.objects.update(status="stopped")
    assert delete(machine).action == Deed.DELETE


def test_a_container_that_is_not_known_to_run_is_not_stopped():
    machine = make_machine(kind="lxc", has_guest=False)
    assert delete(machine).action == Deed.DELETE


def test_the_typed_name_must_be_right(audited):
    machine = make_machine()
    for typed in ("", "vm", machine.name.upper()):
        with pytest.raises(InvalidInput) as caught:
            delete(machine, typed=typed)
        assert set(caught.value.fields) == {"typed_name"}
    assert audited() == []


def test_a_double_click_deletes_once(audited):
    machine = make_machine()
    assert delete(machine) == delete(machine)
    assert audited() == ["machine.delete"]
    with pytest.raises(Refused, match="being deleted"):
        delete(machine, key="key-2")


def test_while_it_is_being_deleted_nothing_else_is_done():
    machine = make_machine(expires_at=now() + timedelta(days=1))
    delete(machine)
    with pytest.raises(Refused, match="being deleted"):
        submit(machine, key="key-2")
    with pytest.raises(Refused, match="being deleted"):
        extend_lease(machine, actor=machine.owner, days=10)


def test_protection_is_cleared_when_the_source_says_so():
    machine = make_machine()
    Guest.objects.update(status="stopped")
    end(delete(machine), State.FAILED, "can't remove VM 301 - protection mode enabled")
    continue_removals()
    assert steps() == ["delete", "configure"]
    end(Submission.objects.latest("pk"))
    continue_removals()
    assert steps() == ["delete", "configure", "delete"]
    end(Submission.objects.latest("pk"), State.FAILED, "can't remove VM 301 - protection mode enabled")
    continue_removals()
    assert Machine.objects.get().delete_at is None


def test_a_machine_that_was_started_meanwhile_is_stopped_again_but_not_for_ever():
    machine = make_machine()
    last = delete(machine)
    for _ in range(10):
        running = "VM 301 is running - destroy failed"
        end(last, State.FAILED if last.action == Deed.DELETE else State.COMPLETED, running)
        continue_removals()
        last = Submission.objects.latest("pk")
    assert steps() == ["stop", "delete", "stop", "delete"]
    assert Machine.objects.get().ended_at is None


@pytest.mark.parametrize("state", [State.FAILED, State.LOST, State.CANCELLED])
def test_a_deletion_that_fails_leaves_the_machine_and_tells(state):
    machine = make_machine()
    end(delete(machine), state, "storage 'nfs' is not online")
    continue_removals()
    machine.refresh_from_db()
    assert (machine.stage, machine.delete_at, machine.ended_at) == (Stage.READY, None, None)
    assert "storage 'nfs' is not online" in Notice.objects.get(user=machine.owner).text
    assert delete(machine, key="key-2").pk != Submission.objects.earliest("pk").pk


# what pages say beforehand


def test_pages_name_the_missing_privilege():
    machine = make_machine(source=make_source(permissions={"/": {"VM.Audit": 1}}))
    guest = Guest.objects.select_related("source").get()
    assert "VM.PowerMgmt" in machine_obstacle(machine, guest, Deed.REBOOT)
    assert "VM.Backup" in machine_obstacle(machine, guest, Deed.BACKUP)
    assert "VM.Allocate" in machine_obstacle(machine, guest, Deed.DELETE)


def test_pages_offer_what_the_token_may():
    machine = make_machine(source=make_source(permissions=FULL))
    guest = Guest.objects.select_related("source").get()
    for action in (*MACHINE_ACTIONS, Deed.DELETE):
        assert machine_obstacle(machine, guest, action) == (
            "It is running already." if action == Deed.START else ""
        )


def test_a_running_machine_needs_power_for_its_deletion_too():
    machine = make_machine(source=make_source(permissions={"/": {"VM.Allocate": 1}}))
    guest = Guest.objects.select_related("source").get()
    assert "VM.PowerMgmt" in machine_obstacle(machine, guest, Deed.DELETE)
    guest.status = "stopped"
    assert machine_obstacle(machine, guest, Deed.DELETE) == ""


class Storages:
    """Answers with two storages on pve1."""

    def fetch_storages_by_node(self):
        def storage(name, *content):
            return Resource(
                id=f"storage/pve1/{name}", type="storage", node="pve1", storage=name, content=content
            )

        return {
            "pve1": {
                "nas": storage("nas", "backup"),
                "local": storage("local", "backup"),
                "lvm": storage("lvm", "images"),
            }
        }


def test_backups_go_to_storages_that_take_them_and_that_the_token_may_use():
    source = make_source(permissions={"/storage/nas": {"Datastore.AllocateSpace": 1}})
    machine = make_machine(source=source)
    assert fetch_backup_storages(machine, client=Storages()) == ["nas"]
    source.permissions = {"/storage": {"Datastore.AllocateSpace": 1}}
    source.save()
    assert fetch_backup_storages(Machine.objects.get(), client=Storages()) == ["local", "nas"]
