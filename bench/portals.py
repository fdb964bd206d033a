"""The whole portal in processes of its own, as `manage.py serve` starts it, on a data directory that is thrown away."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tasks_app.sources.proxmox import Connection

ROOT = Path(__file__).resolve().parents[1]
UP_WITHIN_SECONDS = 60.0
STOP_WITHIN_SECONDS = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environ(data_dir: Path, **settings: str) -> dict[str, str]:
    """Ours without settings of some other portal; on SQLite in `data_dir`, with `settings` of this run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
    return kept | {"PORTAL_DATA_DIR": str(data_dir), "PORTAL_LOG_LEVEL": "WARNING"} | settings


class Portal:
    """`with Portal(source=cluster.portal) as portal:` serves until the end. `demo` starts its own demo cluster.

    `prepare` is a Python module with its arguments that fills the migrated database before the start.
    """

    def __init__(
        self,
        *,
        source: Connection | None = None,
        demo: bool = False,
        environ: Mapping[str, str] | None = None,
        prepare: Sequence[str] = (),
    ) -> None:
        self._source, self._demo, self._prepare = source, demo, prepare
        self.data_dir = Path(tempfile.mkdtemp(prefix="portal-bench-"))
        self.environ = clean_environ(self.data_dir, **(environ or {}))
        self.database = self.data_dir / "portal.sqlite3"
        self.port = free_port()
        self._output: list[str] = []

    def __enter__(self) -> Self:
        try:
            if self._source is not None:
                self._manage("migrate", "--verbosity", "0")
                self._add(self._source)
            if self._prepare:
                self._manage("migrate", "--verbosity", "0")
                filling = [sys.executable, "-m", *self._prepare]
                subprocess.run(filling, cwd=ROOT, env=self.environ, check=True, timeout=120)
            command = [sys.executable, "manage.py", "serve", "--port", str(self.port)]
            self.process = subprocess.Popen(
                [*command, "--demo"] if self._demo else command,
                cwd=ROOT,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            threading.Thread(target=self._read, daemon=True).start()
            self._wait_until_up()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_WITHIN_SECONDS)
        self._clean_up()

    @property
    def output(self) -> str:
        return "".join(self._output)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the portal's database, read beside it."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def _manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environ, check=True, capture_output=True, timeout=60)

    def _add(self, source: Connection) -> None:
        secret = self.data_dir / "token"
        secret.touch(0o600)
        secret.write_text(source.token_secret)
        options = ["--url", source.urls[0], "--fingerprint", source.fingerprints[0]]
        options += ["--token-id", source.token_id, "--token-secret-file", str(secret)]
        self._manage("add_source", "proxmox", "--name", "bench", *options)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output.append(line)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while "runs at" not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The portal did not start.\n{self.output}")
            time.sleep(0.1)

    def _clean_up(self) -> None:
        process: subprocess.Popen[str] | None = getattr(self, "process", None)
        if process is not None and process.poll() is None:
            family = self.processes()
            for member in family:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            process.wait(STOP_WITHIN_SECONDS)
        shutil.rmtree(self.data_dir, ignore_errors=True)
