"""What a browser gets on /live/, over a real connection."""

import pytest

from tasks_app.models import Role, TaskEvent
from tasks_app.states import State
from tests.factories import add_log, make_source, make_superuser, make_task, make_user
from tests.integration.live.server import Stream, sign_in, wait_until

Kind = TaskEvent.Kind


def tell(task, kind=Kind.STATE) -> int:
    return TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=kind).pk


def test_a_changed_task_arrives_as_a_row_for_its_list(web):
    task = make_task()
    stream = Stream(web.port, "tasks", sign_in(make_superuser())).wait_until_served()
    event_id = tell(task)
    stream.read_until(lambda s: s.frames)
    (frame,) = stream.frames
    assert (frame.event, frame.id) == ("fragment", str(event_id))
    assert f'<tr id="task-{task.pk}"' in frame.data
    assert 'hx-swap-oob="true"' in frame.data
