"""What survives a restart: secrets, guests and tasks, in one SQLite file of the state directory."""

import json
import os
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.proxmox.guests import Guest
from demo.proxmox.tasks import Script, Task
from demo.proxmox.upid import parse_upid

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS guest (vmid INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS task (
    upid TEXT PRIMARY KEY, started REAL NOT NULL, scale REAL NOT NULL, script TEXT NOT NULL,
    ended REAL, status TEXT, shown INTEGER NOT NULL, tail TEXT NOT NULL
);
"""


class Store:
    """Every write is on disk at once as far as a killed process is concerned; the caller holds the lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # A power cut may cost the last seconds of a demo; a kill does not.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)
        for extra in ("-wal", "-shm"):
            side = path.with_name(path.name + extra)
            if side.exists():
                side.chmod(0o600)

    def close(self) -> None:
        self._db.close()

    def read(self, key: str, default: Any = None) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else default

    def write(self, key: str, value: Any) -> None:
        self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def load_guests(self) -> dict[int, Guest]:
        rows = self._db.execute("SELECT vmid, body FROM guest ORDER BY vmid").fetchall()
        return {vmid: Guest(**json.loads(body)) for vmid, body in rows}

    def save_guests(self, *guests: Guest) -> None:
        rows = [(guest.vmid, json.dumps(asdict(guest))) for guest in guests]
        self._db.executemany("REPLACE INTO guest VALUES (?, ?)", rows)

    def delete_guest(self, vmid: int) -> None:
        self._db.execute("DELETE FROM guest WHERE vmid = ?", (vmid,))

    def load_tasks(self) -> list[Task]:
        """Finished ones by their end, then those that were cut off, by their start."""
        tasks = []
        order = "SELECT * FROM task ORDER BY ended IS NULL, ended, started"
        for name, started, scale, script, ended, status, shown, tail in self._db.execute(order):
            upid = parse_upid(name)
            if upid is None:
                continue
            body = json.loads(script)
            body["lines"] = tuple((at, text) for at, text in body["lines"])
            body["stop_lines"] = tuple(body["stop_lines"])
            task = Task(upid, name, started, scale, Script(**body), ended, status, shown, json.loads(tail))
            tasks.append(task)
        return tasks

    def save_tasks(self, *tasks: Task) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(
            "REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    task.name,
                    task.started,
                    task.scale,
                    json.dumps(asdict(task.script)),
                    task.ended,
                    task.status,
                    task.shown,
                    json.dumps(task.tail),
                )
                for task in tasks
            ],
        )
        self._db.execute("COMMIT")

    def end_task(self, task: Task) -> None:
        self._db.execute(
            "UPDATE task SET ended = ?, status = ?, shown = ?, tail = ? WHERE upid = ?",
            (task.ended, task.status, task.shown, json.dumps(task.tail), task.name),
        )

    def delete_tasks(self, *tasks: Task) -> None:
        self._db.executemany("DELETE FROM task WHERE upid = ?", [(task.name,) for task in tasks])
