"""The client where generation servers are different: without TLS, with redirects of their own, with JSON and files."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceUnavailable
from tasks_app.sources.http import HttpClient, is_same_origin
from tasks_app.sources.tls import Trust
from tests.unit.sources.generation.replay import Remote, Say

KEY = {"Authorization": "Bearer very-secret-key"}


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote(lambda seen: Say(200, {"path": seen.path})) as server:
        yield server


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[HttpClient]:
    client = HttpClient(
        (url,), trust=Trust(), headers=KEY, **{"allow_http": True, "follow_same_origin": True, **options}
    )
    yield client
    client.close()


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Calls `serve` with each connection after its request head has arrived."""
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            with connection:
                data = b""
                while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
                    data += part
                serve(connection)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


# the scheme


@pytest.mark.parametrize(
    "url", ["http://a.example", "ftp://a.example", "https://me@a.example", "a.example", ""]
)
def test_plain_http_is_allowed_only_where_it_is_asked_for(url: str):
    with pytest.raises(ValueError, match="https://host:port"):
        HttpClient((url,), trust=Trust())
    if not url.startswith("http://"):
        with pytest.raises(ValueError, match="https://host:port"):
            HttpClient((url,), trust=Trust(), allow_http=True)


def test_a_server_without_tls_answers(remote: Remote, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with client_of(remote.url) as client:
        answers = [client.request("GET", "/x", params={"a": 1}) for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert (
        remote.log[0].query == {"a": "1"} and remote.log[0].headers["authorization"] == KEY["Authorization"]
    )


# bodies


def test_json_and_files_arrive_as_they_are(remote: Remote):
    with client_of(remote.url) as client:
        client.request("POST", "/j", json={"prompt": "ü🎬", "n": [1, None]}, headers={"X-More": "1"})
        client.request(
            "POST", "/f", data={"seconds": "4"}, files={"image": ("a.png", b"\x89PNG\0", "image/png")}
        )
    assert remote.log[0].json == {"prompt": "ü🎬", "n": [1, None]}
    assert remote.log[0].headers["content-type"] == "application/json"
    assert remote.log[0].headers["x-more"] == "1" and "authorization" in remote.log[0].headers
    assert remote.log[1].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"\x89PNG\0" in remote.log[1].body and b'name="seconds"' in remote.log[1].body


# redirects


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_within_the_origin_method_body_and_key_are_kept(remote: Remote, status: int, method: str):
    remote.on(method, "/tasks", Say(status, None, {"Location": "/tasks/"}))
    body = None if method == "GET" else {"a": 1}
    with client_of(remote.url) as client:
        answer = client.request(method, "/tasks", json=body, params={"q": "1"})
    assert answer.status == 200
    assert remote.calls() == [f"{method} /tasks", f"{method} /tasks/"]
    assert remote.log[1].json == body and remote.log[1].headers["authorization"] == KEY["Authorization"]


def test_a_path_that_lies_behind_a_slash_is_read_there_at_once_from_then_on(remote: Remote):
    remote.on("GET", "/tasks", Say(307, None, {"Location": "/tasks/"}))
    with client_of(remote.url) as client:
        for number in ("1", "2"):
            assert client.request("GET", "/tasks", params={"n": number}).status == 200
    assert remote.calls() == ["GET /tasks", "GET /tasks/", "GET /tasks/"]
    assert remote.log[2].query == {"n": "2"}
    assert remote.log[2].headers["authorization"] == KEY["Authorization"]


def test_where_nothing_is_behind_the_slash_any_more_the_path_itself_is_read(remote: Remote):
    remote.on("GET", "/tasks", Say(307, None, {"Location": "/tasks/"}))
    with client_of(remote.url) as client:
        client.request("GET", "/tasks")
        remote.on("GET", "/tasks/", Say(404, {"detail": "Not Found"}))
        remote.on("GET", "/tasks", Say(200, {"now": "here"}))
        for _ in range(2):
            assert client.request("GET", "/tasks").status == 200
    assert remote.calls()[2:] == ["GET /tasks/", "GET /tasks", "GET /tasks"]


def test_another_path_behind_a_redirect_is_not_remembered(remote: Remote):
    remote.on("GET", "/a", Say(307, None, {"Location": "/b"}))
    with client_of(remote.url) as client:
        client.request("GET", "/a")
        client.request("GET", "/a")
    assert remote.calls() == ["GET /a", "GET /b"] * 2


def test_files_are_sent_again_in_full(remote: Remote):
    remote.on("POST", "/v", Say(307, None, {"Location": f"{remote.url}/v/"}))
    with client_of(remote.url) as client:
        client.request("POST", "/v", files={"image": ("a.png", b"x" * 100_000, "image/png")})
    assert b"x" * 100_000 in remote.log[1].body


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_read_follows_any_redirect_within_the_origin(remote: Remote, status: int):
    remote.on("GET", "/a", Say(status, None, {"Location": "b?c=d"}))
    with client_of(remote.url) as client:
        assert client.request("GET", "/a").status == 200
    assert remote.log[1].path == "/b" and remote.log[1].query == {"c": "d"}


@pytest.mark.parametrize(
    ("status", "error"), [(301, SourceNeedsPerson), (302, SourceNeedsPerson), (303, OutcomeUnknown)]
)
def test_a_write_is_never_turned_into_a_read(remote: Remote, status: int, error: type[Exception]):
    """303 says that the order was taken; 301 and 302 are what gateways answer at a wrong address."""
    remote.on("POST", "/a", Say(status, None, {"Location": "/b"}))
    with client_of(remote.url) as client, pytest.raises(error) as caught:
        client.request("POST", "/a", json={})
    assert type(caught.value) is error and caught.value.kind == "redirect"  # type: ignore[attr-defined]
    assert remote.calls() == ["POST /a"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_never_visited(remote: Remote, status: int, method: str):
    with Remote() as other:
        for target in (other.url + "/x", other.url.replace("http://", "//") + "/x"):
            remote.on(method, "/a", Say(status, None, {"Location": target}))
            with (
                client_of(remote.url) as client,
                pytest.raises((SourceNeedsPerson, OutcomeUnknown)) as caught,
            ):
                client.request(method, "/a")
            assert "very-secret-key" not in str(caught.value)
        assert other.log == []


def test_redirects_in_circles_end(remote: Remote):
    remote.on("GET", "/a", Say(307, None, {"Location": "/b"}))
    remote.on("GET", "/b", Say(307, None, {"Location": "/a"}))
    with client_of(remote.url) as client, pytest.raises(SourceNeedsPerson):
        client.request("GET", "/a")
    assert len(remote.log) == 4


def test_redirects_are_not_followed_without_the_wish(remote: Remote):
    remote.on("GET", "/a", Say(307, None, {"Location": "/b"}))
    with client_of(remote.url, follow_same_origin=False) as client, pytest.raises(SourceNeedsPerson):
        client.request("GET", "/a")
    assert len(remote.log) == 1


@pytest.mark.parametrize(
    ("url", "other", "is_same"),
    [
        ("https://a.example/x", "https://a.example:443/y", True),
        ("http://A.example:80", "http://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example:8443", "https://a.example", False),
        ("https://a.example.evil.example", "https://a.example", False),
        ("https://a.example@evil.example/", "https://a.example", False),
        ("https://evil@a.example/", "https://a.example", False),
        ("https://a.example\\@evil.example/", "https://a.example", False),
        ("https://a.example:99999", "https://a.example", False),
        ("https://[::1", "https://a.example", False),
        ("/x", "/y", False),
        ("", "", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, other: str, is_same: bool):
    assert is_same_origin(url, other) is is_same


# bounds


@pytest.mark.parametrize("part", ["status line", "headers", "body"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_without_tls_that_drips_cannot_hold_a_thread(part: str, method: str):
    whole = {
        "status line": b"HTTP/1.1 200 " + b"O" * 10_000,
        "headers": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000,
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 10_000,
    }[part]

    def slowly(connection: socket.socket) -> None:
        connection.sendall(whole[: whole.rindex(b" " if part != "body" else b"\n") + 1])
        for _ in range(100):
            connection.sendall(b"y")
            time.sleep(0.05)

    started = time.monotonic()
    expected = SourceUnavailable if method == "GET" else OutcomeUnknown
    with (
        raw_server(slowly) as url,
        client_of(url, total_seconds=0.5) as client,
        pytest.raises(expected) as caught,
    ):
        client.request(method, "/")
    assert type(caught.value) is expected and caught.value.kind == "timeout"
    assert time.monotonic() - started < 4  # a read is tried twice, with a pause


def test_the_deadline_holds_for_every_answer_on_a_kept_connection(remote: Remote):
    """The clock starts anew with each request; an idle connection does not use it up."""
    with client_of(remote.url, total_seconds=0.4) as client:
        for _ in range(3):
            assert client.request("GET", "/x").status == 200
            time.sleep(0.25)


def test_a_body_without_end_is_not_read_to_its_end():
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(2000):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    with (
        raw_server(flood) as url,
        client_of(url, max_body_bytes=1_000_000) as client,
        pytest.raises(SourceUnavailable) as caught,
    ):
        client.request("GET", "/")
    assert caught.value.kind == "too_large" and sum(sent) < 60_000_000


def test_an_order_that_was_cut_off_may_have_been_taken():
    def hang_up(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")

    with raw_server(hang_up) as url, client_of(url) as client, pytest.raises(OutcomeUnknown):
        client.request("POST", "/", json={})


def test_an_order_to_a_closed_port_was_not_sent():
    with Remote() as gone:
        url = gone.url
    with client_of(url) as client, pytest.raises(SourceUnavailable) as caught:
        client.request("POST", "/", json={})
    assert type(caught.value) is SourceUnavailable and caught.value.kind == "refused"
