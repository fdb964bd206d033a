"""A task API on loopback that remembers every order it was sent and how many it worked on at once."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(4000)


@dataclass
class Work:
    """One task of the stub: done `seconds` after it was taken."""

    id: str
    prompt: str
    seconds: float
    began: float = field(default_factory=time.monotonic)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_done(self) -> bool:
        return time.monotonic() - self.began >= self.seconds


class TaskStub:
    """`most_at_once` is counted from the moment an order is taken; answers come up to `slowness` seconds later.

    `under_way`: orders that have arrived and are not answered.
    """

    def __init__(self, *, slowness: float, work_seconds: tuple[float, float], seed: int) -> None:
        self.slowness, self.work_seconds = slowness, work_seconds
        self.works: dict[str, Work] = {}
        self.most_at_once = 0
        self.under_way = 0
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self.url = ""

    @property
    def submissions(self) -> Counter[str]:
        with self._lock:
            return Counter(work.prompt for work in self.works.values())

    @contextmanager
    def serving(self) -> Iterator["TaskStub"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)

    def take(self, prompt: str) -> Work:
        """Slow before it is taken and slow after it: a kill meets either."""
        with self._lock:
            before, after, seconds = (
                self._rng.uniform(0, self.slowness),
                self._rng.uniform(0, self.slowness),
                self._rng.uniform(*self.work_seconds),
            )
            self.under_way += 1
        time.sleep(before)
        with self._lock:
            work = Work(f"vid_{len(self.works):012x}", prompt, seconds + after)
            self.works[work.id] = work
            self.most_at_once = max(self.most_at_once, sum(not one.is_done for one in self.works.values()))
        time.sleep(after)
        with self._lock:
            self.under_way -= 1
        return work

    def show(self, work: Work) -> dict[str, Any]:
        result = {"service": "stub", "result": {"video_url": f"{self.url}/files/{work.id}.mp4"}}
        moment = work.created_at.replace(tzinfo=None).isoformat()
        return {
            "task_id": work.id,
            "status": "completed" if work.is_done else "processing",
            "progress": 100 if work.is_done else 0,
            "created_at": moment,
            "updated_at": moment,
            "completed_at": moment if work.is_done else None,
            "result": result if work.is_done else None,
            "error": None,
        }


def _handler(stub: TaskStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._say(stub.show(stub.take(str(body.get("prompt")))))

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path.startswith("/files/"):
                self._send(200, "video/mp4", MP4)
            elif path == "/api/v1/tasks":
                self._say([stub.show(work) for work in list(stub.works.values())])
            elif path.startswith("/api/v1/tasks/"):
                work = stub.works.get(path.rpartition("/")[2])
                self._say(stub.show(work) if work else {"detail": "Task not found"}, 200 if work else 404)
            else:
                self._say({"status": "healthy"})

        def _say(self, data: Any, status: int = 200) -> None:
            self._send(status, "application/json", json.dumps(data).encode())

        def _send(self, status: int, media_type: str, content: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("content-type", media_type)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the worker was killed while we wrote
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler
