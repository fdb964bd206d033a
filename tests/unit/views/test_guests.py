"""Guests, and what is started on them."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Guest, Role, Source, Submission, Task
from tasks_app.states import State
from tests.factories import make_guest, make_source, make_task, make_user

pytestmark = pytest.mark.django_db

ACTIONS = ["start", "stop", "shutdown", "reboot", "snapshot", "clone"]
FULL = {
    "/": {
        "Sys.Audit": 1,
        "VM.Audit": 1,
        "VM.PowerMgmt": 1,
        "VM.Snapshot": 1,
        "VM.Clone": 1,
        "VM.Allocate": 1,
    },
    "/storage": {"Datastore.AllocateSpace": 1},
}


@pytest.fixture
def source() -> Source:
    return make_source(name="prod", permissions=FULL)


@pytest.fixture
def guest(source: Source) -> Guest:
    return make_guest(source, name="web-01", vmid=101)


@pytest.fixture
def operator(client: Client, source: Source) -> Client:
    client.force_login(make_user(Role.OPERATOR, source=source))
    return client


def given_for(action: str) -> dict[str, str]:
    extra = {
        "snapshot": {"name": "before-update"},
        "clone": {"name": "web-02", "mode": "full", "storage": "", "pool": ""},
    }
    return {"idempotency_key": str(uuid.uuid4())} | extra.get(action, {})


# who


@pytest.mark.parametrize(
    "page", ["/guests/", "/guests/{pk}/", *(f"/guests/{{pk}}/{action}" for action in ACTIONS)]
)
def test_anonymous_is_led_to_the_sign_in(client: Client, guest: Guest, page: str) -> None:
    assert client.get(page.format(pk=guest.pk))["Location"].startswith("/account/login/")


@pytest.mark.parametrize("action", ["", *ACTIONS])
def test_stranger_cannot_tell_that_the_guest_exists(client: Client, guest: Guest, action: str) -> None:
    client.force_login(make_user(Role.OPERATOR, source=make_source()))
    assert client.get(f"/guests/{guest.pk}/{action}").status_code == 404
    assert "web-01" not in client.get("/guests/").text


@pytest.mark.parametrize("action", ACTIONS)
def test_stranger_cannot_start_anything(client: Client, guest: Guest, action: str) -> None:
    client.force_login(make_user(Role.OPERATOR, source=make_source()))
    assert client.post(f"/guests/{guest.pk}/{action}", given_for(action)).status_code == 404
    assert not Submission.objects.exists()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_viewer_is_refused_and_it_is_noted(client: Client, guest: Guest, role: Role, action: str) -> None:
    client.force_login(make_user(role, source=guest.source))
    assert client.get(f"/guests/{guest.pk}/").status_code == 200
    assert client.post(f"/guests/{guest.pk}/{action}", given_for(action)).status_code == 403
    assert not Submission.objects.exists()
    assert AuditEntry.objects.filter(action=Action.DENIED).exists()


def test_viewer_reads_why_nothing_can_be_started(client: Client, guest: Guest) -> None:
    client.force_login(make_user(Role.VIEWER, source=guest.source))
    page = client.get(f"/guests/{guest.pk}/").text
    assert page.count("Your role on prod does not allow it.") == len(ACTIONS)
    assert f"/guests/{guest.pk}/start" not in page


@pytest.mark.parametrize("action", ACTIONS)
def test_operator_starts_it_and_it_is_noted(operator: Client, source: Source, action: str) -> None:
    guest = make_guest(source, status="stopped" if action == "start" else "running")
    answer = operator.post(f"/guests/{guest.pk}/{action}", given_for(action))
    submission = Submission.objects.get()
    assert answer["Location"] == f"/submissions/{submission.pk}/"
    assert (submission.action, submission.vmid, submission.state) == (action, guest.vmid, State.PENDING)
    assert AuditEntry.objects.filter(action=Action.SUBMIT, target_id=str(submission.pk)).exists()


def test_right_that_comes_through_the_pool_of_a_guest_counts(operator: Client, source: Source) -> None:
    source.permissions = {"/vms": {"VM.Audit": 1}, "/pool/staging": {"VM.Snapshot": 1, "VM.Audit": 1}}
    source.save(update_fields=["permissions"])
    inside, outside = make_guest(source, pool="staging"), make_guest(source, pool="production")
    assert f"/guests/{inside.pk}/snapshot" in operator.get(f"/guests/{inside.pk}/").text
    assert f"/guests/{outside.pk}/snapshot" not in operator.get(f"/guests/{outside.pk}/").text


def test_unknown_action_is_not_found(operator: Client, guest: Guest) -> None:
    assert operator.post(f"/guests/{guest.pk}/explode", given_for("start")).status_code == 404


@pytest.mark.parametrize("action", ["delete", "rollback", "backup", "create", "configure", "resize"])
def test_what_the_page_does_not_offer_is_not_done_by_its_address(
    operator: Client, guest: Guest, action: str
) -> None:
    assert operator.post(f"/guests/{guest.pk}/{action}", given_for("start")).status_code == 404
    assert not Submission.objects.exists()


# the list


def test_list_finds_by_name_id_tag_node_and_pool(operator: Client, source: Source) -> None:
    make_guest(source, name="db-01", vmid=9101, tags="sql;prod", node="pve7", pool="shop")
    make_guest(source, name="other", vmid=9102)
    for text in ("db-0", "9101", "sql", "pve7", "shop", "db-01 sql"):
        page = operator.get("/guests/", {"q": text}).text
        assert "db-01" in page
        assert "other" not in page


def test_list_filters_by_source_and_state(client: Client, source: Source, guest: Guest) -> None:
    client.force_login(make_user(Role.VIEWER))
    make_guest(make_source(), name="elsewhere", status="stopped")
    make_guest(source, name="tpl", is_template=True, status="stopped")
    assert "elsewhere" not in client.get("/guests/", {"source": source.pk}).text
    stopped = client.get("/guests/", {"state": "stopped"}).text
    assert "elsewhere" in stopped
    assert "tpl" not in stopped
    assert "tpl" in client.get("/guests/", {"state": "template"}).text


@pytest.mark.parametrize(
    "query", ["source=nonsense", "source=99999", "state=flying", "q=%00", "q=" + "9" * 150]
)
def test_nonsense_in_the_address_finds_nothing(operator: Client, guest: Guest, query: str) -> None:
    answer = operator.get(f"/guests/?{query}")
    assert answer.status_code == 200
    assert "web-01" not in answer.text
    assert "Clear the filters" in answer.text


def test_source_one_may_not_see_cannot_be_filtered_for(operator: Client, guest: Guest) -> None:
    hidden = make_guest(make_source(name="hidden-one"), name="secret-guest")
    page = operator.get("/guests/", {"source": hidden.source.pk}).text
    assert "secret-guest" not in page
    assert "hidden-one" not in page


def test_gone_guest_is_left_out(operator: Client, guest: Guest) -> None:
    guest.gone_at = guest.seen_at
    guest.save()
    assert "web-01" not in operator.get("/guests/").text


def test_long_list_is_cut_and_says_so(operator: Client, source: Source) -> None:
    for number in range(201):
        make_guest(source, name=f"many-{number}")
    page = operator.get("/guests/").text
    assert page.count("<tr id=") == 200
    assert "The first 200 are shown" in page


def test_htmx_gets_the_table_alone(operator: Client, guest: Guest) -> None:
    part = operator.get("/guests/", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="guest-table"' in part


def test_list_needs_the_same_queries_for_many(
    operator: Client, source: Source, django_assert_num_queries
) -> None:
    for _ in range(30):
        make_guest(source)
    operator.get("/guests/")
    # session, person; choices of sources, guests, whether sources exist, whether one may add; navigation: roles, counts
    with django_assert_num_queries(8):
        operator.get("/guests/")


def test_empty_list_says_what_to_do(client: Client) -> None:
    client.force_login(make_user())
    assert "An admin connects a cluster" in client.get("/guests/").text
    client.force_login(make_user(Role.ADMIN))
    assert "/sources/add/" in client.get("/guests/").text


def test_hostile_names_are_only_text(operator: Client, source: Source) -> None:
    guest = make_guest(source, name="<script>x</script>", tags="<b>;</td>")
    for page in ("/guests/", f"/guests/{guest.pk}/", f"/guests/{guest.pk}/clone"):
        assert "<script>x" not in operator.get(page).text


# what can be started, and why not


def test_running_guest_cannot_be_started(operator: Client, guest: Guest) -> None:
    page = operator.get(f"/guests/{guest.pk}/").text
    assert f"/guests/{guest.pk}/start" not in page
    assert f"/guests/{guest.pk}/shutdown" in page
    assert "running already" in page


def test_template_can_only_be_cloned(operator: Client, source: Source) -> None:
    template = make_guest(source, is_template=True, status="stopped")
    page = operator.get(f"/guests/{template.pk}/").text
    assert f"/guests/{template.pk}/clone" in page
    assert not any(f"/guests/{template.pk}/{action}" in page for action in ACTIONS if action != "clone")


def test_missing_privilege_is_named(client: Client) -> None:
    source = make_source(permissions={"/": {"Sys.Audit": 1, "VM.Audit": 1}})
    guest = make_guest(source, vmid=777)
    client.force_login(make_user(Role.OPERATOR, source=source))
    page = client.get(f"/guests/{guest.pk}/").text
    assert "lacks VM.PowerMgmt on /vms/777" in page
    assert f"/guests/{guest.pk}/stop" not in page


def test_obstacle_is_shown_in_the_dialog_too(operator: Client, guest: Guest) -> None:
    page = operator.get(f"/guests/{guest.pk}/start").text
    assert "running already" in page
    assert " disabled" in page


def test_paused_source_takes_nothing(operator: Client, guest: Guest) -> None:
    guest.source.paused_at = guest.seen_at
    guest.source.save()
    assert "is paused" in operator.get(f"/guests/{guest.pk}/").text
    assert operator.post(f"/guests/{guest.pk}/stop", given_for("stop")).status_code == 409


@pytest.mark.parametrize("action", ACTIONS)
def test_dialog_is_a_part_for_htmx_and_a_page_without(operator: Client, guest: Guest, action: str) -> None:
    address = f"/guests/{guest.pk}/{action}"
    assert "<html" in operator.get(address).text
    part = operator.get(address, headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert "idempotency_key" in part


# once


def test_double_click_makes_one_submission(operator: Client, guest: Guest) -> None:
    given = given_for("stop")
    first = operator.post(f"/guests/{guest.pk}/stop", given)
    second = operator.post(f"/guests/{guest.pk}/stop", given)
    assert first["Location"] == second["Location"]
    assert Submission.objects.count() == 1


def test_each_rendered_form_has_a_key_of_its_own(operator: Client, guest: Guest) -> None:
    keys = {
        operator.get(f"/guests/{guest.pk}/stop").context["form"]["idempotency_key"].value() for _ in range(2)
    }
    assert len(keys) == 2


@pytest.mark.parametrize("key", ["", "not-a-key"])
def test_form_without_its_key_starts_nothing(operator: Client, guest: Guest, key: str) -> None:
    assert operator.post(f"/guests/{guest.pk}/stop", {"idempotency_key": key}).status_code == 422
    assert not Submission.objects.exists()


def test_htmx_is_sent_to_the_submission(operator: Client, guest: Guest) -> None:
    answer = operator.post(f"/guests/{guest.pk}/stop", given_for("stop"), headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == f"/submissions/{Submission.objects.get().pk}/"


# forms


@pytest.mark.parametrize("name", ["1abc", "x", "with space", "ä-name", "current", "a" * 41, ""])
def test_wrong_snapshot_name_stays_on_its_field(operator: Client, guest: Guest, name: str) -> None:
    answer = operator.post(f"/guests/{guest.pk}/snapshot", given_for("snapshot") | {"name": name})
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]
    assert not Submission.objects.exists()


@pytest.mark.parametrize("name", ["-web", "web_01", "a..b", "ä", "a" * 64, ""])
def test_wrong_clone_name_stays_on_its_field(operator: Client, guest: Guest, name: str) -> None:
    answer = operator.post(f"/guests/{guest.pk}/clone", given_for("clone") | {"name": name})
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]


def test_key_survives_a_wrong_input(operator: Client, guest: Guest) -> None:
    given = given_for("clone") | {"name": "-wrong"}
    answer = operator.post(f"/guests/{guest.pk}/clone", given)
    assert given["idempotency_key"] in answer.text


def test_ordinary_guest_is_cloned_in_full_only(operator: Client, guest: Guest) -> None:
    answer = operator.post(f"/guests/{guest.pk}/clone", given_for("clone") | {"mode": "linked"})
    assert answer.status_code == 422


def test_template_is_cloned_linked_by_choice(operator: Client, source: Source) -> None:
    template = make_guest(source, is_template=True, status="stopped")
    operator.post(f"/guests/{template.pk}/clone", given_for("clone") | {"mode": "linked"})
    assert Submission.objects.get().parameters["full"] is False


def test_linked_clone_with_a_storage_is_refused_on_the_field(operator: Client, source: Source) -> None:
    template = make_guest(source, is_template=True, status="stopped")
    given = given_for("clone") | {"mode": "linked", "storage": "local-lvm"}
    answer = operator.post(f"/guests/{template.pk}/clone", given)
    assert answer.status_code == 422
    assert answer.context["form"].errors["storage"]


def test_restricted_token_offers_the_pools_and_storages_it_may_use(client: Client) -> None:
    source = make_source(
        permissions={
            "/": {"Sys.Audit": 1},
            "/vms/9000": {"VM.Clone": 1},
            "/pool/lab": {"VM.Allocate": 1},
            "/pool/other": {"Pool.Audit": 1},
            "/storage/fast": {"Datastore.AllocateSpace": 1},
        }
    )
    template = make_guest(source, vmid=9000, is_template=True, status="stopped")
    client.force_login(make_user(Role.OPERATOR, source=source))
    form = client.get(f"/guests/{template.pk}/clone").context["form"]
    assert form.fields["pool"].choices == [("lab", "lab")]
    assert [value for value, _ in form.fields["storage"].choices] == ["", "fast"]


# submissions


def make_submission(guest: Guest, **fields: object) -> Submission:
    return Submission.objects.create(
        source=guest.source,
        action="stop",
        guest_kind=guest.kind,
        node=guest.node,
        vmid=guest.vmid,
        guest_name=guest.name,
        actor_name="ann",
        idempotency_key=str(uuid.uuid4()),
        **fields,
    )


def test_stranger_does_not_see_the_submission(client: Client, guest: Guest) -> None:
    client.force_login(make_user(Role.VIEWER, source=make_source()))
    assert client.get(f"/submissions/{make_submission(guest).pk}/").status_code == 404


def test_anonymous_does_not_see_the_submission(client: Client, guest: Guest) -> None:
    assert client.get(f"/submissions/{make_submission(guest).pk}/").status_code == 302


def test_waiting_submission_asks_again_by_itself(operator: Client, guest: Guest) -> None:
    page = operator.get(f"/submissions/{make_submission(guest).pk}/").text
    assert "Waiting for a worker" in page
    assert 'hx-trigger="every 1s"' in page


def test_submission_leads_to_its_task_as_soon_as_it_is_there(operator: Client, guest: Guest) -> None:
    task: Task = make_task(guest.source)
    submission = make_submission(guest, state=State.PROCESSING, remote_id=task.remote_id)
    address = f"/submissions/{submission.pk}/"
    assert operator.get(address)["Location"] == f"/tasks/{task.pk}/"
    assert operator.get(address, headers={"HX-Request": "true"})["HX-Redirect"] == f"/tasks/{task.pk}/"


def test_task_of_another_source_with_the_same_id_is_not_taken(operator: Client, guest: Guest) -> None:
    other = make_task(make_source())
    submission = make_submission(guest, state=State.PROCESSING, remote_id=other.remote_id)
    assert operator.get(f"/submissions/{submission.pk}/").status_code == 200


@pytest.mark.parametrize(
    ("state", "words"), [(State.FAILED, "It was refused"), (State.LOST, "Outcome unknown")]
)
def test_end_without_a_task_says_why_and_stops_asking(
    operator: Client, guest: Guest, state: State, words: str
) -> None:
    submission = make_submission(guest, state=state, error="VM is locked (backup)")
    page = operator.get(f"/submissions/{submission.pk}/").text
    assert words in page
    assert "VM is locked (backup)" in page
    assert "every 1s" not in page


def test_person_without_role_sees_no_guest(client: Client, guest: Guest) -> None:
    nobody: User = make_user()
    client.force_login(nobody)
    assert "web-01" not in client.get("/guests/").text
