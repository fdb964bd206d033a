"""POST /api/v1/clones: orders of machines and clones of guests, followed by ids that answer at once."""

import pytest
from django.utils.timezone import now

from tasks_app.models import AuditEntry, Machine, Order, Role, Stage, Submission
from tasks_app.states import State
from tests.factories import (
    make_guest,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)
from tests.unit.api.conftest import Caller, error_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def item():
    item = make_item(slug="ubuntu", name_pattern="{team}-{item}-{nn:02}")
    make_guest(item.source, vmid=9000, name="tpl", is_template=True, status="stopped")
    return item


@pytest.fixture
def member(item) -> Caller:
    user = make_user()
    make_team(user, slug="web", items=(item,))
    return Caller(user)


def fields_of(answer) -> dict[str, str]:
    assert error_of(answer) == (422, "VALIDATION_ERROR")
    return answer.json()["error"]["fields"]


# ordering


def test_one_machine_is_ordered_and_its_id_answers_at_once(member):
    answer = member.post("/clones", {"item": "ubuntu", "name": "web-01"})
    order = Order.objects.get()
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "task_id": f"order_{order.pk}",
            "status": "pending",
            "message": "Order submitted. Ask for its status.",
        },
    )
    found = member.client.get(answer["Location"]).json()
    assert (found["task_id"], found["status"], found["progress"]) == (f"order_{order.pk}", "pending", 0)
    machine = Machine.objects.get()
    assert (machine.name, machine.owner, machine.cores) == ("web-01", member.user, 1)
    assert AuditEntry.objects.filter(action="order.submit", actor_id=member.user.pk).count() == 1


def test_the_same_key_makes_one_order(member):
    body = {"item": "ubuntu"}
    first = member.post("/clones", body, **{"Idempotency-Key": "k"})
    assert member.post("/clones", body, **{"Idempotency-Key": "k"}).json() == first.json()
    assert Order.objects.count() == 1


def test_many_machines_by_number_or_by_names(member, item):
    assert member.post("/clones", {"item": item.pk, "count": 3}).status_code == 200
    assert member.post("/clones", {"item": item.pk, "names": ["a1", "b1"]}).status_code == 200
    assert sorted(Machine.objects.values_list("name", flat=True)) == [
        "a1",
        "b1",
        "web-ubuntu-01",
        "web-ubuntu-02",
        "web-ubuntu-03",
    ]


def test_an_order_that_needs_approval_says_so_and_tells_a_rejection(member, item):
    item.approval = item.Approval.ALWAYS
    item.save()
    answer = member.post("/clones", {"item": "ubuntu"})
    assert (answer.json()["status"], answer.json()["message"]) == (
        "pending",
        "Order submitted. It waits for approval.",
    )
    Order.objects.update(decision=Order.Decision.REJECTED, decision_reason="Too large.")
    Machine.objects.update(stage=Stage.REJECTED, ended_at=now())
    found = member.client.get(answer["Location"]).json()
    assert (found["status"], found["error"]) == ("failed", {"type": "OrderRejected", "message": "Too large."})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"item": "ubuntu", "vmid": 100}, "body"),
        ({"item": "ubuntu", "name": "a", "count": 2}, "body"),
        ({"item": "nope"}, "item"),
        ({"item": -1}, "item"),
        ({"item": 10**30}, "item"),
        ({"item": True}, "item"),
        ({"item": "ubuntu", "name": "not a name!"}, "name"),
        ({"item": "ubuntu", "names": ["ok", "not ok"]}, "row-2-name"),
        ({"item": "ubuntu", "count": 0}, "count"),
        ({"item": "ubuntu", "count": "3"}, "count"),
        ({"item": "ubuntu", "size": "XXL"}, "size"),
        ({"item": "ubuntu", "cores": 4}, "size"),
        ({"item": "ubuntu", "team": "other"}, "team"),
        ({"item": "ubuntu", "lease_days": 10**9}, "lease_days"),
        ({"item": "ubuntu", "speed": 1}, "speed"),
        ({"item": "ubuntu", "name": "x" * 300}, "name"),
    ],
    ids=[
        "nothing",
        "both",
        "name and count",
        "unknown",
        "negative",
        "huge",
        "bool",
        "name",
        "second name",
        "none",
        "text",
        "size",
        "custom",
        "team",
        "lease",
        "extra",
        "long",
    ],
)
def test_what_is_wrong_is_named(member, body, field):
    assert field in fields_of(member.post("/clones", body))
    assert not Order.objects.exists()


def test_item_of_nobody_of_mine_is_403_or_does_not_exist(item):
    assert "item" in fields_of(Caller(make_user()).post("/clones", {"item": "ubuntu"}))
    viewer = Caller(make_user(Role.VIEWER))
    assert error_of(viewer.post("/clones", {"item": "ubuntu"})) == (403, "NOT_PERMITTED")


def test_quota_is_409(item):
    user = make_user()
    make_team(user, items=(item,), max_machines=1)
    caller = Caller(user)
    assert error_of(caller.post("/clones", {"item": "ubuntu", "count": 2})) == (409, "QUOTA_EXCEEDED")


# following and cancelling an order


def clone_task(machine: Machine, **fields):
    submission = Submission.objects.create(
        source=machine.source,
        action="clone",
        guest_kind="qemu",
        node="pve1",
        vmid=9000,
        machine=machine,
        step=Stage.CLONE,
        actor_name="portal",
        idempotency_key=f"m{machine.pk}",
        new_vmid=machine.vmid,
    )
    return make_task(machine.source, type="qmclone", submission=submission, **fields)


def test_order_follows_its_clone_and_tells_what_was_made():
    admin = Caller(make_superuser())
    machine = make_machine(stage=Stage.CLONE, vmid=207)
    task = clone_task(machine, percent=62.5)
    path = f"/tasks/order_{machine.order_id}"
    found = admin.get(path).json()
    assert (found["status"], found["progress"]) == ("processing", 62)
    Machine.objects.update(stage=Stage.READY, ready_at=now(), addresses=["10.0.0.7"])
    task.state, task.exit_text, task.ended_at = State.COMPLETED, "OK", now()
    task.save()
    found = admin.get(path).json()
    assert (found["status"], found["progress"]) == ("completed", 100)
    assert found["completed_at"]
    assert found["result"]["service"] == "proxmox"
    inner = found["result"]["result"]
    assert (inner["upid"], inner["new_vmid"], inner["exit_status"]) == (task.remote_id, 207, "OK")
    assert inner["machines"] == [
        {
            "name": machine.name,
            "vmid": 207,
            "node": "pve1",
            "status": "completed",
            "addresses": ["10.0.0.7"],
            "task_id": f"pve_{task.pk}",
        }
    ]


@pytest.mark.parametrize(
    ("stages", "status"),
    [
        ([Stage.APPROVAL, Stage.APPROVAL], "pending"),
        ([Stage.QUEUED, Stage.CLONE], "processing"),
        ([Stage.QUEUED, Stage.READY], "processing"),
        ([Stage.READY, Stage.ADDRESS], "processing"),
        ([Stage.READY, Stage.READY], "completed"),
        ([Stage.READY, Stage.FAILED], "failed"),
        ([Stage.READY, Stage.CANCELLED], "completed"),
        ([Stage.CANCELLED, Stage.CANCELLED], "cancelled"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_state_of_an_order_is_that_of_its_machines_together(stages, status):
    order = make_order()
    for stage in stages:
        make_machine(order, stage=stage, error="no space" if stage == Stage.FAILED else "")
    found = Caller(make_superuser()).get(f"/tasks/order_{order.pk}").json()
    assert found["status"] == status
    assert (found["progress"] == 100) == (status == "completed")
    if status == "failed":
        assert found["error"] == {"type": "OrderError", "message": "1 of 2 machines failed. no space"}


def test_reading_an_order_costs_the_same_for_many_machines(django_assert_max_num_queries):
    order = make_order()
    for _ in range(6):
        clone_task(make_machine(order, stage=Stage.CLONE))
    caller = Caller(make_superuser())
    caller.get("/tasks")
    with django_assert_max_num_queries(5):  # token, may see, order, machines, clones
        caller.get(f"/tasks/order_{order.pk}")


def test_cancelling_an_order_withdraws_it(member):
    task_id = member.post("/clones", {"item": "ubuntu"}).json()["task_id"]
    answer = member.delete(f"/tasks/{task_id}")
    assert answer.json() == {
        "success": True,
        "message": f"Task {task_id} has been cancelled",
        "task_id": task_id,
    }
    assert member.get(f"/tasks/{task_id}").json()["status"] == "cancelled"
    assert error_of(member.delete(f"/tasks/{task_id}")) == (409, "TASK_ALREADY_FINISHED")


def test_order_of_others_does_not_exist_and_is_not_mine_to_cancel(member):
    task_id = member.post("/clones", {"item": "ubuntu"}).json()["task_id"]
    assert Caller(make_user()).get(f"/tasks/{task_id}").status_code == 404
    assert error_of(Caller(make_user(Role.VIEWER)).delete(f"/tasks/{task_id}")) == (403, "NOT_PERMITTED")


# cloning a guest


@pytest.fixture
def guest():
    return make_guest(make_source(name="prod"), vmid=150)


@pytest.fixture
def operator(guest) -> Caller:
    return Caller(make_user(Role.OPERATOR))


def test_operator_clones_a_guest(operator, guest):
    answer = operator.post("/clones", {"source": "prod", "vmid": 150, "name": "copy", "full": True})
    row = Submission.objects.get()
    assert (answer.status_code, answer.json()["task_id"], answer.json()["status"]) == (
        200,
        f"sub_{row.pk}",
        "pending",
    )
    assert (row.action, row.vmid, row.parameters["name"]) == ("clone", 150, "copy")
    found = operator.client.get(answer["Location"]).json()
    assert (found["status"], found["progress"], found["result"]) == ("pending", 0, None)


def test_submission_leads_on_to_its_task(operator, guest):
    task_id = operator.post("/clones", {"vmid": 150, "name": "copy"}).json()["task_id"]
    task = make_task(guest.source, type="qmclone", percent=40.0)
    Submission.objects.update(
        remote_id=task.remote_id, state=State.PROCESSING, called_at=now(), answered_at=now()
    )
    found = operator.get(f"/tasks/{task_id}").json()
    assert (found["task_id"], found["status"], found["progress"]) == (task_id, "processing", 40)
    type(task).objects.update(state=State.FAILED, exit_text="can't lock file", ended_at=now())
    # it may be tried again: it has failed when the submission has
    assert operator.get(f"/tasks/{task_id}").json()["status"] == "processing"
    Submission.objects.update(state=State.FAILED, ended_at=now())
    assert operator.get(f"/tasks/{task_id}").json()["error"] == {
        "type": "TaskError",
        "message": "can't lock file",
    }
    assert error_of(operator.delete(f"/tasks/{task_id}")) == (409, "TASK_ALREADY_FINISHED")


def test_refused_submission_has_failed(operator, guest):
    task_id = operator.post("/clones", {"vmid": 150, "name": "copy"}).json()["task_id"]
    Submission.objects.update(state=State.FAILED, error="No storage.", ended_at=now())
    assert operator.get(f"/tasks/{task_id}").json()["error"] == {
        "type": "SubmissionError",
        "message": "No storage.",
    }


def test_unsent_clone_is_withdrawn_for_good(operator, guest):
    task_id = operator.post("/clones", {"vmid": 150, "name": "copy"}).json()["task_id"]
    answer = operator.delete(f"/tasks/{task_id}")
    assert answer.json()["message"] == f"Task {task_id} has been cancelled"
    assert Submission.objects.get().state == State.CANCELLED
    assert AuditEntry.objects.filter(action="task.cancel", actor_id=operator.user.pk).count() == 1
    assert error_of(operator.delete(f"/tasks/{task_id}")) == (409, "TASK_ALREADY_FINISHED")


def test_clone_on_its_way_cannot_be_withdrawn(operator, guest):
    task_id = operator.post("/clones", {"vmid": 150, "name": "copy"}).json()["task_id"]
    Submission.objects.update(called_at=now())
    assert error_of(operator.delete(f"/tasks/{task_id}")) == (409, "REFUSED")
    assert Submission.objects.get().state == State.PENDING


def test_cancel_by_sub_id_cancels_its_task(operator, guest):
    task_id = operator.post("/clones", {"vmid": 150, "name": "copy"}).json()["task_id"]
    task = make_task(guest.source, type="qmclone")
    Submission.objects.update(remote_id=task.remote_id, called_at=now(), answered_at=now())
    answer = operator.delete(f"/tasks/{task_id}")
    assert answer.json()["message"] == f"Cancellation of task {task_id} has been requested"
    task.refresh_from_db()
    assert task.cancel_requested_by == operator.user


def test_guest_clone_is_refused_to_viewers_and_unknown_to_strangers(guest):
    body = {"vmid": 150, "name": "copy"}
    assert error_of(Caller(make_user(Role.VIEWER)).post("/clones", body)) == (403, "NOT_PERMITTED")
    assert fields_of(Caller(make_user()).post("/clones", body)) == {"vmid": "There is no such guest."}


def test_guest_on_several_sources_must_be_told_apart(operator):
    make_guest(make_source(name="lab"), vmid=150)
    answer = operator.post("/clones", {"vmid": 150, "name": "copy"})
    assert fields_of(answer) == {"source": "Several sources have this guest. Say which is meant: prod, lab."}


def test_wrong_parameter_of_a_guest_clone_is_named(operator):
    assert "name" in fields_of(operator.post("/clones", {"vmid": 150, "name": "not ok"}))
