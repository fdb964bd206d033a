"""Acknowledging failures and watching tasks."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.errors import NotPermitted, Refused
from tasks_app.models import AuditEntry, Role, Task, TaskEvent
from tasks_app.services.acknowledgements import acknowledge_task
from tasks_app.services.watching import watch_task
from tasks_app.states import State
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("state", [State.FAILED, State.LOST])
def test_an_operator_acknowledges_once(state, audited):
    task, operator = make_task(state=state), make_user(Role.OPERATOR)
    for _ in range(2):
        acknowledge_task(task, actor=operator, note=" known ")
    task.refresh_from_db()
    assert task.acknowledged_at is not None
    assert (task.acknowledged_by, task.acknowledged_note) == (operator, "known")
    assert audited() == ["task.acknowledge"]
    assert AuditEntry.objects.get().data["note"] == "known"
    assert TaskEvent.objects.count() == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, None])
def test_others_may_not_acknowledge(role, audited):
    task = make_task(state=State.FAILED)
    with pytest.raises(NotPermitted):
        acknowledge_task(task, actor=make_user(role))
    assert Task.objects.get().acknowledged_at is None
    assert audited() == []


def test_an_operator_of_another_source_may_not_acknowledge():
    with pytest.raises(NotPermitted):
        acknowledge_task(make_task(state=State.FAILED), actor=make_user(Role.OPERATOR, source=make_source()))


@pytest.mark.parametrize("state", [State.PROCESSING, State.COMPLETED, State.CANCELLED])
def test_what_has_not_failed_is_not_acknowledged(state, audited):
    with pytest.raises(Refused):
        acknowledge_task(make_task(state=state), actor=make_user(Role.OPERATOR))
    assert audited() == []


def test_watching_lasts_half_a_minute():
    task = make_task()
    watch_task(task)
    task.refresh_from_db()
    assert timedelta(seconds=28) < task.watched_until - now() <= timedelta(seconds=30)


def test_many_viewers_write_once(django_assert_num_queries):
    task = make_task()
    watch_task(task)
    first = Task.objects.get().watched_until
    with django_assert_num_queries(1):
        watch_task(task)
    assert Task.objects.get().watched_until == first


def test_watching_is_renewed_when_it_runs_out():
    task = make_task(watched_until=now() + timedelta(seconds=14))
    watch_task(task)
    assert Task.objects.get().watched_until > now() + timedelta(seconds=28)


def test_an_ended_task_is_not_watched():
    task = make_task(state=State.COMPLETED)
    watch_task(task)
    assert Task.objects.get().watched_until is None
