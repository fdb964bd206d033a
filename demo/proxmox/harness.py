"""A running demo cluster: certificate, addresses, ticker and life around one `Cluster`."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.proxmox.certificate import ensure_certificate, make_context
from demo.proxmox.cluster import PORTAL_TOKEN, Cluster
from demo.proxmox.faults import Fault
from demo.proxmox.life import Life
from demo.proxmox.load import script_of, start_load
from demo.proxmox.past import write_past
from demo.proxmox.server import PveServer
from demo.proxmox.store import Store
from demo.proxmox.tasks import Task

# The longest the ticker sleeps: how late a fact of the clock reaches the disk, and how often life looks round.
TICK_SECONDS = 1.0


class DemoCluster:
    """`with DemoCluster(time_scale=0.01, life=False) as cluster:` serves on an ephemeral port until the end.

    Without `state_dir` nothing outlives it. `time_scale` multiplies all durations of the cluster.
    """

    def __init__(
        self,
        *,
        time_scale: float = 1.0,
        seed: int = 1,
        life: bool = False,
        past: bool = False,
        state_dir: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._is_temporary = state_dir is None
        self.state_dir = Path(tempfile.mkdtemp(prefix="demo-pve-")) if state_dir is None else state_dir
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(0o700)
        self._store = None if state_dir is None else Store(self.state_dir / "state.sqlite3")
        self.cluster = Cluster(seed=seed, scale=time_scale, store=self._store)
        if past and self.cluster.is_new:
            write_past(self.cluster, seed)
        self._life = Life(self.cluster, seed) if life else None
        self._host, self._port = host, port
        self._servers: list[PveServer] = []
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="demo-pve-ticker", daemon=True)

    def start(self) -> Self:
        path, self.cluster.fingerprint = ensure_certificate(self.state_dir)
        self._context = make_context(path)
        self._listen(self._port)
        self._ticker.start()
        if not self._is_temporary:
            self._write_connection()
        return self

    def stop(self) -> None:
        """Within a second; tasks still running will have died when the cluster starts again."""
        self._stop.set()
        for server in self._servers:
            server.stop()
        if self._ticker.ident is not None:
            self._ticker.join()
        with self.cluster.lock:
            self.cluster.note_alive()
            if self._store:
                self._store.close()
                self.cluster.store = self._store = None
        if self._is_temporary:
            shutil.rmtree(self.state_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # how to reach it

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        return [f"https://{self._host}:{server.server_address[1]}" for server in self._servers]

    @property
    def fingerprint(self) -> str:
        """SHA-256 with colons, as `openssl x509 -fingerprint -sha256` prints it."""
        return self.cluster.fingerprint

    @property
    def token_id(self) -> str:
        return PORTAL_TOKEN

    @property
    def token_secret(self) -> str:
        return self.cluster.access.tokens[PORTAL_TOKEN].secret

    def add_address(self) -> str:
        """One more port of the same cluster, as a second node would offer it; answers its URL."""
        self._listen(0)
        return self.urls[-1]

    def close_address(self, url: str) -> None:
        server = self._servers.pop(self.urls.index(url))
        server.stop()

    def change_certificate(self) -> str:
        """New key and certificate on the same ports; answers the new fingerprint."""
        path, self.cluster.fingerprint = ensure_certificate(self.state_dir, renew=True)
        self._context = make_context(path)
        ports = [int(server.server_address[1]) for server in self._servers]
        for server in self._servers:
            server.stop()
        self._servers = []
        for port in ports:
            self._listen(port)
        return self.fingerprint

    # what a test does to it

    def add_user(self, user: str, password: str, *roles: str, path: str = "/") -> None:
        with self.cluster.lock:
            self.cluster.access.passwords[user] = password
            self.cluster.access.grant(user, path, *roles)

    def add_token(
        self, user: str, name: str, roles: dict[str, Sequence[str]], *, privsep: bool = True
    ) -> str:
        """The secret of a new token; `roles` maps a path to the roles of user and token on it."""
        authid = f"{user}!{name}"
        with self.cluster.lock:
            secret = self.cluster.access.add_token(authid, privsep=privsep)
            for path, names in roles.items():
                self.cluster.access.grant(user, path, *names)
                self.cluster.access.grant(authid, path, *names)
        return secret

    def start_task(
        self,
        *,
        type: str = "qmstart",
        node: str = "pve1",
        id: str = "100",
        user: str = "root@pam",
        lines: Sequence[tuple[float, str]] = (),
        end: str = "OK",
        seconds: float | None = None,
        ignores_stop: bool = False,
        started: float | None = None,
        pid: int | None = None,
    ) -> str:
        """A scripted task; `lines` are (seconds since the line before, text). Answers the UPID."""
        script = script_of(lines, end, seconds=seconds, ignores_stop=ignores_stop)
        with self.cluster.lock:
            task = self.cluster.start_task(
                type=type, id=id, user=user, node=node, build=script, started=started, pid=pid
            )
            return task.name

    def start_load(
        self, count: int, seconds: float, *, moving: bool = True, spread: float = 0.0
    ) -> list[str]:
        with self.cluster.lock:
            return [
                task.name for task in start_load(self.cluster, count, seconds, moving=moving, spread=spread)
            ]

    def kill_task(self, upid: str) -> None:
        with self.cluster.lock:
            self.cluster.kill_task(self.cluster.tasks[upid])

    def fault(
        self,
        kind: str,
        *,
        value: float = 0.0,
        path: str = "*",
        method: str = "",
        subject: str = "",
        text: str = "",
        times: int = 0,
    ) -> None:
        """Bring a fault about; the kinds are in `faults.KINDS`."""
        self.cluster.faults.add(Fault(kind, value, path, method, subject, text, times))
        self.cluster.apply_conditions()

    def clear_faults(self, kind: str = "") -> None:
        self.cluster.faults.clear(kind)
        self.cluster.apply_conditions()

    @property
    def requests(self) -> dict[str, int]:
        """How often each call was made, by method and path pattern: `GET /nodes/{node}/tasks`."""
        return dict(self.cluster.requests)

    @property
    def tasks(self) -> dict[str, Task]:
        with self.cluster.lock:
            self.cluster.settle()
            return dict(self.cluster.tasks)

    def _listen(self, port: int) -> None:
        server = PveServer((self._host, port), self.cluster, self._context)
        self._servers.append(server)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="demo-pve", daemon=True
        ).start()

    def _tick(self) -> None:
        while not self._stop.is_set():
            with self.cluster.lock:
                due = self.cluster.settle()
                if self._life:
                    self._life.look_round()
                self.cluster.note_alive()
                now = self.cluster.now()
            wait = TICK_SECONDS if due is None else min(TICK_SECONDS, max(0.02, due - now))
            self._stop.wait(wait)

    def _write_connection(self) -> None:
        """connection.json appears whole, and only once the port answers."""
        path = self.state_dir / "connection.json"
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(
                {
                    "url": self.url,
                    "fingerprint": self.fingerprint,
                    "token_id": self.token_id,
                    "token_secret": self.token_secret,
                },
                file,
                indent=1,
            )
        part.replace(path)
