"""A small TLS server on loopback that answers with prepared bytes, slowly, wrongly or not at all."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from fakepve.certs import make_cert

from tasks_app.sources.tls import format_fingerprint

Handler = Callable[[ssl.SSLSocket, str], None]


def json_answer(
    body: bytes = b'{"data":{"version":"9.2.11","release":"9.2"}}', head: str = "200 OK"
) -> bytes:
    return (
        f"HTTP/1.1 {head}\r\nServer: pve-api-daemon/3.0\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def always(answer: bytes) -> Handler:
    return lambda connection, _request: connection.sendall(answer)


class TlsServer:
    """Calls `handler(connection, request head and body)` for each request until it closes the connection.

    `requests` are the request texts seen, `most_open` the largest number of connections open at one time.
    """

    def __init__(self, folder: Path, handler: Handler, *, tls: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        certfile, keyfile, der = make_cert(str(folder))
        self.ca_pem = Path(certfile).read_text()
        self.fingerprint = format_fingerprint(der)
        self.requests: list[str] = []
        self.open = self.most_open = self.accepted = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certfile, keyfile)
        self._handler, self._tls = handler, tls
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            raw.settimeout(20)
            self._connections.append(raw)
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.accepted += 1
            self.most_open = max(self.most_open, self.open)
        try:
            if not self._tls:
                raw.recv(100)
                raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            with self._context.wrap_socket(raw, server_side=True) as connection:
                while request := self._read_request(connection):
                    with self._lock:
                        self.requests.append(request)
                    self._handler(connection, request)
        except OSError:
            pass
        finally:
            raw.close()
            with self._lock:
                self.open -= 1

    def _read_request(self, connection: ssl.SSLSocket) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return ""
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        while len(body) < length:
            body += connection.recv(65536)
        return (head + b"\r\n\r\n" + body).decode()


def drip(connection: ssl.SSLSocket, pieces: bytes, pause_seconds: float) -> None:
    """Send byte by byte, at most for 15 s."""
    until = time.monotonic() + 15
    for i in range(len(pieces)):
        if time.monotonic() > until:
            return
        connection.sendall(pieces[i : i + 1])
        time.sleep(pause_seconds)
