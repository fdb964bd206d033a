"""Batches for a syslog server: what counts as taken, over real connections on loopback."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from fakepve.certs import make_cert

from tasks_app.sources import syslog
from tasks_app.sources.errors import SourceNeedsPerson, SourceUnavailable
from tasks_app.sources.syslog import SyslogServer, parse_server, send_batch
from tasks_app.sources.tls import Trust

MESSAGES = [b"<110>1 - - - - - - %05d " % number + b"x" * 1000 for number in range(300)]
FRAMED = sum(len(b"%d " % len(message)) + len(message) for message in MESSAGES)


class Listener:
    """Calls `serve` with its one connection; over TLS unless told otherwise. `read` is what it has read."""

    def __init__(self, folder, serve, *, tls=True, version=None):
        certificate, key, _ = make_cert(str(folder))
        self.trust = Trust(ca_pem=Path(certificate).read_text())
        self.read = b""
        self.closed = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._context:
            self._context.load_cert_chain(certificate, key)
            self._context.maximum_version = version or ssl.TLSVersion.TLSv1_3
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = SyslogServer("127.0.0.1", self._listener.getsockname()[1], tls)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(10)
        self._listener.close()

    def _run(self):
        connection, _ = self._listener.accept()
        connection.settimeout(10)
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._serve(self, connection)
        except OSError:
            pass
        finally:
            connection.close()
            self.closed.set()

    def take(self, connection, count=None):
        """Read `count` bytes, or to the end."""
        while (count is None or len(self.read) < count) and (chunk := connection.recv(65536)):
            self.read += chunk


def farewell(listener, connection):
    listener.take(connection)
    connection.unwrap()


def no_farewell(listener, connection):
    listener.take(connection)


@pytest.mark.parametrize("serve", [farewell, no_farewell])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_batch_is_taken_when_the_server_has_read_it_to_its_end(tmp_path, serve, version):
    with Listener(tmp_path, serve, version=version) as listener:
        send_batch(listener.server, listener.trust, MESSAGES, seconds=10)
    assert listener.read == b"".join(b"%d %s" % (len(message), message) for message in MESSAGES)


def test_plain_tcp_for_a_relay_on_the_same_host(tmp_path):
    with Listener(tmp_path, no_farewell, tls=False) as listener:
        send_batch(listener.server, Trust(), MESSAGES, seconds=10)
    assert len(listener.read) == FRAMED


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "tcp"])
@pytest.mark.parametrize("count", [1, FRAMED // 2], ids=["at once", "half way"])
def test_a_server_that_closes_before_it_has_read_everything_has_not_taken_it(tmp_path, tls, count):
    with (
        Listener(
            tmp_path, lambda listener, connection: listener.take(connection, count), tls=tls
        ) as listener,
        pytest.raises(SourceUnavailable, match="before it had taken everything"),
    ):
        send_batch(listener.server, listener.trust, MESSAGES, seconds=10)


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "tcp"])
def test_a_server_that_goes_away_before_our_farewell_may_have_been_killed(tmp_path, tls):
    """It has read every byte, but nobody knows what it did with them: its system resets our last word."""

    def messages(listener):
        yield b"x" * (2 * syslog.PIECE_BYTES)
        assert listener.closed.wait(10)

    framed = 2 * syslog.PIECE_BYTES + len(f"{2 * syslog.PIECE_BYTES} ")
    with (
        Listener(
            tmp_path, lambda listener, connection: listener.take(connection, framed), tls=tls
        ) as listener,
        pytest.raises(SourceUnavailable, match="before it had taken everything"),
    ):
        send_batch(listener.server, listener.trust, messages(listener), seconds=10)
    assert len(listener.read) == framed


def test_a_server_that_says_goodbye_while_it_is_sent_to_has_not_taken_it(tmp_path):
    def serve(listener, connection):
        listener.take(connection, 1)
        connection.unwrap()

    with Listener(tmp_path, serve) as listener, pytest.raises(SourceUnavailable, match="taken everything"):
        send_batch(listener.server, listener.trust, MESSAGES, seconds=10)


def test_a_server_that_does_not_read_is_left_in_time(tmp_path):
    release = threading.Event()
    with Listener(tmp_path, lambda _, connection: release.wait(20)) as listener:
        with pytest.raises(SourceUnavailable, match="in time") as caught:
            send_batch(listener.server, listener.trust, MESSAGES * 30, seconds=1)
        release.set()
    assert caught.value.kind == "timeout"


def test_a_server_that_reads_and_never_ends_is_left_in_time(tmp_path):
    release = threading.Event()

    def serve(listener, connection):
        listener.take(connection)
        release.wait(20)

    with Listener(tmp_path, serve) as listener:
        with pytest.raises(SourceUnavailable, match="in time"):
            send_batch(listener.server, listener.trust, MESSAGES, seconds=1)
        release.set()


def test_a_stranger_with_another_certificate_reads_nothing(tmp_path):
    (tmp_path / "other").mkdir()
    certificate, _, _ = make_cert(str(tmp_path / "other"))
    with (
        Listener(tmp_path, farewell) as listener,
        pytest.raises(SourceNeedsPerson, match="not trusted") as caught,
    ):
        send_batch(listener.server, Trust(ca_pem=Path(certificate).read_text()), MESSAGES, seconds=5)
    assert (caught.value.kind, listener.read) == ("certificate", b"")


def test_a_certificate_that_no_system_ca_signed_is_not_trusted(tmp_path):
    with Listener(tmp_path, farewell) as listener, pytest.raises(SourceNeedsPerson, match="not trusted"):
        send_batch(listener.server, Trust(), MESSAGES, seconds=5)
    assert listener.read == b""


def test_a_certificate_of_another_name_is_not_trusted(tmp_path):
    with Listener(tmp_path, farewell) as listener:
        forwarded = socket.create_server(("127.0.0.2", listener.server.port))
        threading.Thread(target=_relay, args=(forwarded, listener.server.port), daemon=True).start()
        with pytest.raises(SourceNeedsPerson, match="not trusted"):
            send_batch(
                SyslogServer("127.0.0.2", listener.server.port, True), listener.trust, MESSAGES, seconds=5
            )
        forwarded.close()
    assert listener.read == b""


def _relay(listener, port):
    near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join(5)


def _copy(origin, target):
    try:
        while chunk := origin.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_plain_text_in_the_place_of_tls_is_told(tmp_path):
    def serve(_, connection):
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Listener(tmp_path, serve, tls=False) as listener:
        server = SyslogServer("127.0.0.1", listener.server.port, True)
        with pytest.raises(SourceNeedsPerson, match="does not speak TLS"):
            send_batch(server, listener.trust, MESSAGES, seconds=5)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(SourceUnavailable, match=f"127.0.0.1:{port} refuses connections"):
        send_batch(SyslogServer("127.0.0.1", port, True), Trust(), MESSAGES, seconds=5)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("syslog+tls://logs.example", SyslogServer("logs.example", 6514, True)),
        ("syslog+tls://logs.example:7000/", SyslogServer("logs.example", 7000, True)),
        ("syslog+tcp://[::1]:601", SyslogServer("::1", 601, False)),
    ],
)
def test_an_address_names_the_server(url, server):
    assert parse_server(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "syslog://h",
        "syslog+tls://",
        "syslog+tls://u:p@h",
        "syslog+tls://h/path",
        "syslog+tls://h?x=1",
        "syslog+tls://h:99999",
    ],
)
def test_any_other_address_is_refused(url):
    with pytest.raises(ValueError):
        parse_server(url)
