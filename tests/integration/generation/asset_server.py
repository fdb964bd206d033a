"""A server on loopback that gives files as told, wrongly on wish: raw bytes on a socket, with or without TLS."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakepve.certs import make_cert

Handler = Callable[[Any, str], None]


@dataclass
class AssetServer:
    """`answers` maps a path to a handler(connection, request head); each connection serves one request.

    `requests` are the heads seen, oldest first.
    """

    url: str
    ca_pem: str = ""
    answers: dict[str, Handler] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]


@contextmanager
def asset_server(folder: Path | None = None) -> Iterator[AssetServer]:
    """With a `folder` for its certificate it speaks TLS."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    port = listener.getsockname()[1]
    context = None
    server = AssetServer(f"http://127.0.0.1:{port}")
    if folder is not None:
        folder.mkdir(exist_ok=True)
        certfile, keyfile, _ = make_cert(str(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile, keyfile)
        server.url, server.ca_pem = f"https://127.0.0.1:{port}", Path(certfile).read_text()

    def serve(raw: socket.socket) -> None:
        raw.settimeout(20)
        try:
            with raw, context.wrap_socket(raw, server_side=True) if context else raw as connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (got := connection.recv(65536)):
                        return
                    head += got
                text = head.decode("latin-1")
                server.requests.append(text)
                server.answers.get(text.split(" ")[1], status("404 Not Found"))(connection, text)
        except OSError:
            return  # the client hung up

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(raw,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def body(content: bytes, media_type: str = "video/mp4", **headers: str) -> Handler:
    """A right answer. `headers` replace or add, `_` stands for a dash, an empty one leaves it out."""
    told = {"Content-Type": media_type, "Content-Length": str(len(content)), "Connection": "close"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return lambda connection, _: connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + content)


def status(line: str, **headers: str) -> Handler:
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    answer = f"HTTP/1.1 {line}\r\n{told}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    return lambda connection, _: connection.sendall(answer)


def redirect(address: str, line: str = "302 Found") -> Handler:
    return status(line, Location=address)


def chunked(*pieces: bytes, ends: bool = True) -> Handler:
    def answer(connection: Any, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if ends:
            connection.sendall(b"0\r\n\r\n")

    return answer


def endless(piece: bytes, *, pause_seconds: float = 0.0, head: str = "") -> Handler:
    """Goes on until the client hangs up, at most for 15 s."""

    def answer(connection: Any, _: str) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n".encode())
        until = time.monotonic() + 15
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(pause_seconds)

    return answer


def large(megabytes: int, start: bytes) -> Handler:
    """So many MB that begin with `start`, from one small buffer."""

    def answer(connection: Any, _: str) -> None:
        size = megabytes * 1024**2
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        connection.sendall(start)
        block, left = bytes(64 * 1024), size - len(start)
        while left:
            connection.sendall(block[: min(left, len(block))])
            left -= min(left, len(block))

    return answer


def one_after_another(*handlers: Handler) -> Handler:
    """The first answer to the first request, and so on; the last one for ever."""
    left = list(handlers)

    def answer(connection: Any, request: str) -> None:
        handler = left.pop(0) if len(left) > 1 else left[0]
        handler(connection, request)

    return answer
