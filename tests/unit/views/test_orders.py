"""The list of orders, an order's page, and what may be done with it."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, CatalogItem, Machine, Order, Role, Stage, Submission, Team
from tasks_app.states import State
from tests.factories import (
    add_log,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
DEEDS = ["pause", "resume", "cancel", "retry", "rollback"]


@pytest.fixture
def item() -> CatalogItem:
    return make_item(make_source(name="prod"), title="Debian 12")


@pytest.fixture
def member() -> User:
    return make_user(username="ann")


@pytest.fixture
def lead() -> User:
    return make_user(username="lea")


@pytest.fixture
def team(member: User, lead: User, item: CatalogItem) -> Team:
    return make_team(member, admins=(lead,), items=(item,), name="Web", slug="web")


@pytest.fixture
def one(team: Team, item: CatalogItem, member: User) -> Order:
    """One machine that waits in the queue."""
    order = make_order(team, item=item, actor=member, title="web-01")
    make_machine(order, stage=Stage.QUEUED, name="web-01")
    return order


@pytest.fixture
def batch(team: Team, item: CatalogItem, member: User) -> Order:
    """Five machines: ready, cloning, queued, and two that failed."""
    order = make_order(team, item=item, actor=member, title="web-batch-1")
    make_machine(order, name="b-1", vmid=201, addresses=["10.0.0.1"])
    make_machine(order, name="b-2", stage=Stage.CLONE, vmid=202)
    make_machine(order, name="b-3", stage=Stage.QUEUED)
    for number in (4, 5):
        make_machine(
            order,
            name=f"b-{number}",
            stage=Stage.FAILED,
            cause="Storage full",
            error="no space left on device",
            ended_at=now(),
        )
    return order


@pytest.fixture
def ann(client: Client, member: User) -> Client:
    client.force_login(member)
    return client


def add_step(machine: Machine, step: str, *, task: dict[str, Any] | None = None, **fields: Any) -> Submission:
    submission = Submission.objects.create(
        source=machine.source,
        machine=machine,
        step=step,
        action="clone",
        guest_kind="qemu",
        node="pve1",
        vmid=9000,
        actor=machine.order.actor,
        actor_name="ann",
        idempotency_key=uuid.uuid4().hex,
        called_at=now(),
        **({"state": State.PROCESSING} | fields),
    )
    if task is not None:
        make_task(machine.source, submission=submission, **({"type": "qmclone"} | task))
    return submission


def given() -> dict[str, str]:
    return {"idempotency_key": str(uuid.uuid4())}


def addresses_of(order: Order) -> list[str]:
    machine = order.machines.all()[0]
    own = [f"/orders/{order.pk}/{deed}" for deed in DEEDS]
    return [*own, f"/orders/{order.pk}/machines/{machine.pk}/cancel"]


# who


def test_anonymous_is_led_to_the_sign_in(client: Client, batch: Order) -> None:
    pages = ["/orders/", f"/orders/{batch.pk}/", f"/orders/{batch.pk}/export.csv", *addresses_of(batch)]
    for page in pages:
        assert client.get(page)["Location"].startswith("/account/login/")
        assert client.post(page, given()).status_code in (302, 405)


def test_stranger_cannot_tell_that_the_order_exists(client: Client, batch: Order) -> None:
    client.force_login(make_user(Role.OPERATOR, source=make_source()))
    assert "web-batch-1" not in client.get("/orders/").text
    for page in [f"/orders/{batch.pk}/", f"/orders/{batch.pk}/export.csv", *addresses_of(batch)]:
        assert client.get(page).status_code == 404
        assert client.post(page, given()).status_code in (404, 405)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_viewer_reads_and_changes_nothing(client: Client, batch: Order, role: Role) -> None:
    client.force_login(make_user(role, source=batch.source))
    page = client.get(f"/orders/{batch.pk}/").text
    assert "b-3" in page
    assert not any(f"/orders/{batch.pk}/{deed}" in page for deed in DEEDS)
    for address in addresses_of(batch):
        assert client.get(address).status_code == 403
        assert client.post(address, given() | {"typed": "web-batch-1"}).status_code == 403
    assert not Machine.objects.filter(stage=Stage.CANCELLED).exists()


def test_other_member_sees_the_order_and_changes_nothing(client: Client, team: Team, batch: Order) -> None:
    other = make_user()
    team.group.user_set.add(other)
    client.force_login(other)
    assert "b-3" in client.get(f"/orders/{batch.pk}/").text
    assert {client.post(address, given()).status_code for address in addresses_of(batch)} == {403}


@pytest.mark.parametrize("who", ["ann", "lea", "operator", "superuser"])
def test_order_is_cancelled_by_those_who_may(client: Client, batch: Order, lead: User, who: str) -> None:
    people = {
        "ann": batch.actor,
        "lea": lead,
        "operator": make_user(Role.OPERATOR, source=batch.source),
        "superuser": make_superuser(),
    }
    client.force_login(people[who])
    assert f"/orders/{batch.pk}/cancel" in client.get(f"/orders/{batch.pk}/").text
    assert client.post(f"/orders/{batch.pk}/cancel", given())["Location"] == f"/orders/{batch.pk}/"
    assert AuditEntry.objects.filter(action=Action.ORDER_CANCEL.value).count() == 1


def test_deed_that_does_not_exist_is_not_found(ann: Client, one: Order) -> None:
    assert ann.get(f"/orders/{one.pk}/destroy").status_code == 404


def test_machine_of_another_order_is_not_found(ann: Client, one: Order, batch: Order) -> None:
    machine = batch.machines.all()[0]
    assert ann.post(f"/orders/{one.pk}/machines/{machine.pk}/cancel", given()).status_code == 404


# the list


def test_list_counts_machines_in_words(ann: Client, batch: Order, one: Order) -> None:
    page = ann.get("/orders/").text
    for words in ("1 done", "1 running", "1 queued", "2 failed", "Queued"):
        assert words in page


def test_list_is_narrowed(ann: Client, batch: Order, one: Order, lead: User) -> None:
    make_order(batch.team, item=batch.item, actor=lead, title="leas")

    def titles(query: str) -> set[str]:
        return {each.order.title for each in ann.get(f"/orders/?{query}").context["orders"]}

    assert titles("q=batch") == {"web-batch-1"}
    assert titles("q=lea") == {"leas"}
    assert titles("whose=mine") == {"web-batch-1", "web-01"}
    assert titles("whose=waiting") == set()
    assert titles("whose=nonsense&q=batch") == {"web-batch-1", "web-01", "leas"}


def test_empty_list_says_what_to_do(client: Client) -> None:
    client.force_login(make_user())
    assert "No orders yet" in client.get("/orders/").text
    assert "No order fits" in client.get("/orders/?q=x").text


def test_list_takes_as_many_queries_for_many_machines(
    ann: Client, batch: Order, django_assert_max_num_queries: Any
) -> None:
    for _ in range(2):
        with django_assert_max_num_queries(10):
            ann.get("/orders/")
        for _ in range(30):
            make_machine(batch, stage=Stage.QUEUED)


# one machine


def states_of(client: Client, order: Order) -> dict[str, str]:
    row = client.get(f"/orders/{order.pk}/").context["rows"][0]
    return {step.label: step.state for step in row.steps}


def test_queued_machine_says_how_many_are_ahead(ann: Client, one: Order) -> None:
    page = ann.get(f"/orders/{one.pk}/").text
    assert 'hx-trigger="every 2s"' in page
    assert states_of(ann, one) == {
        "Queued": "pending",
        "Clone": "pending",
        "Configure": "pending",
        "Start": "pending",
        "Address": "pending",
        "Ready": "pending",
    }


def test_running_clone_shows_progress_log_line_and_task(ann: Client, one: Order) -> None:
    machine = one.machines.get()
    Machine.objects.update(stage=Stage.CLONE, vmid=300)
    submission = add_step(machine, Stage.CLONE, task={"percent": 62.0})
    task = submission.tasks.get()
    add_log(task, "create full clone", "transferred 5.0 GiB of 8.0 GiB (62.5%)")
    page = ann.get(f"/orders/{one.pk}/").text
    assert "transferred 5.0 GiB" in page
    assert f'href="/tasks/{task.pk}/"' in page
    assert 'value="62.0"' in page
    states = states_of(ann, one)
    assert (states["Queued"], states["Clone"], states["Configure"]) == ("completed", "processing", "pending")


def test_step_without_a_task_yet_says_what_it_waits_for(ann: Client, one: Order) -> None:
    machine = one.machines.get()
    Machine.objects.update(stage=Stage.CLONE)
    submission = add_step(machine, Stage.CLONE)
    assert "Asked, waiting for the cluster" in ann.get(f"/orders/{one.pk}/").text
    Submission.objects.filter(pk=submission.pk).update(called_at=None)
    assert "Waiting for a worker" in ann.get(f"/orders/{one.pk}/").text


def test_disk_that_grows_has_a_step_of_its_own(ann: Client, one: Order) -> None:
    Machine.objects.update(grow_disk_gb=20)
    assert "Grow disk" in states_of(ann, one)


def test_ready_machine_shows_address_and_stops_asking(ann: Client, one: Order) -> None:
    Machine.objects.update(stage=Stage.READY, vmid=300, exists=True, ready_at=now(), addresses=["10.0.0.7"])
    page = ann.get(f"/orders/{one.pk}/").text
    assert "10.0.0.7" in page
    assert "every 2s" not in page
    assert set(states_of(ann, one).values()) == {"completed"}


def test_ready_machine_without_address_says_why(ann: Client, one: Order) -> None:
    note = "The guest agent is not configured."
    Machine.objects.update(stage=Stage.READY, exists=True, ready_at=now(), address_note=note)
    assert note in ann.get(f"/orders/{one.pk}/").text


def test_machine_that_stays_off_skips_its_start(ann: Client, one: Order) -> None:
    Machine.objects.update(stage=Stage.READY, exists=True, ready_at=now(), starts=False)
    states = states_of(ann, one)
    assert (states["Start"], states["Address"], states["Ready"]) == ("skipped", "skipped", "completed")


def test_failure_is_explained_at_its_step(ann: Client, one: Order) -> None:
    machine = one.machines.get()
    add_step(machine, Stage.CLONE, state=State.FAILED, ended_at=now())
    error = "can't lock file '/var/lock/qemu-server/lock-9000.conf' - got timeout"
    Machine.objects.update(stage=Stage.FAILED, error=error, ended_at=now())
    page = ann.get(f"/orders/{one.pk}/").text
    assert "Another operation holds guest 9000" in page
    assert f"/orders/{one.pk}/retry" in page
    states = states_of(ann, one)
    assert (states["Clone"], states["Configure"]) == ("failed", "skipped")


def test_leftovers_and_differences_are_told(ann: Client, one: Order) -> None:
    Machine.objects.update(
        stage=Stage.CANCELLED, leftovers="1 leftover: `qm destroy 300`", differences=["Has 4 cores, not 2."]
    )
    page = ann.get(f"/orders/{one.pk}/").text
    assert "qm destroy 300" in page
    assert "Has 4 cores, not 2." in page
    assert "nothing left behind" not in page


def test_cancelled_machine_without_leftovers_says_so(ann: Client, one: Order) -> None:
    Machine.objects.update(stage=Stage.CANCELLED, ended_at=now())
    assert "Cancelled, nothing left behind." in ann.get(f"/orders/{one.pk}/").text


def test_cancel_that_was_asked_for_shows_cancelling(ann: Client, one: Order) -> None:
    Machine.objects.update(stage=Stage.CLONE, cancel_requested_at=now())
    page = ann.get(f"/orders/{one.pk}/").text
    assert "Cancelling…" in page
    assert f"/orders/{one.pk}/cancel" not in page


def test_unknown_outcome_can_be_released(ann: Client, one: Order) -> None:
    Machine.objects.update(stage=Stage.FAILED, error="Outcome unknown", vmid=300)
    machine = one.machines.get()
    address = f"/orders/{one.pk}/machines/{machine.pk}/cancel"
    assert address in ann.get(f"/orders/{one.pk}/").text
    assert "no guest 300" in ann.get(address).text
    ann.post(address, given())
    machine.refresh_from_db()
    assert machine.stage == Stage.CANCELLED


def test_hostile_texts_of_the_cluster_are_only_text(ann: Client, one: Order, batch: Order) -> None:
    hostile = "<script>x</script>\x1b[31m"
    Machine.objects.update(
        stage=Stage.FAILED,
        error=hostile,
        leftovers=hostile,
        cause=hostile,
        addresses=[hostile],
        differences=[hostile],
    )
    for order in (one, batch):
        page = ann.get(f"/orders/{order.pk}/").text
        assert "<script>x" not in page
        assert "\x1b" not in page


# asked again and again


def test_unchanged_part_is_answered_with_304(ann: Client, batch: Order) -> None:
    address = f"/orders/{batch.pk}/"
    first = ann.get(address, headers=HTMX)
    again = ann.get(address, headers=HTMX | {"If-None-Match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    Machine.objects.filter(name="b-3").update(stage=Stage.CLONE)
    assert ann.get(address, headers=HTMX | {"If-None-Match": first["ETag"]}).status_code == 200


def test_part_asks_with_the_tag_it_was_given(ann: Client, batch: Order) -> None:
    answer = ann.get(f"/orders/{batch.pk}/", headers=HTMX)
    assert answer["ETag"].strip('"') in answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"decision": "rejected", "decision_reason": "no"},
        {"paused_at": now()},
        {"cancel_requested_at": now()},
        {"rollback_requested_at": now()},
    ],
)
def test_changed_order_changes_the_tag(ann: Client, batch: Order, fields: dict[str, Any]) -> None:
    address = f"/orders/{batch.pk}/"
    first = ann.get(address, headers=HTMX)
    Order.objects.update(**fields)
    assert ann.get(address, headers=HTMX)["ETag"] != first["ETag"]


def test_finished_order_stops_asking(ann: Client, batch: Order) -> None:
    assert "every 2s" in ann.get(f"/orders/{batch.pk}/").text
    Machine.objects.filter(stage__in=[Stage.QUEUED, Stage.CLONE]).update(stage=Stage.READY)
    assert "every 2s" not in ann.get(f"/orders/{batch.pk}/").text


def test_source_in_trouble_is_told(ann: Client, batch: Order) -> None:
    batch.source.failing_since = now()
    batch.source.save()
    assert "does not answer" in ann.get(f"/orders/{batch.pk}/").text
    batch.source.paused_at = now()
    batch.source.save()
    assert "is paused" in ann.get(f"/orders/{batch.pk}/").text


# a batch


def test_batch_is_counted_and_drawn_in_segments(ann: Client, batch: Order) -> None:
    answer = ann.get(f"/orders/{batch.pk}/")
    segments = [(each.group, each.start, each.count) for each in answer.context["segments"]]
    assert segments == [
        ("done", 0, 1),
        ("running", 1, 1),
        ("queued", 2, 1),
        ("failed", 3, 2),
        ("cancelled", 5, 0),
    ]
    assert "1 done 1 running 1 queued 2 failed of 5" in answer.text


def test_failures_are_grouped_by_cause(ann: Client, batch: Order) -> None:
    assert "2 × Storage full" in ann.get(f"/orders/{batch.pk}/").text


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ("failed", ["b-4", "b-5"]),
        ("done", ["b-1"]),
        ("cancelled", []),
        ("x", ["b-1", "b-2", "b-3", "b-4", "b-5"]),
    ],
)
def test_rows_are_filtered_by_state(ann: Client, batch: Order, state: str, names: list[str]) -> None:
    rows = ann.get(f"/orders/{batch.pk}/?state={state}").context["rows"]
    assert [row.name for row in rows] == names


def test_two_hundred_machines_take_as_many_queries_as_five(
    ann: Client, batch: Order, django_assert_max_num_queries: Any
) -> None:
    for _ in range(2):
        with django_assert_max_num_queries(16):
            ann.get(f"/orders/{batch.pk}/")
        for number in range(195):
            machine = make_machine(batch, stage=Stage.CLONE)
            if number < 20:
                add_step(machine, Stage.CLONE, task={"percent": 5.0})


@pytest.mark.parametrize("deed", ["pause", "cancel", "retry", "rollback"])
def test_question_is_a_part_for_htmx_and_a_page_without(ann: Client, batch: Order, deed: str) -> None:
    address = f"/orders/{batch.pk}/{deed}"
    assert "<html" in ann.get(address).text
    assert "<html" not in ann.get(address, headers=HTMX).text


def test_cancel_says_what_is_removed_and_what_stays(ann: Client, batch: Order) -> None:
    page = ann.get(f"/orders/{batch.pk}/cancel", headers=HTMX).text
    for words in ("1 waiting: withdrawn", "1 being made: its task is stopped", "1 exists already: it stays"):
        assert words in " ".join(page.split())


def test_queued_order_is_withdrawn_without_a_call(ann: Client, one: Order) -> None:
    ann.post(f"/orders/{one.pk}/cancel", given())
    assert one.machines.get().stage == Stage.CANCELLED
    assert not Submission.objects.exists()


def test_batch_is_paused_and_resumed(ann: Client, batch: Order) -> None:
    ann.post(f"/orders/{batch.pk}/pause", given())
    page = ann.get(f"/orders/{batch.pk}/").text
    assert "Nothing new begins" in page
    assert f"/orders/{batch.pk}/resume" in page
    ann.post(f"/orders/{batch.pk}/resume", given())
    assert f"/orders/{batch.pk}/pause" in ann.get(f"/orders/{batch.pk}/").text


def test_why_it_stopped_by_itself_is_told(ann: Client, batch: Order) -> None:
    Order.objects.update(paused_at=now(), stopped_reason="Stopped after 2 failures.")
    assert "Stopped after 2 failures." in ann.get(f"/orders/{batch.pk}/").text


def test_only_the_failed_are_tried_again_and_only_once(ann: Client, batch: Order) -> None:
    assert "Retry 2 failed" in ann.get(f"/orders/{batch.pk}/").text
    key = given()
    for _ in range(2):
        ann.post(f"/orders/{batch.pk}/retry", key)
    assert set(batch.machines.filter(attempt=2).values_list("name", flat=True)) == {"b-4", "b-5"}
    assert batch.machines.filter(stage=Stage.QUEUED).count() == 3


def test_one_machine_of_the_batch_is_cancelled(ann: Client, batch: Order) -> None:
    machine = batch.machines.get(name="b-3")
    answer = ann.post(f"/orders/{batch.pk}/machines/{machine.pk}/cancel", given(), headers=HTMX)
    assert answer["HX-Redirect"] == f"/orders/{batch.pk}/"
    assert batch.machines.filter(stage=Stage.CANCELLED).count() == 1


def test_roll_back_needs_the_name(ann: Client, batch: Order) -> None:
    answer = ann.post(f"/orders/{batch.pk}/rollback", {"typed": "web-batch-2"}, headers=HTMX)
    assert answer.status_code == 422
    assert answer.context["form"].errors["typed"]
    assert ann.post(f"/orders/{batch.pk}/rollback", {"typed": "web-batch-1"}).status_code == 302
    batch.refresh_from_db()
    assert batch.rollback_requested_at
    assert "Rolling back" in ann.get(f"/orders/{batch.pk}/").text


# export


def test_export_is_streamed_guarded_and_audited(ann: Client, batch: Order) -> None:
    Machine.objects.filter(name="b-3").update(owner_name='=cmd|"x"', name="-b3")
    answer = ann.get(f"/orders/{batch.pk}/export.csv")
    assert answer.streaming
    lines = b"".join(answer).decode().splitlines()
    assert lines[0] == "name,vmid,ip,owner,state"
    assert lines[1].startswith("b-1,201,10.0.0.1,")
    assert lines[3].startswith("'-b3,,,\"'=cmd|")
    assert len(lines) == 6
    assert AuditEntry.objects.filter(action=Action.ORDER_EXPORT.value).count() == 1


# approval, seen by the requester


def test_waiting_order_says_so(ann: Client, one: Order) -> None:
    Order.objects.update(decision=Order.Decision.WAITING)
    Machine.objects.update(stage=Stage.APPROVAL)
    page = ann.get(f"/orders/{one.pk}/").text
    assert "Waits for approval" in page
    assert f"/approvals/{one.pk}/approve" not in page


def test_requester_sees_who_rejected_and_why(ann: Client, one: Order) -> None:
    Order.objects.update(
        decision=Order.Decision.REJECTED,
        decided_by_name="Lea",
        decided_at=now() - timedelta(minutes=1),
        decision_reason="Use the <b>small</b> size",
    )
    Machine.objects.update(stage=Stage.REJECTED, ended_at=now())
    page = ann.get(f"/orders/{one.pk}/").text
    assert "Rejected by Lea" in page
    assert "Use the &lt;b&gt;small" in page
