"""The same thing asked for by several threads at the same moment happens once."""

import threading

import pytest
from django.db import connection
from django.utils.timezone import now

from tasks_app.errors import Refused
from tasks_app.models import AuditEntry, Role, Submission
from tasks_app.services import people, setup
from tasks_app.services.cancellation import cancel_task, deliver_cancel
from tasks_app.services.submissions import deliver_submission, submit_guest_action
from tests.factories import (
    PASSWORD,
    make_guest,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_task,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 8


def at_once(deed, count=THREADS):
    """Run `deed(number)` in threads that start together; results and errors in no order."""
    barrier = threading.Barrier(count)
    results = []

    def run(number):
        barrier.wait(10)
        try:
            results.append(deed(number))
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def test_one_key_makes_one_submission(audited, queued):
    guest, actor = make_guest(), make_user(Role.OPERATOR)
    results = at_once(
        lambda _: (
            submit_guest_action(guest, actor=actor, action="start", parameters={}, idempotency_key="k").pk
        )
    )
    assert set(results) == {Submission.objects.get().pk}
    assert audited() == ["submission.submit"]
    assert len(queued()) == 1


def test_one_submission_is_called_once(remote):
    guest, actor = make_guest(), make_user(Role.OPERATOR)
    submission = submit_guest_action(guest, actor=actor, action="start", parameters={}, idempotency_key="k")
    at_once(lambda _: deliver_submission(submission.pk, client=remote))
    assert remote.count("start_guest") == 1


def test_every_clone_gets_a_vmid_of_its_own(remote):
    source, actor = make_source(), make_user(Role.OPERATOR)
    submissions = [
        submit_guest_action(
            make_guest(source),
            actor=actor,
            action="clone",
            parameters={"name": "web"},
            idempotency_key=str(number),
        )
        for number in range(THREADS)
    ]
    at_once(lambda number: deliver_submission(submissions[number].pk, client=remote))
    vmids = [call[4]["new_vmid"] for call in remote.calls if call[0] == "clone_guest"]
    assert len(vmids) == THREADS
    assert len(set(vmids)) == THREADS


def test_every_machine_gets_a_vmid_of_its_own(remote):
    order = make_order(item=make_item(vmid_from=5000, vmid_to=5000 + THREADS))
    submissions = [
        Submission.objects.create(
            source=order.source,
            action="clone",
            guest_kind="qemu",
            node="pve1",
            vmid=9000,
            parameters={"name": f"web-{number}", "full": True},
            machine=make_machine(order, stage="clone"),
            actor=order.actor,
            idempotency_key=f"machine-{number}",
        )
        for number in range(THREADS)
    ]
    at_once(lambda number: deliver_submission(submissions[number].pk, client=remote))
    called = {call[4]["name"]: call[4]["new_vmid"] for call in remote.calls if call[0] == "clone_guest"}
    promised = {
        submission.parameters["name"]: submission.machine.vmid
        for submission in Submission.objects.select_related("machine")
    }
    assert called == promised
    assert sorted(called.values()) == list(range(5000, 5000 + THREADS))


def test_one_task_is_asked_once_to_stop(remote, audited):
    task, actor = make_task(), make_user(Role.OPERATOR)
    results = at_once(lambda _: cancel_task(task, actor=actor))
    assert results == [None] * THREADS
    assert audited() == ["task.cancel"]


def test_one_cancel_is_delivered_once(remote):
    task = make_task(cancel_requested_at=now())
    remote.add_task(upid=task.remote_id)
    at_once(lambda _: deliver_cancel(task.pk, client=remote))
    assert remote.count("stop_task") == 1


def test_a_setup_link_makes_one_admin():
    token = setup.make_setup_link().split("/")[2]
    results = at_once(
        lambda number: setup.set_up_admin(token, username=f"admin-{number}", password=PASSWORD, email=""), 4
    )
    assert sum(isinstance(result, Refused) for result in results) == 3
    assert AuditEntry.objects.count() == 1


def test_two_superusers_cannot_lock_each_other_out():
    first, second = make_superuser(), make_superuser()
    pairs = [(first, second), (second, first)]
    results = at_once(lambda n: people.change_person(pairs[n][0], actor=pairs[n][1], is_active=False), 2)
    assert sum(isinstance(result, Refused) for result in results) == 1
