"""A real web server on loopback, and a reader of its streams on a plain socket."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from portal.asgi import Application
from portal.web import WebServer

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds: float = 10.0, what: str = "the condition") -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} did not come true in {seconds} s"
        time.sleep(0.01)


def sign_in(user: User) -> str:
    """The key of a session of `user`."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@dataclass
class Running:
    port: int
    application: Application
    server: WebServer
    thread: threading.Thread

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextmanager
def running_server(application: Application | None = None, *, port: int = 0) -> Iterator[Running]:
    """The web server in a thread of this process, on the test database."""
    application = application or Application()
    port = port or free_port()
    server = WebServer(application, HOST, port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    running = Running(port, application, server, thread)
    try:
        wait_until(lambda: server.started, what="start of the server")
        yield running
    finally:
        running.stop()


@contextmanager
def web_process(port: int) -> Iterator[subprocess.Popen]:
    """`manage.py web` on the test database, as a process that can be killed."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.integration.live.process_settings",
        "PORTAL_DATA_DIR": str(settings.DATA_DIR),
        "LIVE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
    }
    command = [sys.executable, "manage.py", "web", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None, 30, "start of the web process")
        assert process.poll() is None, process.stdout.read().decode()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@dataclass(frozen=True)
class Frame:
    id: str
    event: str
    data: str

    @property
    def json(self) -> dict:
        return json.loads(self.data)


class Stream:
    """One open stream. `frames` has every event but the beats; `last_id` is what a browser would come back with."""

    def __init__(
        self,
        port: int,
        topics: str,
        session: str = "",
        *,
        after: int | str | None = None,
        last_event_id: str = "",
        headers: dict[str, str] | None = None,
        method: str = "GET",
        receive_buffer: int = 0,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect((HOST, port))
        query = f"topics={topics}" + (f"&after={after}" if after is not None else "")
        sent = {"Host": f"{HOST}:{port}", "Accept": "text/event-stream"}
        if session:
            sent["Cookie"] = (
                f'other={{"a": "b c"}}; sessionid={session}'  # as other programs on a host leave them
            )
        if last_event_id:
            sent["Last-Event-ID"] = last_event_id
        sent |= headers or {}
        lines = [f"{method} /live/?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        self.frames: list[Frame] = []
        self.beats = 0
        self.last_id = ""
        self.text = ""
        self.is_over = False
        self.is_complete = False  # whether the answer was ended, not cut
        self._raw = b""
        self._read_head()

    def _read_head(self) -> None:
        while b"\r\n\r\n" not in self._raw:
            self._receive()
            assert not self.is_over, "closed before the answer"
        head, self._raw = self._raw.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"

    def _receive(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._raw += data
        if not data:
            self.is_over = True

    def read_for(self, seconds: float) -> list[Frame]:
        """All that comes within `seconds`."""
        until = time.monotonic() + seconds
        while not self.is_over and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                self._receive()
            except TimeoutError:
                break
            self._parse()
        return self.frames

    def read_until(self, condition, seconds: float = 10.0) -> list[Frame]:
        """Until `condition(self)` holds or the stream is over."""
        until = time.monotonic() + seconds
        self._parse()
        while not condition(self) and not self.is_over:
            left = until - time.monotonic()
            assert left > 0, f"not within {seconds} s; got {self.frames[-5:]}"
            self.socket.settimeout(left)
            try:
                self._receive()
            except TimeoutError:
                continue
            self._parse()
        return self.frames

    def wait_until_served(self) -> "Stream":
        """Until the feed has taken it in: every later event comes."""
        self.read_until(lambda stream: stream.beats >= 1)
        assert self.beats
        return self

    def body(self) -> dict:
        """The JSON of a refusal."""
        length = int(self.headers["content-length"])
        while len(self._raw) < length:
            self._receive()
        return json.loads(self._raw[:length])

    def _parse(self) -> None:
        while self._is_chunked and b"\r\n" in self._raw:
            size_text, rest = self._raw.split(b"\r\n", 1)
            size = int(size_text, 16)
            if len(rest) < size + 2:
                break
            if size == 0:
                self.is_over = self.is_complete = True
            self.text += rest[:size].decode()
            self._raw = rest[size + 2 :]
        while "\n\n" in self.text:
            block, self.text = self.text.split("\n\n", 1)
            fields: dict[str, list[str]] = {}
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                fields.setdefault(name, []).append(value.removeprefix(" "))
            if "id" in fields:
                self.last_id = fields["id"][-1]
            if fields.get("event") == ["beat"]:
                self.beats += 1
            elif "data" in fields:
                self.frames.append(Frame(self.last_id, fields["event"][0], "\n".join(fields["data"])))

    def close(self) -> None:
        self.socket.close()
