"""Pages of machines: who sees what, what is offered, and what a deed does."""

import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Guest, Machine, Role, Source, Stage, Submission
from tasks_app.states import State
from tests.factories import make_item, make_machine, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db

FULL = {
    "/": {
        "VM.Audit": 1,
        "VM.PowerMgmt": 1,
        "VM.Snapshot": 1,
        "VM.Backup": 1,
        "VM.Allocate": 1,
        "Sys.Audit": 1,
    }
}
ACTIONS = ["start", "shutdown", "reboot", "stop", "snapshot", "rollback", "backup"]
DEEDS = [*ACTIONS, "delete", "extend", "transfer"]


@pytest.fixture
def machine() -> Machine:
    source = make_source(name="prod", permissions=FULL)
    item = make_item(source, title="Debian 12", max_lease_days=30)
    return make_machine(
        item=item, name="web-07", addresses=["10.0.0.7"], expires_at=now() + timedelta(days=9)
    )


@pytest.fixture
def owner(client: Client, machine: Machine) -> Client:
    assert machine.owner is not None
    client.force_login(machine.owner)
    return client


def as_(client: Client, person) -> Client:
    client.force_login(person)
    return client


def given_for(deed: str, machine: Machine) -> dict[str, object]:
    extra: dict[str, dict[str, object]] = {
        "snapshot": {"name": "before-update"},
        "rollback": {"name": "before-update"},
        "backup": {"storage": "nas", "mode": "snapshot"},
        "delete": {"typed_name": machine.name},
        "extend": {"days": 20},
        "transfer": {"to": machine.owner_id},
    }
    return {"idempotency_key": str(uuid.uuid4())} | extra.get(deed, {})


# who


@pytest.mark.parametrize(
    "page", ["/machines/", "/machines/{pk}/", *(f"/machines/{{pk}}/{deed}" for deed in DEEDS)]
)
def test_anonymous_is_led_to_the_sign_in(client: Client, machine: Machine, page: str) -> None:
    assert client.get(page.format(pk=machine.pk))["Location"].startswith("/account/login/")


@pytest.mark.parametrize("deed", ["", *DEEDS])
def test_stranger_cannot_tell_that_the_machine_exists(client: Client, machine: Machine, deed: str) -> None:
    for person in (make_user(), make_user(Role.OPERATOR, source=make_source())):
        as_(client, person)
        assert client.get(f"/machines/{machine.pk}/{deed}").status_code == 404
        if deed:
            assert client.post(f"/machines/{machine.pk}/{deed}", given_for(deed, machine)).status_code == 404
        assert "web-07" not in client.get("/machines/?show=all").text
    assert not Submission.objects.exists()


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("who", ["member", "viewer", "auditor"])
def test_who_only_looks_is_refused_and_it_is_noted(
    client: Client, machine: Machine, deed: str, who: str
) -> None:
    person = {
        "member": lambda: make_user(),
        "viewer": lambda: make_user(Role.VIEWER, source=machine.source),
        "auditor": lambda: make_user(Role.AUDITOR),
    }[who]()
    if who == "member":
        machine.team.group.user_set.add(person)
    as_(client, person)
    page = client.get(f"/machines/{machine.pk}/")
    assert page.status_code == 200
    assert f"/machines/{machine.pk}/{deed}" not in page.text
    assert client.post(f"/machines/{machine.pk}/{deed}", given_for(deed, machine)).status_code == 403
    assert not Submission.objects.exists()
    assert AuditEntry.objects.filter(action=Action.DENIED).count() == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("who", ["owner", "team admin", "operator", "superuser"])
def test_who_may_starts_it_once_and_it_is_noted(
    client: Client, machine: Machine, action: str, who: str
) -> None:
    lead = make_user()
    machine.team.group.user_set.add(lead)
    machine.team.admins.add(lead)
    people = {
        "owner": machine.owner,
        "team admin": lead,
        "operator": make_user(Role.OPERATOR, source=machine.source),
        "superuser": make_superuser(),
    }
    as_(client, people[who])
    given = given_for(action, machine)
    for _ in range(2):
        answer = client.post(f"/machines/{machine.pk}/{action}", given)
    submission = Submission.objects.get()
    assert answer["Location"] == f"/submissions/{submission.pk}/"
    assert (submission.action, submission.machine, submission.state) == (action, machine, State.PENDING)
    assert AuditEntry.objects.filter(action=Action.MACHINE_ACTION).count() == 1


@pytest.mark.parametrize("action", ["clone", "create", "configure", "resize", "explode"])
def test_other_actions_are_not_found(owner: Client, machine: Machine, action: str) -> None:
    assert owner.post(f"/machines/{machine.pk}/{action}", given_for(action, machine)).status_code == 404


# the list


def test_list_shows_ones_own_first_and_others_on_request(owner: Client, machine: Machine) -> None:
    colleague = make_user(username="colleague")
    machine.team.group.user_set.add(colleague)
    make_machine(machine.order, owner=colleague, name="theirs-01")
    make_machine(machine.order, owner=machine.owner, name="old-01", stage=Stage.GONE)
    mine, everything, gone = (owner.get(f"/machines/?show={show}").text for show in ("mine", "all", "gone"))
    assert ("web-07" in mine, "theirs-01" in mine, "old-01" in mine) == (True, False, False)
    assert ("web-07" in everything, "theirs-01" in everything) == (True, True)
    assert ("web-07" in gone, "old-01" in gone) == (False, True)


@pytest.mark.parametrize("text", ["web-0", "10007", "colleague", "pve9", "web team", "10.9.9.9"])
def test_list_finds_by_name_id_owner_node_team_and_address(
    owner: Client, machine: Machine, text: str
) -> None:
    Machine.objects.update(vmid=10007, owner_name="colleague", node="pve9", static_ip="10.9.9.9")
    machine.team.group.name = "web team"
    machine.team.group.save()
    make_machine(name="other", owner=machine.owner)
    page = owner.get("/machines/", {"q": text, "show": "all"}).text
    assert "web-07" in page
    assert ">other <" not in page


@pytest.mark.parametrize("query", ["show=nonsense", "q=%00", "q=" + "9" * 150, "q=" + "x" * 201])
def test_nonsense_in_the_address_does_no_harm(owner: Client, query: str) -> None:
    assert owner.get(f"/machines/?{query}").status_code == 200


def test_list_takes_as_many_queries_for_many(
    owner: Client, machine: Machine, django_assert_num_queries
) -> None:
    for _ in range(30):
        make_machine(machine.order, owner=machine.owner)
    owner.get("/machines/")
    # session, person, machines, guests, open submissions, which may be used, navigation (2)
    with django_assert_num_queries(8):
        owner.get("/machines/")


def test_list_asks_again_only_while_something_moves(owner: Client, machine: Machine) -> None:
    assert "every 2s" not in owner.get("/machines/").text
    owner.post(f"/machines/{machine.pk}/reboot", given_for("reboot", machine))
    assert "every 2s" in owner.get("/machines/").text


def test_empty_lists_say_what_to_do(client: Client, machine: Machine) -> None:
    as_(client, make_user(Role.OPERATOR, source=machine.source))
    page = client.get("/machines/").text
    assert "You have no machines" in page
    assert "?show=all" in page
    as_(client, make_user())
    assert "/catalogue/" in client.get("/machines/").text


# one machine


def test_page_tells_what_is_known(owner: Client, machine: Machine) -> None:
    page = owner.get(f"/machines/{machine.pk}/").text
    for words in (
        "web-07",
        str(machine.vmid),
        "10.0.0.7",
        "Debian 12",
        machine.owner_name,
        "prod",
        "pve1",
        "Running",
    ):
        assert words in page
    assert "every 2s" not in page


def test_page_of_a_member_leads_to_no_page_they_may_not_open(owner: Client, machine: Machine) -> None:
    assert f"/sources/{machine.source_id}/" not in owner.get(f"/machines/{machine.pk}/").text


def test_page_switches_off_what_the_token_may_not_and_names_the_privilege(
    owner: Client, machine: Machine
) -> None:
    Source.objects.update(permissions={"/": {"VM.Audit": 1, "VM.PowerMgmt": 1}})
    page = owner.get(f"/machines/{machine.pk}/").text
    assert "lacks VM.Backup on" in page
    assert f"/machines/{machine.pk}/backup" not in page
    assert f"/machines/{machine.pk}/reboot" in page
    assert "disabled" in owner.get(f"/machines/{machine.pk}/backup").text


def test_page_asks_again_while_something_is_unfinished_and_shows_its_progress(
    owner: Client, machine: Machine
) -> None:
    owner.post(f"/machines/{machine.pk}/reboot", given_for("reboot", machine))
    submission = Submission.objects.get()
    task = make_task(machine.source, type="qmreboot", submission=submission, percent=42)
    part = owner.get(f"/machines/{machine.pk}/", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "every 2s" in part
    assert f'data-progress="{task.pk}"' in part
    assert f"/tasks/{task.pk}/" in part
    Submission.objects.update(state=State.COMPLETED)
    assert "every 2s" not in owner.get(f"/machines/{machine.pk}/").text


def test_page_of_a_machine_in_the_making_leads_to_its_order(owner: Client, machine: Machine) -> None:
    Machine.objects.update(stage=Stage.CONFIGURE)
    page = owner.get(f"/machines/{machine.pk}/").text
    assert f"/orders/{machine.order_id}/" in page
    assert "every 2s" in page
    assert f"/machines/{machine.pk}/stop" not in page


def test_missing_guest_is_shown_so(owner: Client, machine: Machine) -> None:
    Guest.objects.update(gone_at=now())
    assert "Not seen since" in owner.get(f"/machines/{machine.pk}/").text


def test_gone_machine_is_shown_so(owner: Client, machine: Machine) -> None:
    Machine.objects.update(stage=Stage.GONE, ended_at=now(), exists=False)
    page = owner.get(f"/machines/{machine.pk}/").text
    assert "It does not exist any more." in page
    assert f"/machines/{machine.pk}/start" not in page


def test_announced_deletion_is_shown(owner: Client, machine: Machine) -> None:
    Machine.objects.update(expires_at=now() - timedelta(days=1), delete_at=now() + timedelta(days=6))
    assert "It is deleted with its disks on" in owner.get(f"/machines/{machine.pk}/").text


def test_hostile_texts_are_only_text(owner: Client, machine: Machine) -> None:
    Machine.objects.update(
        error="<script>x</script>\x1b[31m",
        differences=["<b>\x07"],
        leftovers="<i>",
        address_note="<u>",
        addresses=[],
    )
    Guest.objects.update(lock="<s>", status="<p>")
    page = owner.get(f"/machines/{machine.pk}/").text
    for bad in ("<script>x", "<b>", "<i>", "<u>", "<s>", "\x1b", "\x07"):
        assert bad not in page


# deeds


def test_deleting_asks_for_the_name(owner: Client, machine: Machine) -> None:
    dialog = owner.get(f"/machines/{machine.pk}/delete").text
    assert "removed with its disks, snapshots and settings" in dialog
    assert "stopped first" in dialog
    answer = owner.post(
        f"/machines/{machine.pk}/delete", given_for("delete", machine) | {"typed_name": "web"}
    )
    assert answer.status_code == 422
    assert "Type web-07 to confirm." in answer.text
    assert not Submission.objects.exists()
    answer = owner.post(f"/machines/{machine.pk}/delete", given_for("delete", machine))
    assert answer["Location"] == f"/machines/{machine.pk}/"
    assert "It is being deleted" in owner.get(f"/machines/{machine.pk}/").text
    assert AuditEntry.objects.filter(action=Action.MACHINE_DELETE).count() == 1


def test_rolling_back_says_that_a_running_machine_is_stopped(owner: Client, machine: Machine) -> None:
    answer = owner.get(f"/machines/{machine.pk}/rollback")
    assert "Proxmox stops it for this" in answer.text
    # nothing listens at the source's address: the page says so and offers nothing
    assert "could not be asked" in answer.text
    assert "disabled" in answer.text


def test_wrong_snapshot_name_stays_in_the_form(owner: Client, machine: Machine) -> None:
    answer = owner.post(f"/machines/{machine.pk}/snapshot", given_for("snapshot", machine) | {"name": "1"})
    assert answer.status_code == 422
    assert "beginning with a letter" in answer.text


@pytest.mark.parametrize("days", ["0", "31", "many", ""])
def test_lease_is_not_extended_by_nonsense(owner: Client, machine: Machine, days: str) -> None:
    assert owner.post(f"/machines/{machine.pk}/extend", {"days": days}).status_code == 422
    assert Machine.objects.get().expires_at == machine.expires_at


def test_lease_is_extended(owner: Client, machine: Machine) -> None:
    assert (
        owner.post(f"/machines/{machine.pk}/extend", {"days": "20"})["Location"] == f"/machines/{machine.pk}/"
    )
    assert Machine.objects.get().expires_at > now() + timedelta(days=19)
    assert AuditEntry.objects.filter(action=Action.MACHINE_EXTEND).count() == 1


def test_machine_is_handed_to_members_only(owner: Client, machine: Machine) -> None:
    heir, outsider = make_user(username="heir"), make_user(username="outsider")
    machine.team.group.user_set.add(heir)
    page = owner.get(f"/machines/{machine.pk}/transfer").text
    assert ("heir" in page, "outsider" in page) == (True, False)
    assert owner.post(f"/machines/{machine.pk}/transfer", {"to": outsider.pk}).status_code == 422
    owner.post(f"/machines/{machine.pk}/transfer", {"to": heir.pk})
    assert Machine.objects.get().owner == heir


def test_dialog_leads_on_by_htmx(owner: Client, machine: Machine) -> None:
    answer = owner.post(
        f"/machines/{machine.pk}/stop", given_for("stop", machine), headers={"HX-Request": "true"}
    )
    assert answer["HX-Redirect"] == f"/submissions/{Submission.objects.get().pk}/"


def test_submission_leads_back_to_its_machine(owner: Client, machine: Machine) -> None:
    owner.post(f"/machines/{machine.pk}/stop", given_for("stop", machine))
    Submission.objects.update(state=State.FAILED, error="no")
    page = owner.get(f"/submissions/{Submission.objects.get().pk}/").text
    assert f"/machines/{machine.pk}/" in page
