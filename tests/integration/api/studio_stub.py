"""A task API on loopback whose tasks go through a script, one step each time they are asked about."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(range(256)) * 16
CREATED = "2026-01-11T10:30:00"

# What the prompt asks for: (status, progress) by question; the last one stays.
SCRIPTS: dict[str, list[tuple[str, int]]] = {
    "good": [("pending", 0), ("processing", 10), ("processing", 45), ("processing", 90), ("completed", 100)],
    "bad": [("processing", 35), ("failed", 35)],
    "endless": [("processing", 20)],
}


class Studio:
    """`orders` are the bodies it was sent, by id."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.url = ""
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator["Studio"]:
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

    def take(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            task_id = f"vid_{len(self.orders):012x}"
            self.orders[task_id] = body
        return {"task_id": task_id, "status": "pending", "message": "queued"}

    def show(self, task_id: str) -> dict[str, Any]:
        with self._lock:
            script = SCRIPTS[str(self.orders[task_id]["prompt"])]
            step = self._asked.get(task_id, 0)
            self._asked[task_id] = step + 1
        status, progress = script[min(step, len(script) - 1)]
        if task_id in self.cancelled:
            status = "cancelled"
        found = {"video_url": f"{self.url}/files/{task_id}.mp4"}
        error = {"type": "VideoGenerationError", "message": "content_policy: the prompt was refused"}
        return {
            "task_id": task_id,
            "status": status,
            "progress": progress,
            "created_at": CREATED,
            "updated_at": CREATED,
            "completed_at": CREATED if status == "completed" else None,
            "result": {"service": "veo3", "result": found, "duration": 1} if status == "completed" else None,
            "error": error if status == "failed" else None,
        }

    def cancel(self, task_id: str) -> dict[str, Any]:
        self.cancelled.add(task_id)
        return {"success": True, "message": f"Task {task_id} has been cancelled", "task_id": task_id}


def _handler(studio: Studio) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._say(studio.take(json.loads(self.rfile.read(int(self.headers["content-length"])))))

        def do_DELETE(self) -> None:
            self._about(studio.cancel)

        def do_GET(self) -> None:
            if self.path.startswith("/files/"):
                self._send(200, "video/mp4", MP4)
            else:
                self._about(studio.show)

        def _about(self, answer: Any) -> None:
            task_id = self.path.rpartition("/")[2]
            if task_id in studio.orders:
                self._say(answer(task_id))
            else:
                self._say({"detail": "Not Found"}, 404)

        def _say(self, data: Any, status: int = 200) -> None:
            self._send(status, "application/json", json.dumps(data).encode())

        def _send(self, status: int, media_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler
