"""Messages to a syslog server over TLS (RFC 5425), or over plain TCP to a relay on the same host (RFC 6587).

Syslog has no answers. What stands in for one is the end of the connection: we say that we are done, and wait until the
server has closed its side too. A server whose process was killed, or which closed before it had read everything, shows
itself by a reset instead. So each batch has a connection of its own, and only one that ended well counts as taken.
"""

import contextlib
import errno
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.failures import not_connected
from tasks_app.sources.tls import Trust, build_context

TLS_PORT, TCP_PORT = 6514, 601
SCHEMES = frozenset({"syslog+tls", "syslog+tcp"})
CONNECT_SECONDS = 5.0
PIECE_BYTES = 64 * 1024
ANSWER_BYTES = 4096
"""A syslog server has nothing to say; who says more than this is something else."""


@dataclass(frozen=True, slots=True)
class SyslogServer:
    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_server(url: str) -> SyslogServer:
    """`syslog+tls://host` or `syslog+tcp://host`, each with a port if it is not 6514 or 601. Raises ValueError."""
    parts = urlsplit(url)
    beside = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    if parts.scheme not in SCHEMES or not parts.hostname or any(beside):
        raise ValueError("It has the form syslog+tls://host:6514 or syslog+tcp://host:601.")
    is_tls = parts.scheme == "syslog+tls"
    return SyslogServer(parts.hostname, parts.port or (TLS_PORT if is_tls else TCP_PORT), is_tls)


def send_batch(server: SyslogServer, trust: Trust, messages: Sequence[bytes], *, seconds: float) -> None:
    """Bring `messages` to the server, in order. When this returns, it has taken all of them.

    Takes at most about `seconds`. Raises SourceUnavailable or SourceNeedsPerson; then some may have arrived.
    """
    deadline = time.monotonic() + seconds
    try:
        connection = _connect(server, trust, min(seconds, CONNECT_SECONDS))
    except (OSError, UnicodeError) as error:
        raise not_connected(error, str(server)) from None
    with connection:
        try:
            for piece in _pieces(messages):
                connection.settimeout(_left(deadline))
                connection.sendall(piece)
            _finish(connection, deadline)
        except TimeoutError:
            raise SourceUnavailable(f"{server} does not take what is sent in time.", kind="timeout") from None
        except OSError as error:
            why = f" ({_reason(error)})" if _reason(error) else ""
            raise SourceUnavailable(
                f"{server} closed the connection before it had taken everything{why}.", kind="connection"
            ) from None


def _reason(error: OSError) -> str:
    """What TLS says, for example that the server asks for a certificate of ours."""
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    return str(reason or "").replace("_", " ").lower()


def _connect(server: SyslogServer, trust: Trust, seconds: float) -> socket.socket:
    raw = socket.create_connection((server.host, server.port), timeout=seconds)
    if not server.is_tls:
        return raw
    try:
        return build_context(trust).wrap_socket(raw, server_hostname=server.host)
    except BaseException:
        raw.close()
        raise


def _pieces(messages: Sequence[bytes]) -> Iterator[bytes]:
    """Each message behind its length, which is how both RFCs frame them, joined to a few large writes."""
    piece = bytearray()
    for message in messages:
        piece += b"%d " % len(message)
        piece += message
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _left(deadline: float) -> float:
    left_seconds = deadline - time.monotonic()
    if left_seconds <= 0:
        raise TimeoutError
    return left_seconds


def _finish(connection: socket.socket, deadline: float) -> None:
    """Say that this was all, and wait until the server has read it. Raises OSError when that is not certain."""
    if isinstance(connection, ssl.SSLSocket):
        _say_farewell(connection, deadline)
    else:
        _wait_until_taken(connection, deadline)
        _require_open(connection)  # the end of a connection is not answered with a reset; see below
        connection.shutdown(socket.SHUT_WR)
        _read_to_end(connection, deadline)
    _wait_until_taken(connection, deadline)


def _say_farewell(connection: ssl.SSLSocket, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    try:
        connection.unwrap()
    except (TimeoutError, ConnectionError):
        raise
    except ssl.SSLEOFError:
        pass  # many close without TLS's own farewell; whether they had read ours is seen by what became of it
    except OSError as error:
        if error.errno:  # some versions of OpenSSL tell the same by an error without a number
            raise


def _require_open(connection: socket.socket) -> None:
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        if not connection.recv(1, socket.MSG_PEEK):
            raise ConnectionAbortedError


def _read_to_end(connection: socket.socket, deadline: float) -> None:
    connection.settimeout(_left(deadline))
    said = 0
    while chunk := connection.recv(ANSWER_BYTES):
        said += len(chunk)
        if said > ANSWER_BYTES:
            raise ConnectionAbortedError
        connection.settimeout(_left(deadline))


def _wait_until_taken(connection: socket.socket, deadline: float) -> None:
    """Until everything that was sent has reached an open connection; raises OSError when it was closed by then.

    Who closes before has not read what came after, and its system answers that with a reset, perhaps a moment later.
    """
    while not_taken := _bytes_on_the_way(connection):
        if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "reset")
        if time.monotonic() >= deadline:
            raise TimeoutError(not_taken)
        time.sleep(0.005)
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "reset")


def _bytes_on_the_way(connection: socket.socket) -> int:
    """Bytes that the other side has not acknowledged; 0 where the system does not tell."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0)))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            return 0
        raise
    return int(count)
