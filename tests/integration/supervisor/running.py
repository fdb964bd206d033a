"""A whole portal in processes of its own, for tests that kill parts of it."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[3]
BACK_WITHIN_SECONDS = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], within: float, what: str) -> float:
    """Seconds until `condition` held; fails after `within`."""
    started = time.monotonic()
    while time.monotonic() - started < within:
        if condition():
            return time.monotonic() - started
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {within} s")


class RunningPortal:
    """`manage.py serve` on `data_dir`. With PORTAL_DATABASE_URL set, on a database of its own there."""

    def __init__(
        self,
        data_dir: Path,
        *,
        demo: bool = True,
        demo_time_scale: float = 1.0,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.output: list[str] = []
        self._demo = demo
        self._scale = demo_time_scale
        self._more_environ = environ or {}
        self._server_url = os.environ.get("PORTAL_DATABASE_URL", "")
        self._database = f"kill_{uuid.uuid4().hex}" if self._server_url else ""
        if self._database:
            self._on_server(f"CREATE DATABASE {self._database}")
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        base = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        base["PORTAL_DATA_DIR"] = str(self.data_dir)
        if self._database:
            base["PORTAL_DATABASE_URL"] = re.sub(r"/[^/]*$", f"/{self._database}", self._server_url)
            base["PORTAL_REDIS_URL"] = os.environ["PORTAL_REDIS_URL"]
        return base | self._more_environ

    def start(self, within: float = 60.0) -> float:
        """Seconds until the address was printed."""
        command = [sys.executable, "manage.py", "serve", "--port", str(self.port)]
        if self._demo:
            command += ["--demo", "--no-demo-data", "--demo-time-scale", str(self._scale)]
        self.output = []
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        return wait_until(
            lambda: "runs at" in self.text or self.process.poll() is not None, within, f"start\n{self.text}"
        )

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout:
            self.output.append(line)

    @property
    def text(self) -> str:
        return "".join(self.output)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the portal's own database, read beside it."""
        if self._database:
            import psycopg

            with psycopg.connect(self.environ["PORTAL_DATABASE_URL"], autocommit=True) as connection:
                return connection.execute(sql).fetchall()
        with contextlib.closing(sqlite3.connect(self.data_dir / "portal.sqlite3", timeout=10)) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        """Change the portal's own database beside it."""
        if self._database:
            import psycopg

            with psycopg.connect(self.environ["PORTAL_DATABASE_URL"], autocommit=True) as connection:
                connection.execute(sql)
            return
        with contextlib.closing(sqlite3.connect(self.data_dir / "portal.sqlite3", timeout=10)) as connection:
            connection.execute(sql)
            connection.commit()

    def _on_server(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(sql)

    def processes(self) -> list[psutil.Process]:
        """Everything below the supervisor."""
        if self.process is None:
            return []
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def find(self, role: str) -> psutil.Process:
        """One process by what it does: web, demo, or `cluster:part` (part main, sentinel, monitor, pusher, worker)."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if role == role_of(process):
                    return process
        raise LookupError(f"no process is {role}: {sorted(map(role_of, self.processes()))}")

    def healthy_since(self, moment: float) -> bool:
        """Whether everything has worked after `moment` (Unix seconds): web, both queues to the end, polling."""
        try:
            with urllib.request.urlopen(self.url + "/healthz", timeout=2) as answer:
                if answer.status != 200:
                    return False
        except (OSError, urllib.error.URLError):
            return False
        for cluster in ("portal", "watch"):
            if not self._newer(
                "SELECT max(stopped) FROM django_q_task "
                f"WHERE func = 'tasks_app.jobs.ping' AND cluster = '{cluster}'",
                moment,
            ):
                return False
        return not self._demo or self._newer("SELECT max(last_pass_at) FROM tasks_app_source", moment)

    def _newer(self, sql: str, moment: float) -> bool:
        from datetime import UTC, datetime

        value = self.query(sql)[0][0]
        if value is None:
            return False
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at.timestamp() > moment

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[float, list[psutil.Process]]:
        """Seconds until the supervisor ended, and the processes it left behind (there must be none)."""
        family = self.processes()
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        seconds = time.monotonic() - started
        _, alive = psutil.wait_procs(family, timeout=1)
        return seconds, alive

    def clean_up(self) -> None:
        family = self.processes()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=5)
        if self._database:
            self._on_server(f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)")


def role_of(process: psutil.Process) -> str:
    """From the command line and, for django-q2's processes, from the title they give themselves."""
    try:
        line = " ".join(process.cmdline())
        if " web " in line:
            return "web"
        if "demo.proxmox" in line:
            return "demo"
        if "demo.generation" in line:
            return "studio"
        if "qcluster" not in line:
            return line or "ended"
        cluster = process.environ().get("Q_CLUSTER_NAME", "?")
        # The titles are cut to the length of the first command line: "qcluster Process-<hex> monito".
        doing = re.search(r"Process-\w{32} (\w+)", line)
        if doing is None:
            parent = process.parent()
            below = parent is not None and "qcluster" in " ".join(parent.cmdline())
            return f"{cluster}:{'sentinel' if below else 'main'}"
        if doing[1].startswith("moni"):
            return f"{cluster}:monitor"
        if doing[1].startswith("push"):
            return f"{cluster}:pusher"
        # In the watch cluster only the loops are inside a job for longer than an instant.
        return (
            f"{cluster}:loop" if cluster == "watch" and doing[1].startswith("proc") else f"{cluster}:worker"
        )
    except psutil.Error:
        return "ended"


@contextlib.contextmanager
def running(data_dir: Path, **options: Any) -> Iterator[RunningPortal]:
    """A started portal whose every part has worked once."""
    portal = RunningPortal(data_dir, **options)
    try:
        portal.start()
        started = time.time()
        wait_until(lambda: portal.healthy_since(started), 30, f"first health\n{portal.text}")
        yield portal
    finally:
        portal.clean_up()
