"""One request id joins the click, the calls and the tasks: the entry that names what a remote has begun."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.audit import recorder
from tasks_app.audit.context import Origin, set_origin
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import AuditEntry, Generation, Guest, Role, Submission, Task
from tasks_app.services import generation_delivery, machines, removal
from tasks_app.services.cancellation import cancel_task
from tasks_app.services.generation_queue import dispatch
from tasks_app.services.requests import of_request
from tasks_app.services.submissions import deliver_submission, settle_submissions, submit_guest_action
from tasks_app.sources.errors import OutcomeUnknown
from tests.factories import make_generation, make_guest, make_machine, make_superuser, make_user
from tests.unit.services.fake_provider import FakeGeneration
from tests.unit.services.making import FakeCluster, World

pytestmark = pytest.mark.django_db
CLICK = "c" * 32


@pytest.fixture
def click():
    """What runs in here is the click; jobs come afterwards and have no request of their own."""

    def run(deed):
        set_origin(Origin(CLICK, "192.0.2.7", "A browser"))
        try:
            return deed()
        finally:
            set_origin(Origin())

    return run


def begun():
    return list(AuditEntry.objects.filter(action="task.began").order_by("number"))


def start(click, guest):
    operator = make_user(Role.OPERATOR, source=guest.source, username="ann")
    return click(
        lambda: submit_guest_action(
            guest, actor=operator, action="start", parameters={}, idempotency_key="once"
        )
    )


def test_the_entry_names_the_task_the_asker_and_the_click(remote, click):
    submission = start(click, make_guest(vmid=100))
    deliver_submission(submission.pk, client=remote)
    task = Task.objects.get()
    (entry,) = begun()
    assert (entry.actor_name, entry.actor_id, entry.request_id, entry.ip) == ("portal", None, CLICK, None)
    assert (entry.target_kind, entry.target_id, entry.source_name) == ("task", str(task.pk), task.source.name)
    assert entry.data == {
        "by": "ann",
        "upid": task.remote_id,
        "submission": submission.pk,
        "machine": None,
    }
    assert task.person == "ann"


def test_it_is_written_once_however_often_jobs_run(remote, click):
    submission = start(click, make_guest(vmid=100))
    for _ in range(3):
        deliver_submission(submission.pk, client=remote)
        settle_submissions()
    assert len(begun()) == 1


def test_a_task_that_a_pass_saw_first_is_joined_all_the_same(remote, click):
    submission = start(click, make_guest(vmid=100))
    real_start = remote.start_guest

    def start_and_be_seen(*given, **named):
        upid = real_start(*given, **named)
        ingest_observations(submission.source, [remote.tasks[upid]], at=now())
        assert Task.objects.get().person == ""
        return upid

    remote.start_guest = start_and_be_seen
    deliver_submission(submission.pk, client=remote)
    task = Task.objects.get()
    assert (task.submission_id, task.person) == (submission.pk, "ann")
    assert [entry.target_id for entry in begun()] == [str(task.pk)]


def test_a_lost_answer_that_is_found_again_is_noted_once(remote, click):
    submission = start(click, make_guest(vmid=100))
    remote.fails["start_guest"] = [OutcomeUnknown("pve1 did not answer in time.", kind="timeout")]
    deliver_submission(submission.pk, client=remote)
    assert begun() == []
    upid = remote.add_task(type="qmstart", object_id="100")
    Submission.objects.update(next_attempt_at=now() - timedelta(seconds=1))
    for _ in range(2):
        deliver_submission(submission.pk, client=remote)
    assert [(entry.data["upid"], entry.request_id) for entry in begun()] == [(upid, CLICK)]


def test_without_the_entry_the_answer_is_looked_for_again(remote, click, monkeypatch):
    submission = start(click, make_guest(vmid=100))
    monkeypatch.setattr(recorder, "_append", _refuse)
    with pytest.raises(ConnectionError):
        deliver_submission(submission.pk, client=remote)
    submission.refresh_from_db()
    assert (submission.remote_id, submission.answered_at) == ("", None)
    assert submission.called_at is not None
    assert not Task.objects.exists()
    monkeypatch.undo()
    Submission.objects.update(lease_until=None)
    deliver_submission(submission.pk, client=remote)
    assert remote.count("start_guest") == 1
    assert [entry.data["upid"] for entry in begun()] == list(remote.tasks)


def test_each_clone_of_an_order_is_named_under_the_click_that_ordered_it(click):
    world = World()
    click(lambda: world.order(3))
    world.run()
    clones = Task.objects.filter(type="qmclone").values_list("remote_id", flat=True)
    named = {entry.data["upid"] for entry in begun()}
    assert len(clones) == 3
    assert set(clones) < named
    assert named == set(Task.objects.values_list("remote_id", flat=True))
    assert {(entry.request_id, entry.data["by"]) for entry in begun()} == {(CLICK, "ann")}
    assert set(Task.objects.values_list("person", flat=True)) == {"ann"}


def test_every_step_of_a_removal_belongs_to_its_click(click):
    machine = make_machine()
    Guest.objects.update(status="running")
    admin, cluster = make_superuser(), FakeCluster()
    cluster.configs[machine.vmid] = {"name": machine.name}
    click(
        lambda: machines.delete_machine(machine, actor=admin, typed_name=machine.name, idempotency_key="once")
    )
    for _ in range(2):
        deliver_submission(Submission.objects.latest("pk").pk, client=cluster)
        for upid in cluster.running():
            cluster.finish(upid)
        ingest_observations(machine.source, list(cluster.tasks.values()), at=now())
        settle_submissions()
        removal.continue_removals()
    assert [entry.data["upid"] for entry in begun()] == list(cluster.tasks)
    assert {entry.request_id for entry in begun()} == {CLICK}
    assert len(cluster.tasks) == 2


def send(row, provider):
    dispatch()
    generation_delivery.deliver_generation(row.pk, client=provider)
    return Generation.objects.select_related("task__source").get(pk=row.pk)


def test_a_generation_names_the_providers_id(click):
    row = make_generation(offer="clip", request_id=CLICK)
    after = send(row, FakeGeneration())
    (entry,) = begun()
    assert (entry.target_kind, entry.target_id, entry.request_id) == ("task", str(row.pk), CLICK)
    assert entry.data == {"by": row.actor_name, "remote_id": after.task.remote_id, "kind": "video"}


def test_a_generation_is_named_once_also_after_a_lost_answer(click):
    row, provider = make_generation(offer="clip", request_id=CLICK), FakeGeneration()
    provider.fails["answer"] = [OutcomeUnknown("The answer got lost.", kind="timeout")]
    send(row, provider)
    assert begun() == []
    long_ago = now() - timedelta(minutes=10)
    Generation.objects.update(called_at=long_ago, next_attempt_at=long_ago)
    for _ in range(2):
        generation_delivery.deliver_generation(row.pk, client=provider)
    assert [entry.data["remote_id"] for entry in begun()] == ["vid_000001"]


def test_without_the_entry_a_generations_answer_is_not_written(click, monkeypatch):
    row, provider = make_generation(offer="clip", request_id=CLICK), FakeGeneration()
    monkeypatch.setattr(recorder, "_append", _refuse)
    with pytest.raises(ConnectionError):
        send(row, provider)
    row.refresh_from_db()
    assert (row.answered_at, row.called_at is not None) == (None, True)
    monkeypatch.undo()
    long_ago = now() - timedelta(minutes=10)
    Generation.objects.update(called_at=long_ago, next_attempt_at=long_ago, lease_until=None)
    generation_delivery.deliver_generation(row.pk, client=provider)
    assert (provider.count("submit"), len(begun())) == (1, 1)


def test_one_request_id_leads_from_the_click_to_the_tasks(click):
    world = World()
    order = click(lambda: world.order(2))
    world.run()
    seen = of_request(make_superuser(), CLICK)
    assert seen.entries[0].action == "order.submit"
    assert {entry.action for entry in seen.entries[1:]} == {"task.began"}
    assert [row.pk for row in seen.orders] == [order.pk]
    assert {row.request_id for row in seen.submissions} == {CLICK}
    assert {task.pk for task in seen.tasks} == set(Task.objects.values_list("pk", flat=True))
    assert not seen.is_cut


def test_a_request_shows_each_person_what_they_may_see(click):
    world = World()
    click(lambda: world.order())
    world.run()
    assert not of_request(make_user(), CLICK)
    member = of_request(world.member, CLICK)
    assert (member.entries, len(member.orders)) == ((), 1)
    assert member.tasks
    auditor = make_user(Role.AUDITOR, source=world.source)
    assert of_request(auditor, CLICK).entries
    elsewhere = make_user(Role.AUDITOR, source=make_guest().source)
    assert not of_request(elsewhere, CLICK)


@pytest.mark.parametrize("text", ["", "x" * 41, "a\0b", "\ud800", "never seen"])
def test_an_id_of_nothing_shows_nothing(text):
    assert not of_request(make_superuser(), text)


def test_a_cancelled_task_belongs_to_the_request_that_cancelled_it(click):
    row, admin = make_generation(), make_superuser()
    click(lambda: cancel_task(row.task, actor=admin))
    assert [task.pk for task in of_request(admin, CLICK).tasks] == [row.pk]


def _refuse(entry):
    raise ConnectionError("the trail cannot be written")
