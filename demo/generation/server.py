"""The service over HTTP, as the task API's documentation has it; a bearer key when one is set."""

import json
import mimetypes
import shutil
import threading
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.generation.orders import PARSERS, InvalidOrder
from demo.generation.studio import Studio

BODY_LIMIT = 48 * 1024 * 1024
IDLE_SECONDS = 30.0


class GenerationServer(ThreadingHTTPServer):
    """Serve with `start`, end with `stop`. `key` "" lets everybody in."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], state_dir: Path, *, key: str = "", time_scale: float = 1.0
    ) -> None:
        super().__init__(address, _Handler)
        self.key = key
        self.studio = Studio(state_dir, time_scale=time_scale)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> "GenerationServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.studio.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are everyday life."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: GenerationServer

    def do_GET(self) -> None:
        path = self._path()
        if path == "/health":
            self._json(200, {"status": "healthy", "service": "demo-studio", "version": "1"})
        elif not self._may():
            self._error(401, "UNAUTHORIZED", "A valid key is needed.")
        elif path == "/api/v1/tasks":
            self._json(200, self.server.studio.rows())
        elif path.startswith("/api/v1/tasks/"):
            task = self.server.studio.get(path.rpartition("/")[2])
            if task is None:
                self._error(404, "NOT_FOUND", "Task not found")
            else:
                self._json(200, self._absolute(task.as_object()))
        elif path.startswith("/files/"):
            self._file(path.rpartition("/")[2])
        else:
            self._error(404, "NOT_FOUND", "There is nothing here.")

    def do_POST(self) -> None:
        path = self._path()
        body = self._body()
        if body is None:
            return
        if not self._may():
            self._error(401, "UNAUTHORIZED", "A valid key is needed.")
        elif path not in PARSERS:
            self._error(404, "NOT_FOUND", "There is nothing here.")
        else:
            self._submit(path, body)

    def do_DELETE(self) -> None:
        path = self._path()
        task_id = path.removeprefix("/api/v1/tasks/")
        if not self._may():
            self._error(401, "UNAUTHORIZED", "A valid key is needed.")
        elif self.server.studio.get(task_id) is None:
            self._error(404, "NOT_FOUND", "Task not found")
        elif self.server.studio.cancel(task_id):
            message = f"Task {task_id} has been cancelled"
            self._json(200, {"success": True, "message": message, "task_id": task_id})
        else:
            self._error(409, "CANNOT_CANCEL", f"Task {task_id} cannot be cancelled: it has finished.")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the portal asks every few seconds."""

    def _submit(self, path: str, body: bytes) -> None:
        try:
            order = json.loads(body)
            if not isinstance(order, dict):
                raise ValueError
        except (ValueError, RecursionError):
            self._error(400, "BAD_REQUEST", "The body is not a JSON object.")
            return
        try:
            task = self.server.studio.submit(path, order)
        except InvalidOrder as error:
            self._error(422, "VALIDATION_ERROR", str(error), error.fields)
            return
        message = f"Task submitted. Poll /api/v1/tasks/{task.task_id} for status."
        self._json(200, {"task_id": task.task_id, "status": "pending", "message": message})

    def _absolute(self, task: dict[str, Any]) -> dict[str, Any]:
        """The address of the file as the client reached us."""
        if not task["result"]:
            return task
        base = f"http://{self.headers.get('Host') or urlsplit(self.server.url).netloc}"
        inner = {
            name: f"{base}{value}" if name.endswith("_url") else value
            for name, value in task["result"]["result"].items()
        }
        return {**task, "result": {**task["result"], "result": inner}}

    def _file(self, name: str) -> None:
        file = self.server.studio.files / Path(name).name
        try:
            size, content = file.stat().st_size, file.open("rb")
        except OSError:
            self._error(404, "NOT_FOUND", "The file is not here any more.")
            return
        with content:
            self.send_response(200)
            self.send_header("Content-Type", mimetypes.guess_type(file.name)[0] or "application/octet-stream")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            shutil.copyfileobj(content, self.wfile)

    def _path(self) -> str:
        path = self.path.partition("?")[0]
        return path.rstrip("/") or "/"

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.server.key or compare_digest(given.encode(), self.server.key.encode())

    def _body(self) -> bytes | None:
        """None when the request has been refused for it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self._error(
                413 if length.isdigit() else 411, "BAD_REQUEST", "The body has no length or is too large."
            )
            return None
        return self.rfile.read(int(length))

    def _error(self, status: int, code: str, message: str, details: dict[str, str] | None = None) -> None:
        self._json(status, {"error": {"code": code, "message": message, "details": details or {}}})

    def _json(self, status: int, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
