"""HTTPS as pveproxy speaks it: error texts in the reason phrase, empty bodies, odd headers, and faults."""

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from demo.proxmox.api import ApiError, Reply, find_route
from demo.proxmox.cluster import Cluster
from demo.proxmox.dispatch import answer
from demo.proxmox.faults import Fault

POST_LIMIT = 512 * 1024
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 60.0
HANG_SECONDS = 3600.0
_GARBAGE = b'{"data":[{"upid":"UPID:pve1:0000'


class PveServer(ThreadingHTTPServer):
    """One address of the cluster; several may serve the same cluster."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], cluster: Cluster, context: ssl.SSLContext) -> None:
        self.cluster = cluster
        self.context = context
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, PveHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        plain.settimeout(HANDSHAKE_SECONDS)
        # The handshake belongs into the connection's own thread: a silent client must not block the others.
        wrapped = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        with self._open_lock:
            self._open.add(wrapped)
        return wrapped, address

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up or speak no TLS are everyday life; a fault of the demo itself is told."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._open_lock:
            left, self._open = self._open, set()
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class PveHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS
    server: PveServer

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ssl.SSLError, ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET

    def do_HEAD(self) -> None:
        self._send(501, f"method '{self.command}' not available", b"")

    do_OPTIONS = do_PATCH = do_HEAD

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a demo that polls itself every second would fill the terminal."""

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        short = path.removeprefix("/api2/json").removeprefix("/api2/extjs")
        body = self._read_body(short)
        if body is None:
            return
        extjs = path.startswith("/api2/extjs/")
        form = path.split("/")[2] if path.startswith("/api2/") and path.count("/") > 2 else ""
        if form not in ("json", "extjs") and not short.startswith("/demo/"):
            text = (
                f"no formatter for uri /{'/'.join(path.split('/')[3:])}, {form}"
                if form
                else f"no such file '{path}'"
            )
            self._send(501 if form else 404, text, text.encode(), "text/plain")
            return
        faults = [] if short.startswith("/demo/") else self.server.cluster.faults.take(self.command, short)
        if self._spoil(faults):
            return
        self._answer(short, query, body, extjs, faults)

    def _read_body(self, short: str) -> bytes | None:
        """None when the request has been refused for its body."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._refuse("chunked transfer encoding not supported")
            return None
        length = int(self.headers.get("Content-Length") or 0)
        if length and self.command in ("GET", "DELETE"):
            self._refuse(f"Unexpected content for method '{self.command}'")
            return None
        if length > POST_LIMIT and not short.startswith("/demo/"):
            self._refuse("for data too large")
            return None
        return self.rfile.read(length) if length else b""

    def _refuse(self, text: str) -> None:
        self._send(501, text, text.encode(), "text/plain")

    def _answer(self, short: str, query: str, body: bytes, extjs: bool, faults: list[Fault]) -> None:
        cluster = self.server.cluster
        found = find_route(self.command, short)
        cluster.requests[f"{self.command} {found[0].template if found else '(unknown)'}"] += 1
        try:
            reply, entry = answer(cluster, self.command, short, query, dict(self.headers.items()), body)
        except ApiError as error:
            self._pause(error.delay)
            self._send_error(error, extjs)
            return
        self._pause(reply.delay)
        headers = dict(reply.headers)
        content = reply.raw if reply.raw is not None else _encode(reply, extjs)
        for fault in faults:
            if fault.kind == "garbage":
                content = _GARBAGE
            elif fault.kind == "huge":
                content = content[:-1] + b" " * int(fault.value or 64 * 1024**2) + content[-1:]
        kind = headers.pop("Content-Type", "application/json;charset=UTF-8")
        self._send(200, "OK", content, kind, protected=entry.protected, extra=headers)

    def _spoil(self, faults: list[Fault]) -> bool:
        """Apply what happens before the call; true when there is nothing left to answer."""
        for fault in faults:
            if fault.kind == "latency":
                self._pause(fault.value)
            elif fault.kind == "hang":
                self._pause(fault.value or HANG_SECONDS)
                self.close_connection = True
                return True
            elif fault.kind == "drop":
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return True
            elif fault.kind == "unreachable":
                self._send(595, fault.text or "Connection refused", b"", "")
                return True
            elif fault.kind == "status":
                text = fault.text or "demo fault"
                self._send(
                    int(fault.value or 500), text, json.dumps({"data": None, "message": text}).encode()
                )
                return True
        return False

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self.server.stopping.wait(seconds)

    def _send_error(self, error: ApiError, extjs: bool) -> None:
        reason = error.text.rstrip("\n")
        if not error.body:
            self._send(error.status, reason, b"", "")
            return
        message = error.text if error.status == 501 else f"{error.text}\n"
        content: dict[str, Any] = {"data": None, "message": message}
        if error.errors:
            content["errors"] = error.errors
        if extjs:
            content |= {"success": 0, "status": str(error.status)}
            self._send(200, "OK", _dump(content))
            return
        self._send(error.status, reason, _dump(content))

    def _send(
        self,
        status: int,
        reason: str,
        content: bytes,
        kind: str = "application/json;charset=UTF-8",
        *,
        protected: bool = False,
        extra: dict[str, str] | None = None,
    ) -> None:
        """Errors close the connection. Protected calls carry two Connection headers, the daemon's and the proxy's."""
        skew = self.server.cluster.faults.find("clock_skew")
        date = formatdate(time.time() + (skew.value if skew else 0.0), usegmt=True)
        keep = status == 200
        connection = (["close"] if protected or not keep else []) + (["Keep-Alive"] if keep else [])
        line = reason.partition("\n")[0].replace("\r", " ")
        lines = [f"HTTP/1.1 {status} {line}", "Cache-Control: max-age=0"]
        lines += [f"Connection: {value}" for value in connection]
        lines += [f"Date: {date}", "Pragma: no-cache", "Server: pve-api-daemon/3.0"]
        lines += [f"Content-Length: {len(content)}"]
        if kind:
            lines.append(f"Content-Type: {kind}")
        lines.append(f"Expires: {date}")
        lines += [f"{name}: {value}" for name, value in (extra or {}).items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        if not keep:
            self.close_connection = True
        self.wfile.write(head.encode("utf-8", "replace") + content)
        self.wfile.flush()


def _encode(reply: Reply, extjs: bool) -> bytes:
    content: dict[str, Any] = {"data": reply.data}
    if reply.total is not None:
        content["total"] = reply.total
    if extjs:
        content["success"] = 1
    return _dump(content)


def _dump(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
