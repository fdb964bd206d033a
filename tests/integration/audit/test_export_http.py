"""Exports from the real web server: readers who are slow, who leave, and who are too many."""

import http.client
import json
import socket

import pytest

from tasks_app.audit import filters as filters_module
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, Role
from tasks_app.services import exports
from tests.factories import make_user
from tests.integration.live.server import HOST, running_server, sign_in, wait_until

ENTRIES = 120
ENTRY_BYTES = 200_000
"""Together more than sockets and queues between server and reader hold."""


@pytest.fixture
def web(transactional_db):
    with running_server() as running:
        yield running


@pytest.fixture
def session(web):
    return sign_in(make_user(Role.AUDITOR))


@pytest.fixture
def read_entries(monkeypatch):
    """Numbers of the entries that were turned into lines, in small steps."""
    numbers = []
    record_of_entry = exports.record_of_entry

    def note(entry):
        numbers.append(entry.number)
        return record_of_entry(entry)

    monkeypatch.setattr(exports, "record_of_entry", note)
    monkeypatch.setattr(filters_module, "CHUNK", 5)
    return numbers


def write_much():
    for _ in range(ENTRIES):
        record(Action.LOGIN, actor=None, words="x" * ENTRY_BYTES)


def begin(web, session, receive_bytes=None):
    """The answer, of which only the head is read. `receive_bytes`: the reader's system takes no more by itself."""
    connection = http.client.HTTPConnection(HOST, web.port, timeout=20)
    if receive_bytes:
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.sock.connect((HOST, web.port))
    connection.request("GET", "/audit/export?format=jsonl", headers={"Cookie": f"sessionid={session}"})
    return connection, connection.getresponse()


def free_places():
    return exports._places._value


def test_a_whole_export_in_pieces(web, session):
    record(Action.LOGIN, actor=None)
    connection, answer = begin(web, session)
    lines = answer.read().splitlines()
    connection.close()
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert [json.loads(line)["number"] for line in lines] == list(
        AuditEntry.objects.order_by("number").values_list("number", flat=True)
    )
    wait_until(lambda: free_places() == exports.AT_ONCE)


def test_a_reader_who_leaves_ends_the_export(web, session, read_entries):
    write_much()
    connection, answer = begin(web, session, receive_bytes=64_000)
    answer.read(100_000)
    answer.close()
    connection.close()
    wait_until(lambda: free_places() == exports.AT_ONCE)
    assert 0 < len(read_entries) < ENTRIES
    assert AuditEntry.objects.filter(action="audit.export").count() == 1


def test_slow_readers_are_few_read_no_further_than_they_take_and_block_nobody(web, session, read_entries):
    write_much()
    running = [begin(web, session, receive_bytes=64_000) for _ in range(exports.AT_ONCE)]
    assert [answer.status for _, answer in running] == [200] * exports.AT_ONCE
    connection, answer = begin(web, session)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "30")
    connection.close()
    for _ in range(5):
        connection = http.client.HTTPConnection(HOST, web.port, timeout=20)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
    assert len(read_entries) < exports.AT_ONCE * ENTRIES
    first_connection, first = running[0]
    assert len(first.read()) > ENTRIES * ENTRY_BYTES  # slow, but whole
    first_connection.close()
    wait_until(lambda: free_places() == 1)
    for connection, answer in running[1:]:
        answer.close()
        connection.close()
    wait_until(lambda: free_places() == exports.AT_ONCE)
