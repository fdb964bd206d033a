"""Orders, machines, items, leases, and what is started on guests."""

from datetime import UTC, datetime, timedelta

from django.utils.timezone import now

from tasks_app.audit.actions import Action
from tasks_app.models import Machine, Role, Stage, Submission
from tasks_app.services import (
    acknowledgements,
    approvals,
    cancellation,
    catalog_items,
    leases,
    machines,
    order_deeds,
    orders,
    removal,
    submission_withdrawal,
    submissions,
)
from tasks_app.services.item_input import ItemSettings, Size
from tasks_app.services.source_offers import Template
from tasks_app.states import State
from tests.factories import (
    make_guest,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_task,
    make_user,
)
from tests.unit.audit.deeds import example
from tests.unit.services.fake_source import FakeSource
from tests.unit.services.making import World

SETTINGS = ItemSettings(slug="debian", title="Debian 13", sizes=(Size("S", "Small", 1, 1024),))
TEMPLATE = Template(
    "qemu",
    vmid=9000,
    name="debian-13",
    node="pve1",
    is_template=True,
    disks=(("scsi0", 8),),
    disk_key="scsi0",
    has_cloud_init=True,
)
END = datetime(2026, 3, 31, 12, tzinfo=UTC)


# --- tasks and guests


@example("services.cancellation.cancel_task", Action.TASK_CANCEL)
def cancel():
    admin, task = make_superuser(), make_task()
    return lambda: cancellation.cancel_task(task, actor=admin, reason="wrong guest")


@example("services.acknowledgements.acknowledge_task", Action.TASK_ACKNOWLEDGE)
def acknowledge():
    admin, task = make_superuser(), make_task(state=State.FAILED)
    return lambda: acknowledgements.acknowledge_task(task, actor=admin, note="known")


@example(
    "services.acknowledgements.acknowledge_tasks",
    Action.TASK_ACKNOWLEDGE,
    writer="services.acknowledgements.acknowledge_task",
    entries=2,
    note="one for each task",
)
def acknowledge_many():
    admin, tasks = make_superuser(), [make_task(state=State.FAILED) for _ in range(2)]
    return lambda: acknowledgements.acknowledge_tasks(tasks, actor=admin, note="known")


def submit_start(person, guest):
    return submissions.submit_guest_action(
        guest, actor=person, action="start", parameters={}, idempotency_key="once"
    )


@example("services.submissions.submit_guest_action", Action.SUBMIT)
def submit():
    person, guest = make_user(Role.OPERATOR), make_guest()
    return lambda: submit_start(person, guest)


@example("services.submission_withdrawal.withdraw_submission", Action.TASK_CANCEL)
def withdraw():
    person = make_user(Role.OPERATOR)
    submission = submit_start(person, make_guest())
    return lambda: submission_withdrawal.withdraw_submission(submission, actor=person)


@example(
    "services.submissions.deliver_submission",
    Action.TASK_BEGAN,
    writer="services.beginnings.note_beginning",
    by="portal",
)
def begin():
    """Without the entry the answer is not written; that the call was made stays written, to be reconciled."""
    submission = submit_start(make_user(Role.OPERATOR), make_guest())
    at = now()
    Submission.objects.update(lease_until=at + timedelta(minutes=1), called_at=at, attempts=1)
    submission.refresh_from_db()
    remote = FakeSource()
    upid = remote.start_guest("qemu", "pve1", submission.vmid)
    from tasks_app.services.delivery import _note_answer

    return lambda: _note_answer(submission, upid)


# --- items


@example("services.catalog_items.save_item", Action.ITEM_ADD, note="new")
def add_item():
    admin, source = make_superuser(), make_source()
    return lambda: catalog_items.save_item(
        None, actor=admin, settings=SETTINGS, source=source, template=TEMPLATE
    )


@example("services.catalog_items.save_item", Action.ITEM_CHANGE, note="changed")
def change_item():
    admin, source = make_superuser(), make_source()
    item = catalog_items.save_item(None, actor=admin, settings=SETTINGS, source=source, template=TEMPLATE)
    other = ItemSettings(slug="debian", title="Debian", sizes=SETTINGS.sizes)
    return lambda: catalog_items.save_item(item, actor=admin, settings=other)


@example("services.catalog_items.set_item_enabled", Action.ITEM_SWITCH)
def switch_item():
    admin, item = make_superuser(), make_item()
    return lambda: catalog_items.set_item_enabled(item, actor=admin, is_enabled=False)


@example("services.catalog_items.remove_item", Action.ITEM_REMOVE)
def remove_item():
    admin, item = make_superuser(), make_item()
    return lambda: catalog_items.remove_item(item, actor=admin)


# --- orders


def waiting_order():
    world = World(approval="always")
    return world, world.order()


@example("services.orders.submit_order", Action.ORDER_SUBMIT, writer="services.orders._write")
def submit_order():
    world = World()
    return lambda: world.order(3)


@example("services.approvals.approve", Action.ORDER_APPROVE)
def approve():
    world, order = waiting_order()
    return lambda: approvals.approve(order, actor=world.admin, reason="for class")


@example("services.approvals.reject", Action.ORDER_REJECT)
def reject():
    world, order = waiting_order()
    return lambda: approvals.reject(order, actor=world.admin, reason="too large")


@example("services.order_deeds.pause_order", Action.ORDER_PAUSE)
def pause_order():
    world = World()
    order = world.order(2)
    return lambda: order_deeds.pause_order(order, actor=world.member)


@example("services.order_deeds.resume_order", Action.ORDER_RESUME)
def resume_order():
    world = World()
    order = world.order(2)
    order_deeds.pause_order(order, actor=world.member)
    return lambda: order_deeds.resume_order(order, actor=world.member)


@example("services.order_deeds.cancel_order", Action.ORDER_CANCEL)
def cancel_order():
    world = World()
    order = world.order(2)
    return lambda: order_deeds.cancel_order(order, actor=world.member)


@example("services.order_deeds.cancel_machine", Action.MACHINE_CANCEL)
def cancel_machine():
    world = World()
    world.order(2)
    return lambda: order_deeds.cancel_machine(world.machine(), actor=world.member)


@example("services.order_deeds.retry_failed", Action.ORDER_RETRY)
def retry_failed():
    world = World()
    order = world.order(2)
    Machine.objects.filter(position=1).update(stage=Stage.FAILED, ended_at=now())
    return lambda: order_deeds.retry_failed(order, actor=world.member, idempotency_key="again")


@example("services.order_deeds.roll_back", Action.ORDER_ROLLBACK)
def roll_back():
    world = World()
    order = world.order(2)
    return lambda: orders.roll_back(order, actor=world.member, typed=order.title)


# --- machines


@example("services.machines.submit_machine_action", Action.MACHINE_ACTION)
def act():
    machine = make_machine()
    return lambda: machines.submit_machine_action(
        machine, actor=machine.owner, action="shutdown", parameters={}, idempotency_key="once"
    )


@example("services.machines.delete_machine", Action.MACHINE_DELETE)
def delete():
    machine = make_machine()
    return lambda: machines.delete_machine(
        machine, actor=machine.owner, typed_name=machine.name, idempotency_key="once"
    )


@example("services.machines.extend_lease", Action.MACHINE_EXTEND)
def extend():
    machine = make_machine(expires_at=now() + timedelta(days=1))
    return lambda: machines.extend_lease(machine, actor=machine.owner, days=7)


@example("services.machines.transfer_machine", Action.MACHINE_TRANSFER)
def transfer():
    machine, other = make_machine(), make_user()
    machine.team.group.user_set.add(other)
    return lambda: machines.transfer_machine(machine, actor=machine.owner, to=other)


def leased():
    item = make_item(deletes_after_lease=True, grace_days=7)
    return make_machine(item=item, ready_at=END - timedelta(days=30), expires_at=END)


@example(
    "services.leases.run_leases",
    Action.MACHINE_LEASE_END,
    writer="services.leases._end_lease",
    by="portal",
    note="at the end",
)
def end_lease():
    leased()
    return lambda: leases.run_leases(at=END)


@example(
    "services.leases.run_leases",
    Action.MACHINE_LEASE_END,
    writer="services.leases._pull_plug",
    by="portal",
    note="a guest that does not obey",
)
def pull_plug():
    leased()
    leases.run_leases(at=END)
    Submission.objects.update(state=State.FAILED, ended_at=END, created_at=END)
    return lambda: leases.run_leases(at=END + timedelta(minutes=6))


@example(
    "services.leases.run_leases",
    Action.MACHINE_LEASE_END,
    writer="services.leases._delete",
    by="portal",
    note="after the grace",
)
def delete_after_grace():
    leased()
    leases.run_leases(at=END)
    Submission.objects.update(state=State.COMPLETED, ended_at=END, created_at=END)
    return lambda: leases.run_leases(at=END + timedelta(days=8))


@example("services.removal.note_gone", Action.MACHINE_GONE, by="portal")
def gone():
    machine = make_machine()
    return lambda: removal.note_gone(machine, at=now(), why="Somebody deleted it in Proxmox.")


# --- downloads


@example("views.orders.export", Action.ORDER_EXPORT, page=True)
def export_order(client):
    admin, order = make_superuser(), make_order()
    client.force_login(admin)
    return lambda: client.get(f"/orders/{order.pk}/export.csv")


@example("views.logs.download", Action.TASK_LOG_DOWNLOAD, page=True)
def download_log(client):
    admin, task = make_superuser(), make_task()
    client.force_login(admin)
    return lambda: client.get(f"/tasks/{task.pk}/log.txt")
