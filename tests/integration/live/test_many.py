"""Many listeners: what they cost, and what happens to slow ones."""

import http.client
import threading
import time
from contextlib import contextmanager

import pytest
from django.db.backends.signals import connection_created
from django.test.signals import template_rendered

from tasks_app.live.viewers import read_viewers
from tasks_app.models import TaskEvent
from tests.factories import add_log, make_superuser, make_task
from tests.integration.live.server import HOST, Stream, sign_in, wait_until

Kind = TaskEvent.Kind
MANY = 200


@pytest.fixture
def session(transactional_db):
    return sign_in(make_superuser())


@contextmanager
def counted_feed():
    """Counts queries and rendered parts of the feed's thread from here on."""
    counts = {"queries": 0, "renders": 0}

    def wrapper(execute, sql, params, many, context):
        counts["queries"] += "tasks_app_taskevent" not in sql
        return execute(sql, params, many, context)

    def on_connection(connection, **kwargs):
        if threading.current_thread().name.startswith("live-feed"):
            connection.execute_wrappers.append(wrapper)

    def on_render(**kwargs):
        counts["renders"] += threading.current_thread().name.startswith("live-feed")

    connection_created.connect(on_connection)
    template_rendered.connect(on_render)
    try:
        yield counts
    finally:
        connection_created.disconnect(on_connection)
        template_rendered.disconnect(on_render)


def cost_of(clients: int, web, session, tasks) -> dict[str, int]:
    """Queries (the look for events itself apart) and renders for one change of each task, all clients served."""
    wait_until(lambda: web.application.hub.is_resting, what="rest of the feed")
    with counted_feed() as counts:
        streams = [Stream(web.port, "tasks,dashboard", session) for _ in range(clients)]
        for stream in streams:
            stream.wait_until_served()
        counts.update(queries=0, renders=0)
        TaskEvent.objects.bulk_create(
            TaskEvent(task_id=task.pk, source_id=task.source_id, kind=Kind.STATE) for task in tasks
        )
        for stream in streams:
            stream.read_until(lambda s: sum(frame.event == "fragment" for frame in s.frames) == len(tasks))
            stream.close()
        return dict(counts)


def test_two_hundred_listeners_cost_the_queries_and_renders_of_one(web, session):
    tasks = [make_task() for _ in range(3)]
    alone = cost_of(1, web, session, tasks)
    assert alone["renders"] == len(tasks)
    assert cost_of(MANY, web, session, tasks) == alone


def test_missed_events_of_two_hundred_are_rendered_together(web, session):
    task = make_task()
    start = TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=Kind.STATE).pk
    TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=Kind.STATE)
    with counted_feed() as counts:
        streams = [Stream(web.port, "tasks", session, after=start) for _ in range(MANY)]
        for stream in streams:
            stream.read_until(lambda s: s.frames)
            stream.close()
    assert counts["renders"] < MANY / 4


def test_sessions_of_all_are_checked_in_few_queries(quick_web, session, django_assert_max_num_queries):
    sessions = [sign_in(make_superuser()) for _ in range(20)]
    with django_assert_max_num_queries(4):  # sessions, people, roles, teams
        assert len(read_viewers(sessions)) == 20


def test_open_streams_hold_no_thread(web, session):
    first = Stream(web.port, "tasks", session).wait_until_served()
    before = threading.active_count()
    streams = [Stream(web.port, "tasks", session) for _ in range(50)]
    for stream in streams:
        stream.wait_until_served()
    assert threading.active_count() <= before + 1  # the second sign-in thread may have started
    assert first.status == 200


def test_pages_are_served_on_kept_connections_while_streams_are_open(web, session):
    streams = [Stream(web.port, "tasks", session) for _ in range(MANY)]
    for stream in streams:
        stream.wait_until_served()
    connection = http.client.HTTPConnection(HOST, web.port, timeout=10)
    slowest = 0.0
    sockets = set()
    for _ in range(20):
        started = time.monotonic()
        connection.request("GET", "/account/login/")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        slowest = max(slowest, time.monotonic() - started)
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert len(sockets) == 1
    assert slowest < 3
    assert web.application.hub.size == len(streams)


def test_a_reader_that_stalls_is_dropped_and_the_others_go_on(web, session):
    tasks = [make_task() for _ in range(15)]
    topics = ",".join(f"task:{task.pk}" for task in tasks)
    slow = Stream(web.port, topics, session, receive_buffer=4096).wait_until_served()
    good = Stream(web.port, topics, session).wait_until_served()
    received: list[int] = []

    def read():
        while not good.is_over and slow.status:
            received.append(len(good.read_for(0.2)))

    threading.Thread(target=read, daemon=True).start()
    hub = web.application.hub
    for _ in range(60):  # what the kernel holds for a connection is filled first
        for task in tasks:
            add_log(task, "y" * 30_000)
        TaskEvent.objects.bulk_create(
            TaskEvent(task_id=task.pk, source_id=task.source_id, kind=Kind.LOG) for task in tasks
        )
        time.sleep(0.3)
        if hub.size < 2:
            break
    assert hub.size == 1
    before = received[-1]
    TaskEvent.objects.create(task_id=tasks[0].pk, source_id=tasks[0].source_id, kind=Kind.STATE)
    wait_until(lambda: received[-1] > before, what="the next event for the other reader")
