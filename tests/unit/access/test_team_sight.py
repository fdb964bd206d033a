"""What members of a team see: what concerns their machines, in lists and on the live stream, and nothing else."""

import pytest

from tasks_app.access.policy import sources_seen_by, teams_of
from tasks_app.live.events import Event
from tasks_app.live.parts import Composer
from tasks_app.live.viewers import Viewer, read_owners_of
from tasks_app.models import Machine, Role, Source, Submission, Task, TaskEvent
from tests.factories import (
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
Kind = TaskEvent.Kind


def make_machine_task(machine: Machine, **fields) -> Task:
    """A task of a submission for the machine."""
    submission = Submission.objects.create(
        source=machine.source,
        action=Submission.Action.CLONE,
        guest_kind=machine.kind,
        node=machine.node,
        vmid=9000,
        machine=machine,
        actor_name="anna",
        idempotency_key=f"machine-{machine.pk}-{Submission.objects.count()}",
    )
    return make_task(machine.source, type="qmclone", submission=submission, **fields)


def make_team_machine(*members) -> Machine:
    item = make_item()
    return make_machine(make_order(make_team(*members, items=(item,)), item=item))


def test_a_member_sees_tasks_and_submissions_of_machines_of_the_team_only():
    member = make_user()
    machine = make_team_machine(member)
    task = make_machine_task(machine)
    make_task(machine.source)
    make_machine_task(make_team_machine(make_user()))
    assert list(Task.objects.visible_to(member)) == [task]
    assert list(Submission.objects.visible_to(member)) == [task.submission]
    assert not Source.objects.visible_to(member).exists()


def test_a_role_and_a_team_add_up_and_nothing_comes_twice():
    source = make_source()
    person = make_user(Role.VIEWER, source=source)
    machine = make_team_machine(person, make_user())
    expected = {make_machine_task(machine), make_task(source)}
    assert sorted(Task.objects.visible_to(person), key=str) == sorted(expected, key=str)
    person.grants.create(role=Role.VIEWER, source=machine.source)
    assert Task.objects.visible_to(person).count() == 2
    assert Submission.objects.visible_to(person).count() == 1


def test_who_left_the_team_or_is_inactive_sees_nothing():
    member, gone = make_user(), make_user(is_active=False)
    machine = make_team_machine(member, gone)
    make_machine_task(machine)
    machine.team.group.user_set.remove(member)
    for person in (member, gone):
        assert not Task.objects.visible_to(person).exists()
        assert not Submission.objects.visible_to(person).exists()


def test_teams_of_many_are_those_of_each():
    anna, ben, gone = make_user(), make_user(), make_user(is_active=False)
    first, second = make_team(anna, ben, gone), make_team(ben)
    stranger = make_user()
    assert teams_of([anna, ben, stranger, gone]) == {
        anna.pk: {first.pk},
        ben.pk: {first.pk, second.pk},
        stranger.pk: frozenset(),
    }


@pytest.mark.parametrize("kind", [Kind.STATE, Kind.PROGRESS, Kind.NEW])
def test_messages_about_a_machine_are_for_its_team_too(kind):
    machine = make_team_machine()
    task = make_machine_task(machine, percent=5)
    events = [Event(7, task.pk, task.source_id, kind)]
    messages = Composer().compose(events, frozenset({"tasks", "dashboard", f"task:{task.pk}"}))
    assert messages
    member = Viewer(1, frozenset(), frozenset({machine.team_id}))
    stranger = Viewer(2, frozenset(), frozenset({machine.team_id + 1}))
    for message in messages:
        assert member.may_see(message.source_id, message.team_ids)
        assert not stranger.may_see(message.source_id, message.team_ids)


def test_messages_about_anything_else_are_not_for_teams():
    task = make_task()
    events = [Event(number, task.pk, task.source_id, kind) for number, kind in enumerate(Kind.values, 7)]
    messages = Composer().compose(events, frozenset({"tasks", "dashboard", f"task:{task.pk}"}))
    assert messages
    assert {message.team_ids for message in messages} == {frozenset()}


def test_parts_of_machines_of_many_teams_need_no_more_queries_than_one(django_assert_num_queries):
    tasks = [make_machine_task(make_team_machine()) for _ in range(6)]
    for some in (tasks[:1], tasks):
        events = [
            Event(number, task.pk, task.source_id, kind)
            for number, task in enumerate(some, 1)
            for kind in (Kind.NEW, Kind.STATE)
        ]
        with django_assert_num_queries(2):
            messages = Composer().compose(events, frozenset({"tasks", "dashboard"}))
        assert {min(message.team_ids) for message in messages} == {task.machine.team_id for task in some}


def test_owners_of_tasks_are_their_source_and_team():
    machine = make_team_machine()
    task, other = make_machine_task(machine), make_task()
    assert read_owners_of([task.pk, other.pk, 987654]) == {
        task.pk: (machine.source_id, {machine.team_id}),
        other.pk: (other.source_id, frozenset()),
    }


def test_everybody_is_admitted_to_exactly_the_tasks_they_see():
    member = make_user()
    machine = make_team_machine(member)
    people = [member, make_user(), make_user(Role.VIEWER, source=machine.source), make_superuser()]
    tasks = [make_machine_task(machine), make_task(machine.source), make_task()]
    owners = read_owners_of([task.pk for task in tasks])
    sources, teams = sources_seen_by(people), teams_of(people)
    for person in people:
        viewer = Viewer(person.pk, sources[person.pk], teams[person.pk])
        admitted = {task for task in tasks if viewer.may_see(*owners[task.pk])}
        assert admitted == set(Task.objects.visible_to(person))
