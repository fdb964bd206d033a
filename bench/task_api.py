"""A task API on loopback whose tasks end at known times: `python -m bench.task_api COUNT` prints its three addresses.

The first two show the same tasks, for the portal and for the loop, and count requests and bytes apart. The third takes
the ends (`POST /start`, seconds from now by task id) and tells the counts (`GET /counts`). Shapes as the task API sends
them: the list stands behind a redirect, times have no zone.
"""

import json
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIST = "/api/v1/tasks"


class Tasks:
    """Progress is even from the start to the end; every tenth task fails."""

    def __init__(self, count: int) -> None:
        self.ids = [f"vid_{number:012x}" for number in range(count)]
        self.began = time.time()
        self.ends: dict[str, float] = {}

    def row(self, number: int, remote_id: str) -> dict[str, Any]:
        at = time.time()
        ends = self.ends.get(remote_id)
        share = 0.0 if ends is None else min(1.0, (at - self.began) / max(0.001, ends - self.began))
        final = "failed" if number % 10 == 9 else "completed"
        return {
            "task_id": remote_id,
            "status": final if share >= 1.0 else "processing",
            "progress": int(100 * share),
            "created_at": _naive(self.began),
            "updated_at": _naive(min(at, ends or at)),
            "message": "Rendering",
        }

    def rows(self) -> list[dict[str, Any]]:
        return [self.row(number, remote_id) for number, remote_id in enumerate(self.ids)]

    def one(self, remote_id: str) -> dict[str, Any] | None:
        if remote_id not in self.ids:
            return None
        row = self.row(self.ids.index(remote_id), remote_id)
        is_over, has_failed = row["status"] != "processing", row["status"] == "failed"
        row |= {"completed_at": row["updated_at"] if is_over else None, "result": {} if is_over else None}
        row["error"] = {"type": "RenderError", "message": "The renderer gave up."} if has_failed else None
        return row


def make_server(tasks: Tasks, counts: Counter[str], who: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == LIST:
                self._answer(307, b"", {"Location": f"{LIST}/"})
            elif self.path == f"{LIST}/":
                self._answer(200, tasks.rows())
            elif self.path.startswith(f"{LIST}/") and (row := tasks.one(self.path.rpartition("/")[2])):
                self._answer(200, row)
            elif self.path == "/health":
                self._answer(200, {"status": "healthy"})
            else:
                self._answer(404, {"error": {"code": "HTTP_ERROR", "message": "Task not found"}})

        def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            is_list = self.path.rstrip("/") == LIST
            counts[f"{who} {'list' if is_list else 'single'}"] += 1
            counts[f"{who} bytes"] += len(data)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return _listening(Handler)


def make_control(tasks: Tasks, counts: Counter[str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(dict(counts))

        def do_POST(self) -> None:
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            tasks.began = time.time()
            tasks.ends = {remote_id: tasks.began + seconds for remote_id, seconds in wanted.items()}
            self._answer(tasks.ends)

        def _answer(self, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return _listening(Handler)


def _listening(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        request_queue_size = 1024
        daemon_threads = True

    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _naive(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def main() -> None:
    tasks, counts = Tasks(int(sys.argv[1])), Counter[str]()
    servers = [make_server(tasks, counts, who) for who in ("portal", "loop")]
    addresses = [
        f"http://127.0.0.1:{server.server_address[1]}" for server in (*servers, make_control(tasks, counts))
    ]
    print(json.dumps(addresses), flush=True)
    sys.stdin.read()  # until whoever started us closes the pipe


if __name__ == "__main__":
    main()
