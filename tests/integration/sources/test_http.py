"""The client against a TLS server that misbehaves in every way that costs time, memory or trust."""

import logging
import socket
import ssl
import threading
import time
import warnings

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceUnavailable
from tasks_app.sources.http import HttpClient
from tasks_app.sources.proxmox import Connection, ProxmoxSource
from tasks_app.sources.tls import Trust
from tests.integration.sources.tls_server import TlsServer, always, drip, json_answer

SECRET = "11112222-3333-4444-5555-666677778888"
WRONG_PIN = "AA" * 32
UPID = b'{"data":"UPID:pve1:00000184:0004BC46:6B0007A1:qmstart:100:portal@pve!web:"}'


@pytest.fixture
def serve(tmp_path):
    """A function that starts a server with a handler; all are stopped afterwards."""
    started: list[TlsServer] = []

    def start(handler, **options) -> TlsServer:
        server = TlsServer(tmp_path / str(len(started)), handler, **options).__enter__()
        started.append(server)
        return server

    yield start
    for server in started:
        server.__exit__()


def open_source(
    *servers: TlsServer, pins: tuple[str, ...] | None = None, ca_pem: str = "", secret: str = SECRET
):
    pins = tuple(server.fingerprint for server in servers) if pins is None else pins
    connection = Connection("x", tuple(s.url for s in servers), pins, ca_pem, "portal@pve!web", secret)
    return ProxmoxSource(connection)


def make_client(server: TlsServer, **options) -> HttpClient:
    return HttpClient((server.url,), trust=Trust((server.fingerprint,)), **options)


def closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"https://127.0.0.1:{listener.getsockname()[1]}"


def drop(connection: ssl.SSLSocket, _request: str) -> None:
    connection.close()


# whom to trust


def test_the_pinned_certificate_is_accepted_without_a_warning(serve):
    server = serve(always(json_answer()))
    with warnings.catch_warnings(), open_source(server) as source:
        warnings.simplefilter("error")
        assert source.fetch_version().major == 9


def test_any_of_several_pins_will_do(serve):
    server = serve(always(json_answer()))
    with open_source(server, pins=(WRONG_PIN, server.fingerprint.replace(":", "").lower())) as source:
        assert source.fetch_version().major == 9


def test_another_certificate_gets_no_request_and_is_shown(serve):
    server = serve(always(json_answer()))
    with open_source(server, pins=(WRONG_PIN,)) as source, pytest.raises(SourceNeedsPerson) as caught:
        source.fetch_version()
    assert caught.value.kind == "certificate"
    assert caught.value.seen_fingerprint == server.fingerprint
    assert server.fingerprint in str(caught.value)
    assert "AA:AA:AA" in str(caught.value)
    assert server.requests == []


def test_a_certificate_of_the_given_ca_is_accepted(serve):
    server = serve(always(json_answer()))
    with open_source(server, pins=(), ca_pem=server.ca_pem) as source:
        assert source.fetch_version().major == 9


def test_a_certificate_of_another_ca_gets_no_request(serve):
    server, other = serve(always(json_answer())), serve(always(json_answer()))
    with (
        open_source(server, pins=(), ca_pem=other.ca_pem) as source,
        pytest.raises(SourceNeedsPerson) as caught,
    ):
        source.fetch_version()
    assert caught.value.kind == "certificate"
    assert server.requests == []


def test_without_pin_and_ca_a_self_signed_certificate_is_not_trusted(serve):
    server = serve(always(json_answer()))
    with open_source(server, pins=()) as source, pytest.raises(SourceNeedsPerson) as caught:
        source.fetch_version()
    assert caught.value.kind == "certificate"
    assert server.requests == []


def test_the_environment_cannot_redirect_or_weaken_a_connection(serve, monkeypatch, tmp_path):
    server = serve(always(json_answer()))
    monkeypatch.setenv("HTTPS_PROXY", closed_url())
    monkeypatch.setenv("ALL_PROXY", closed_url())
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(server.ca_pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with open_source(server) as source:
        assert source.fetch_version().major == 9
    assert f"Authorization: PVEAPIToken=portal@pve!web={SECRET}" in server.requests[0]
    with open_source(server, pins=()) as source, pytest.raises(SourceNeedsPerson):
        source.fetch_version()
    assert len(server.requests) == 1


def test_a_port_without_tls_is_not_a_proxmox(serve):
    server = serve(drop, tls=False)
    with open_source(server) as source, pytest.raises(SourceNeedsPerson) as caught:
        source.fetch_version()
    assert caught.value.kind == "not_proxmox"


# bounds


def test_a_redirect_is_not_followed(serve):
    target = serve(always(json_answer()))
    head = f"301 Moved Permanently\r\nLocation: {target.url}/api2/json/version"
    server = serve(always(json_answer(b"", head)))
    with open_source(server, target) as source, pytest.raises(SourceNeedsPerson) as caught:
        source.fetch_version()
    assert caught.value.kind == "redirect"
    assert target.requests == []


def test_the_body_of_a_redirect_is_not_read(serve):
    sent = []

    def flood(connection: ssl.SSLSocket, _request: str) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nConnection: close\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    server = serve(flood)
    with pytest.raises(SourceNeedsPerson):
        make_client(server).request("GET", "/")
    assert sum(sent) < 40_000_000


@pytest.mark.parametrize("length", ["honest", "none", "chunked"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(serve, length):
    head = {
        "honest": f"Content-Length: {10**9}\r\n\r\n",
        "none": "Connection: close\r\n\r\n",
        "chunked": f"Transfer-Encoding: chunked\r\n\r\n{10**9:x}\r\n",
    }[length]
    sent = []

    def flood(connection: ssl.SSLSocket, _request: str) -> None:
        connection.sendall(("HTTP/1.1 200 OK\r\n" + head).encode())
        for _ in range(1000):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    server = serve(flood)
    client = make_client(server, max_body_bytes=1_000_000)
    with pytest.raises(SourceUnavailable) as caught:
        client.request("GET", "/")
    assert caught.value.kind == "too_large"
    assert len(server.requests) == 1
    assert sum(sent) < 40_000_000


@pytest.mark.parametrize("part", ["status line", "headers", "body"])
def test_a_server_that_drips_cannot_hold_a_thread(serve, part):
    whole = {
        "status line": b"HTTP/1.1 200 " + b"O" * 10_000,
        "headers": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000,
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 10_000,
    }[part]
    fast, slow = (whole, b"") if part == "status line" else (whole[:21], whole[21:])

    def slowly(connection: ssl.SSLSocket, _request: str) -> None:
        connection.sendall(fast[:9])
        drip(connection, fast[9:] + slow, 0.05)

    server = serve(slowly)
    started = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        make_client(server, total_seconds=0.6).request("GET", "/")
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 4  # two attempts, and a pause


def test_a_silent_server_times_out(serve):
    server = serve(lambda connection, _request: time.sleep(3))
    with pytest.raises(SourceUnavailable) as caught:
        make_client(server).request("GET", "/", read_seconds=0.2)
    assert caught.value.kind == "timeout"


def test_no_more_than_five_connections_are_open_for_twenty_threads(serve):
    def slow_answer(connection: ssl.SSLSocket, _request: str) -> None:
        time.sleep(0.02)
        connection.sendall(json_answer())

    server = serve(slow_answer)
    with open_source(server) as source:
        failures: list[Exception] = []

        def ask() -> None:
            try:
                for _ in range(5):
                    source.fetch_version()
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert len(server.requests) == 100
    assert server.most_open == 5
    assert server.accepted == 5  # pooled: no handshake per request


# repetition and fail-over


def test_a_read_that_was_dropped_is_repeated_once(serve):
    answers = iter([drop, always(json_answer())])
    server = serve(lambda connection, request: next(answers)(connection, request))
    with open_source(server) as source:
        assert source.fetch_version().major == 9
    assert len(server.requests) == 2


def test_a_read_is_not_repeated_for_ever(serve):
    server = serve(drop)
    with open_source(server) as source, pytest.raises(SourceUnavailable) as caught:
        source.fetch_version()
    assert caught.value.kind == "connection"
    assert len(server.requests) == 2


def test_a_write_that_was_dropped_is_not_repeated_and_unknown(serve):
    first, second = serve(drop), serve(always(json_answer(UPID)))
    with open_source(first, second) as source, pytest.raises(OutcomeUnknown):
        source.start_guest("qemu", "pve1", 100)
    assert [len(first.requests), len(second.requests)] == [1, 0]


def test_a_write_without_an_answer_in_time_is_unknown(serve):
    server = serve(lambda connection, _request: time.sleep(2))
    with pytest.raises(OutcomeUnknown) as caught:
        make_client(server).request("POST", "/", data={"a": 1}, read_seconds=0.2)
    assert caught.value.kind == "timeout"
    assert len(server.requests) == 1


def test_a_write_with_half_an_answer_is_unknown(serve):
    def half(connection: ssl.SSLSocket, _request: str) -> None:
        connection.sendall(json_answer(UPID)[:-10])
        connection.close()

    server = serve(half)
    with open_source(server) as source, pytest.raises(OutcomeUnknown):
        source.start_guest("qemu", "pve1", 100)
    assert len(server.requests) == 1


def test_a_write_that_was_certainly_not_sent_goes_to_the_next_address(serve):
    server = serve(always(json_answer(UPID)))
    connection = Connection(
        "x", (closed_url(), server.url), (server.fingerprint,), "", "portal@pve!web", SECRET
    )
    with ProxmoxSource(connection) as source:
        assert source.start_guest("qemu", "pve1", 100).startswith("UPID:")
    assert len(server.requests) == 1


def test_a_write_that_cannot_be_sent_anywhere_is_plainly_unavailable():
    connection = Connection("x", (closed_url(), closed_url()), (WRONG_PIN,), "", "portal@pve!web", SECRET)
    with ProxmoxSource(connection) as source, pytest.raises(SourceUnavailable) as caught:
        source.start_guest("qemu", "pve1", 100)
    assert type(caught.value) is SourceUnavailable
    assert caught.value.kind == "refused"


def test_a_name_that_does_not_resolve_is_named():
    connection = Connection(
        "x", ("https://no-such-host.invalid:8006",), (WRONG_PIN,), "", "a@pve!web", SECRET
    )
    with ProxmoxSource(connection) as source, pytest.raises(SourceUnavailable) as caught:
        source.fetch_version()
    assert caught.value.kind == "dns"
    assert "no-such-host.invalid" in str(caught.value)


def test_after_a_failure_the_next_address_stays_the_first(serve):
    answers = iter([drop, drop])
    first = serve(lambda connection, request: next(answers)(connection, request))
    second = serve(always(json_answer()))
    with open_source(first, second) as source:
        for _ in range(3):
            assert source.fetch_version().major == 9
        assert source.address == second.url
    assert [len(first.requests), len(second.requests)] == [1, 3]


# credentials


def test_twenty_threads_with_a_refused_token_send_at_most_five_requests(serve):
    def refuse(connection: ssl.SSLSocket, _request: str) -> None:
        time.sleep(0.3)
        connection.sendall(json_answer(b"", "401 Authentication failed!"))

    server = serve(refuse)
    errors: list[SourceNeedsPerson] = []
    with open_source(server, secret="a-refused-secret") as source:

        def ask() -> None:
            try:
                source.fetch_version()
            except SourceNeedsPerson as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        source.forget_refusal()
    assert len(errors) == 20
    assert {error.kind for error in errors} == {"unauthorized"}
    assert "Authentication failed!" in str(errors[0])
    assert len(server.requests) <= 5


def test_the_secret_reaches_no_log_and_no_exception(serve, caplog):
    caplog.set_level(logging.DEBUG)
    echo = serve(
        lambda connection, request: connection.sendall(json_answer(request.encode(), "500 " + SECRET))
    )
    lost = serve(drop)
    texts: list[str] = []
    for server, pins in ((echo, None), (lost, None), (echo, (WRONG_PIN,))):
        with open_source(server, pins=pins) as source:
            for call in (source.fetch_version, lambda s=source: s.start_guest("qemu", "pve1", 1)):
                with pytest.raises((SourceUnavailable, SourceNeedsPerson)) as caught:
                    call()
                texts += [str(caught.value), repr(caught.value), str(caught.getrepr(style="short"))]
                assert caught.value.__context__ is None
    assert len(echo.requests) == 2
    assert SECRET in echo.requests[0]
    texts += [record.getMessage() for record in caplog.records] + [caplog.text]
    assert "attempt failed" in caplog.text
    assert not any(SECRET in text for text in texts)
