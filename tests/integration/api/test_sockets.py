"""What a client gets on /ws/tasks/{task_id}, over a real connection."""

import socket as socket_module
import time

import psutil
import pytest
import requests
from django.utils.timezone import now
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tasks_app.ingest.events import Events
from tasks_app.live import socket as live_socket
from tasks_app.models import ApiToken, Asset, AuditEntry, Grant, Role, Task, TaskEvent
from tasks_app.states import State
from tests.factories import (
    make_asset,
    make_generation,
    make_machine,
    make_superuser,
    make_task,
    make_user,
)
from tests.integration.api.conftest import Socket, open_socket, token_of
from tests.integration.live.server import sign_in, wait_until


def change(task: Task, **fields) -> None:
    """As `ingest` writes it: row and event."""
    Task.objects.filter(pk=task.pk).update(changed_at=now(), **fields)
    events = Events(task.source_id, now())
    events.add(TaskEvent.Kind.STATE, task.pk)
    events.save()


def closing_of(socket: Socket, seconds: float = 5.0) -> tuple[int, str]:
    """Code and reason; every object before is thrown away."""
    with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012
        while True:
            socket.connection.recv(timeout=seconds)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.fixture
def token(transactional_db):
    return token_of(make_superuser())


def test_the_object_comes_at_once_and_on_every_change_and_the_final_one_ends_it(web, token):
    task = make_task(percent=10.0)
    with open_socket(web, task.api_id, token) as socket:
        assert socket.next()["progress"] == 10
        change(task, percent=60.0)
        assert socket.until(lambda found: found["progress"] != 10)["progress"] == 60
        change(task, state=State.COMPLETED, exit_text="OK", ended_at=now())
        final = socket.next()
        assert (final["status"], final["progress"]) == ("completed", 100)
        assert final["result"]["service"] == "proxmox"
        assert closing_of(socket) == (1000, "It has ended.")


def test_it_is_the_same_object_as_by_get(web, token):
    generation = make_generation(state=State.PROCESSING)
    task_id = generation.task.api_id
    with open_socket(web, task_id, token) as socket:
        address = f"http://127.0.0.1:{web.port}/api/v1/tasks/{task_id}"
        polled = requests.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=5).json()
        assert socket.next() == polled


def test_a_finished_task_is_told_once_and_closed(web, token):
    with open_socket(web, make_task(state=State.FAILED).api_id, token) as socket:
        assert socket.next()["status"] == "failed"
        assert closing_of(socket)[0] == 1000


def test_a_completed_video_is_final_only_when_the_copy_is_there(web, token):
    generation = make_generation(state=State.COMPLETED)
    asset = make_asset(generation, name="video.mp4")
    with open_socket(web, generation.task.api_id, token) as socket:
        first = socket.next()
        assert (first["status"], first["result"]["copying"]) == ("completed", True)
        Asset.objects.filter(pk=asset.pk).update(state=Asset.State.COPIED, media_type="video/mp4")
        change(generation.task)
        final = socket.next()
        assert final["result"]["video_url"] == (f"http://127.0.0.1:{web.port}/results/{asset.pk}/video.mp4")
        assert closing_of(socket)[0] == 1000


def test_a_copy_that_failed_ends_it_too(web, token):
    generation = make_generation(state=State.COMPLETED)
    make_asset(generation)
    with open_socket(web, generation.task.api_id, token) as socket:
        socket.next()
        Asset.objects.update(state=Asset.State.FAILED)
        change(generation.task)
        assert closing_of(socket)[0] == 1000


def test_an_order_is_followed_although_it_has_no_events(web, token, monkeypatch):
    monkeypatch.setattr(live_socket, "ORDER_SECONDS", 0.2)
    machine = make_machine(stage="queued")
    with open_socket(web, f"order_{machine.order_id}", token) as socket:
        assert socket.next()["status"] == "pending"
        type(machine).objects.filter(pk=machine.pk).update(stage="ready", ready_at=now(), stage_at=now())
        assert socket.next()["status"] == "completed"
        assert closing_of(socket)[0] == 1000


@pytest.mark.parametrize(
    ("path", "code"), [("vid_999999", 4404), ("nonsense", 4404)], ids=["unknown", "no id"]
)
def test_unknown_task_is_4404(web, token, path, code):
    with open_socket(web, path, token) as socket:
        assert closing_of(socket)[0] == code


def test_invisible_task_is_4404_too(web):
    with open_socket(web, make_task().api_id, token_of(make_user())) as socket:
        assert closing_of(socket) == (4404, "Task not found")


def test_nobody_is_4401(web):
    task = make_task()
    with open_socket(web, task.api_id) as socket:
        assert closing_of(socket)[0] == 4401
    with open_socket(web, task.api_id, "tp_wrong") as socket:
        assert closing_of(socket)[0] == 4401
    session = sign_in(make_superuser())  # a wrong token is not made good by a session
    with open_socket(web, task.api_id, "tp_wrong", headers={"Cookie": f"sessionid={session}"}) as socket:
        assert closing_of(socket)[0] == 4401


def test_token_in_the_address_is_refused(web, token):
    with open_socket(web, f"{make_task().api_id}?token={token}") as socket:
        assert closing_of(socket)[0] == 4400


def test_token_as_subprotocol_as_a_browser_sends_it(web, token):
    task = make_task()
    offered = ["task-portal.v1", f"bearer.{token}"]
    with open_socket(web, task.api_id, subprotocols=offered) as socket:
        assert socket.connection.subprotocol == "task-portal.v1"
        assert socket.next()["task_id"] == task.api_id
    with open_socket(web, task.api_id, subprotocols=[f"bearer.{token}"]) as socket:
        assert socket.next()["task_id"] == task.api_id


def test_session_of_a_page_of_the_portal(web):
    cookie = {"Cookie": f"sessionid={sign_in(make_superuser())}"}
    task = make_task()
    with open_socket(web, task.api_id, headers=cookie, origin=f"http://127.0.0.1:{web.port}") as socket:
        assert socket.next()["task_id"] == task.api_id


def test_session_from_another_site_is_refused(web):
    cookie = {"Cookie": f"sessionid={sign_in(make_superuser())}"}
    with pytest.raises(InvalidStatus) as caught:
        open_socket(web, make_task().api_id, headers=cookie, origin="https://evil.example")
    assert caught.value.response.status_code == 403


def test_another_host_name_is_refused(web, token):
    raw = raw_socket(web.port, make_task().api_id, token, host="evil.example")
    assert raw.recv(65536).startswith(b"HTTP/1.1 403 ")
    raw.close()


def test_revoked_token_ends_it(quick_web, token):
    with open_socket(quick_web, make_task().api_id, token) as socket:
        socket.next()
        ApiToken.objects.update(revoked_at=now())
        assert closing_of(socket)[0] == 4401


def test_ended_session_ends_it(quick_web):
    admin = make_superuser()
    cookie = {"Cookie": f"sessionid={sign_in(admin)}"}
    with open_socket(quick_web, make_task().api_id, headers=cookie) as socket:
        socket.next()
        admin.is_active = False
        admin.save()
        assert closing_of(socket)[0] == 4401


def test_who_may_not_see_it_any_more_hears_no_more(quick_web):
    viewer, task = make_user(Role.VIEWER), make_task()
    with open_socket(quick_web, task.api_id, token_of(viewer)) as socket:
        socket.next()
        Grant.objects.filter(user=viewer).delete()
        assert closing_of(socket)[0] == 4404


def test_stopping_server_ends_all_at_once(web, token):
    task = make_task()
    sockets = [open_socket(web, task.api_id, token) for _ in range(5)]
    for socket in sockets:
        socket.next()
    began = time.monotonic()
    web.stop()
    assert time.monotonic() - began < 2
    assert {closing_of(socket)[0] for socket in sockets} == {1012}


def test_one_person_has_a_limit(web, token, monkeypatch):
    monkeypatch.setattr(live_socket, "MAX_PER_PERSON", 2)
    task = make_task()
    with open_socket(web, task.api_id, token) as one, open_socket(web, task.api_id, token) as two:
        assert one.next() == two.next()
        with open_socket(web, task.api_id, token) as three:
            assert closing_of(three)[0] == 4429
        with open_socket(web, task.api_id, token_of(make_superuser())) as other:
            other.next()
    wait_until(lambda: web.application.hub.size == 0)
    with open_socket(web, task.api_id, token) as again:
        again.next()


def test_who_talks_on_and_on_is_shown_out(web, token):
    with open_socket(web, make_task().api_id, token) as socket:
        socket.connection.send("hello")
        assert socket.next()
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            for _ in range(live_socket.MAX_MESSAGES + 50):
                socket.connection.send("x")
                time.sleep(0.001)
            closing_of(socket)
            raise AssertionError
    with open_socket(web, make_task().api_id, token) as socket:
        socket.connection.send("x" * 10_000)
        assert closing_of(socket)[0] == 1009


def test_wrong_tokens_are_counted_as_in_the_api(web):
    for _ in range(3):
        with open_socket(web, make_task().api_id, "tp_wrong") as socket:
            closing_of(socket)
    assert AuditEntry.objects.filter(action="token.refused", ip="127.0.0.1").count() == 1


def test_two_hundred_idle_sockets_cost_little(web, transactional_db):
    me = psutil.Process()
    tokens = [token_of(make_superuser()) for _ in range(3)]
    task = make_task()
    with open_socket(web, task.api_id, tokens[0]) as first:
        first.next()
        threads_before, memory_before = me.num_threads(), me.memory_info().rss
        raw = [raw_socket(web.port, task.api_id, tokens[number % 3]) for number in range(199)]
        wait_until(lambda: web.application.hub.size == 200)
        time.sleep(0.5)
        assert me.num_threads() - threads_before <= 2  # the pool for sign-ins
        assert me.memory_info().rss - memory_before < 40_000_000
        began = me.cpu_times()
        time.sleep(2)
        used = sum(me.cpu_times()[:2]) - sum(began[:2])
        assert used < 0.6  # of 2 s, with a feed that looks four times a second
        change(task, percent=50.0)
        assert first.until(lambda found: found["progress"] == 50)
        for each in raw:
            each.settimeout(5)
            data = b""
            while b'"progress": 50' not in data:
                data += each.recv(65536)
            each.close()


def raw_socket(port, task_id, token, *, host="127.0.0.1"):
    """A client without a thread of its own."""
    each = socket_module.create_connection(("127.0.0.1", port), 5)
    each.sendall(
        f"GET /ws/tasks/{task_id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return each
