"""A small HTTP server on loopback that plays a remote: recorded answers, prepared ones, or faults.

    with Remote() as remote:
        remote.on("GET", "/api/v1/tasks/vid_1", Say(200, {...}), DROP)   # in this order; the last one stays
        remote.replay("seed", 13, 17)                                     # recorded pairs, at their own paths
        remote.fault(Say(429, headers={"Retry-After": "7"}))              # before everything, until `heal()`
        ...
        remote.log[-1].json, remote.log[-1].headers["authorization"]

A request that nothing answers gets a 404 and stands in `unexpected`.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

FOLDER = Path(__file__).parents[3] / "data" / "recorded" / "generation"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. Header names are lower case; `query` holds decoded parameters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Say:
    """One answer. A body of str or bytes goes out as it is, anything else as JSON; None is no body.

    `drop`: close the connection instead. `cut`: send that many bytes less than announced, then close.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: int = 0

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


DROP = Say(drop=True)
Answers = Say | Callable[[Seen], Say | None]


def load(folder: str, number: int | str) -> dict[str, Any]:
    """The recorded pair whose file name starts with `number` (two digits), or has that name."""
    pattern = f"{number:02d}-*.json" if isinstance(number, int) else f"{number}.json"
    (path,) = (FOLDER / folder).glob(pattern)
    return json.loads(path.read_text())


def recorded(folder: str, number: int | str, *, origin: str = "", **changes: Any) -> Say:
    """The recorded answer. Loopback origins in it become `origin`; `changes` replace top-level fields."""
    response = load(folder, number)["response"]
    body = response["body"]
    if isinstance(body, dict) and "_bytes" in body:
        body = body["_text"].encode()[: body["_bytes"]].ljust(body["_bytes"], b"\0")
    elif changes:
        body = {**body, **changes}
    skipped = {"content-length", "transfer-encoding", "connection", "date", "server"}
    headers = {name: value for name, value in response["headers"].items() if name.lower() not in skipped}
    if origin:
        headers = json.loads(_moved(json.dumps(headers), origin))
        body = body if isinstance(body, bytes) else json.loads(_moved(json.dumps(body), origin))
    return Say(response["status"], body, headers)


def _moved(text: str, origin: str) -> str:
    return re.sub(r"http://(?:127\.0\.0\.1|localhost)(?::\d+)?", origin, text)


class Remote:
    """The server. `fallback` answers what no route answers, for example a kit of the contract suite."""

    def __init__(self, fallback: Callable[[Seen], Say | None] | None = None) -> None:
        self.log: list[Seen] = []
        self.unexpected: list[Seen] = []
        self._routes: dict[tuple[str, str], list[Answers]] = {}
        self._faults: list[tuple[Say, Callable[[Seen], bool]]] = []
        self._fallback = fallback
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, method: str, path: str, *answers: Answers) -> None:
        """Answer `method path` with these, one after the other; the last one stays. Without query: any query."""
        self._routes[method, path] = list(answers)

    def replay(self, folder: str, *numbers: int | str, origin: str = "") -> None:
        """Recorded pairs at their recorded paths; several at one path come in the given order."""
        found: dict[tuple[str, str], list[Answers]] = {}
        for number in numbers:
            request = load(folder, number)["request"]
            answer = recorded(folder, number, origin=origin)
            found.setdefault((request["method"], request["path"]), []).append(answer)
        self._routes.update(found)

    def fault(self, answer: Say, match: Callable[[Seen], bool] = lambda _seen: True) -> None:
        """From now on every request that `match` names gets this, whatever else is set."""
        self._faults.append((answer, match))

    def heal(self) -> None:
        self._faults.clear()

    def calls(self, method: str = "") -> list[str]:
        """What was asked, for example "GET /api/v1/tasks/vid_1"; of one method, or all."""
        return [f"{seen.method} {seen.path}" for seen in self.log if method in ("", seen.method)]

    def answer(self, seen: Seen, target: str) -> Say:
        self.log.append(seen)
        for fault, match in self._faults:
            if match(seen):
                return fault
        answers = self._routes.get((seen.method, target)) or self._routes.get((seen.method, seen.path))
        if answers:
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            said = found if isinstance(found, Say) else found(seen)
        else:
            said = self._fallback(seen) if self._fallback else None
        if said is None:
            self.unexpected.append(seen)
            return Say(404, {"error": {"code": "NO_ROUTE", "message": "Nothing is here"}})
        return said


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, remote: Remote) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.remote = remote

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20
    server: _Server

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)
        said = self.server.remote.answer(seen, self.path)
        if said.drop:
            self.close_connection = True
            return
        content = said.content
        self.send_response_only(said.status)
        given = {name.lower() for name in said.headers}
        if "date" not in given:
            self.send_header("Date", self.date_time_string())
        if "content-type" not in given:
            kind = "application/json" if not isinstance(said.body, str | bytes) else "text/html"
            self.send_header("Content-Type", kind)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(OSError):
            for part in _parts(content[: len(content) - said.cut]):
                self.wfile.write(part)
        self.close_connection = bool(said.cut)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _parts(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), CHUNK):
        yield content[start : start + CHUNK]
