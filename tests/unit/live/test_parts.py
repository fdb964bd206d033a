"""The portal's own parts, as the stream sends them."""

import pytest
from django.utils.timezone import now

from tasks_app.live.events import Event
from tasks_app.live.parts import Composer, warm_up
from tasks_app.models import TaskEvent
from tasks_app.states import State
from tests.factories import make_source, make_task, make_user

pytestmark = pytest.mark.django_db
Kind = TaskEvent.Kind
STATES = [
    {"state": State.PENDING},
    {"state": State.PROCESSING, "percent": None},
    {"state": State.PROCESSING, "percent": 62.5, "overdue_since": now()},
    {"state": State.PROCESSING, "cancel_requested_at": now()},
    {"state": State.COMPLETED, "warnings": 2},
    {"state": State.FAILED, "error_line": "TASK ERROR: <b>no space left</b>"},
    {"state": State.LOST},
    {"state": State.CANCELLED, "cancel_note": "Nothing was left behind."},
]


def compose(task, *topics: str, kind=Kind.STATE) -> list[str]:
    event = Event(7, task.pk, task.source_id, kind)
    return [message.frame.decode() for message in Composer().compose([event], frozenset(topics))]


@pytest.mark.parametrize("fields", STATES, ids=lambda fields: "-".join(fields))
def test_row_and_header_of_every_state_can_be_sent(fields):
    task = make_task(**fields)
    frames = compose(task, "tasks", f"task:{task.pk}")
    assert len(frames) == 2
    for frame in frames:
        assert frame.startswith("id: 7\nevent: fragment\ndata: ")
        assert 'hx-swap-oob="true"' in frame
        assert "<b>" not in frame


def test_warming_up_asks_the_database_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        warm_up()


def test_a_card_can_be_sent():
    source = make_source()
    (message,) = Composer().compose([Event(7, 0, source.pk, Kind.SOURCE)], frozenset({"sources"}))
    assert f'id="source-{source.pk}"' in message.frame.decode()
    assert 'hx-swap-oob="true"' in message.frame.decode()


def test_parts_of_many_tasks_need_no_more_queries_than_those_of_one(django_assert_num_queries):
    source, user = make_source(), make_user()
    tasks = [
        make_task(source, cancel_requested_at=now(), cancel_requested_by=user, percent=1) for _ in range(20)
    ]
    topics = frozenset({"tasks", *(f"task:{task.pk}" for task in tasks)})
    for some in (tasks[:1], tasks):
        events = [Event(number, task.pk, source.pk, Kind.STATE) for number, task in enumerate(some, 1)]
        with django_assert_num_queries(1):
            messages = Composer().compose(events, topics)
        assert len(messages) == 2 * len(some)


def test_what_nobody_listens_to_costs_nothing(django_assert_num_queries):
    task = make_task()
    with django_assert_num_queries(0):
        assert compose(task, "sources") == []
        assert compose(task, "tasks", "dashboard", kind=Kind.LOG) == []


def test_thousands_of_new_tasks_are_one_announcement_for_a_source(django_assert_num_queries):
    source, other = make_source(), make_source()
    events = [Event(number, number, source.pk, Kind.NEW) for number in range(1, 2001)]
    events.append(Event(2001, 2001, other.pk, Kind.NEW))
    with django_assert_num_queries(1):  # whose machines they are about
        messages = Composer().compose(events, frozenset({"tasks"}))
    assert [(message.source_id, message.event_id) for message in messages] == [
        (source.pk, 2000),
        (other.pk, 2001),
    ]


def test_an_event_of_a_task_that_is_gone_is_passed_over():
    assert Composer().compose([Event(7, 987654, 1, Kind.STATE)], frozenset({"tasks"})) == []
