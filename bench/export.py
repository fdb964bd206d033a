"""Exports of 1,000,000 audit entries and tasks from the real web server: rows a second, and the memory it needs.

The web process is the portal's own (`manage.py web`); its peak is what Linux counted (VmHWM), set back before each
export. SQLite, or a database of its own on the PostgreSQL server of PORTAL_DATABASE_URL.
"""

import argparse
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.databases import throw_away_database
from bench.portals import ROOT, UP_WITHIN_SECONDS, free_port
from bench.tables import print_goals, print_table

if TYPE_CHECKING:
    from tasks_app.models import AuditEntry

MEMORY_LIMIT_MB = 200.0
BATCH = 2000
READ_BYTES = 1024 * 1024
FORMATS = ("csv", "jsonl", "syslog", "cef")
MB = 1024**2


@dataclass
class Run:
    """One export; `idle_mb` is the process before it."""

    what: str
    rows: int
    bytes: int
    seconds: float
    first_byte_seconds: float
    idle_mb: float
    peak_mb: float


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench export", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tasks", type=int, help="as many as rows, without a number")
    options = parser.parse_args(arguments)
    tasks = options.rows if options.tasks is None else options.tasks
    with throw_away_database() as engine:
        session = _fill(options.rows, tasks)
        with _web() as server:
            runs = [_export(server, session, "audit", format) for format in FORMATS]
            runs.append(_export(server, session, "audit", "jsonl", "&actor=member-7", "one person in 40"))
            runs.append(_export(server, session, "audit", "jsonl", "&result=failed", "none of them"))
            if tasks:
                runs += [_export(server, session, "history", format) for format in FORMATS]
    _report(runs, engine)
    return print_goals([(run.what, run.peak_mb, MEMORY_LIMIT_MB, "MB") for run in runs])


def _report(runs: Sequence[Run], engine: str) -> None:
    head = ["Export", "rows", "MB", "seconds", "rows/s", "first byte ms", "idle MB", "peak MB"]
    rows = [
        [
            run.what,
            f"{run.rows:,}",
            f"{run.bytes / MB:,.0f}",
            f"{run.seconds:.1f}",
            f"{run.rows / run.seconds:,.0f}",
            f"{run.first_byte_seconds * 1000:.0f}",
            f"{run.idle_mb:.0f}",
            f"{run.peak_mb:.0f}",
        ]
        for run in runs
    ]
    print_table(f"Exports from the web server, {engine}", head, rows)


def _fill(entries: int, tasks: int) -> str:
    """Rows; the key of a session of an admin."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.utils.timezone import now

    from bench.history_rows import build

    at, began = now(), time.monotonic()
    if tasks:
        build(tasks, at)
        print(f"{tasks} tasks written in {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    _write_entries(entries, at)
    print(f"{entries} audit entries written in {time.monotonic() - began:.0f} s", flush=True)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # what autovacuum has long done in real life
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("exporter"))
    return client.cookies["sessionid"].value


def _write_entries(count: int, at: datetime) -> None:
    """A chain that verifies, an entry each half minute."""
    from tasks_app.audit.chain import seal
    from tasks_app.models import AuditEntry, AuditHead
    from tasks_app.models.audit import GENESIS

    head, _ = AuditHead.objects.get_or_create(pk=AuditHead.KEY, defaults={"hash": GENESIS})
    hash, first = head.hash, head.number + 1
    for begin in range(first, first + count, BATCH):
        batch = []
        for number in range(begin, min(begin + BATCH, first + count)):
            entry = _entry(number, at - timedelta(seconds=30 * (first + count - number)))
            entry.previous_hash, entry.hash = hash, seal(entry, hash)
            hash = entry.hash
            batch.append(entry)
        AuditEntry.objects.bulk_create(batch)
    AuditHead.objects.filter(pk=AuditHead.KEY).update(number=first + count - 1, hash=hash)


def _entry(number: int, at: datetime) -> "AuditEntry":
    from tasks_app.models import AuditEntry

    return AuditEntry(
        number=number,
        at=at,
        actor_id=number % 40,
        actor_name=f"member-{number % 40}",
        action="machine.extend" if number % 3 else "submission.submit",
        result="refused" if number % 17 == 0 else "done",
        target_kind="machine",
        target_id=str(number % 5000),
        target_name=f"web-{number % 5000} of Jörg",
        source_name=f"prod-{number % 3}",
        request_id=f"{number:032x}",
        ip="10.20.30.40" if number % 2 else "2001:db8::7",
        user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36",
        data={
            "before": {"lease_ends_at": "2026-11-01T00:00:00+00:00"},
            "after": {"lease_ends_at": "2026-12-01T00:00:00+00:00"},
            "reason": "The course goes on",
        },
    )


@dataclass
class _Server:
    port: int
    pid: int


@contextlib.contextmanager
def _web() -> Iterator[_Server]:
    port = free_port()
    command = [sys.executable, "manage.py", "web", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ))
    try:
        until = time.monotonic() + UP_WITHIN_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("The web process did not start.")
            time.sleep(0.2)
        yield _Server(port, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _export(server: _Server, session: str, page: str, format: str, query: str = "", note: str = "") -> Run:
    """Read one export to its end, as fast as it comes."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # sets the peak back to what it has now
    idle_mb = _memory_mb(server.pid, "VmRSS")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    began = time.monotonic()
    path = f"/{page}/export?format={format}{query}"
    connection.request("GET", path, headers={"Cookie": f"sessionid={session}", "Host": "localhost"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    first_byte = time.monotonic() - began
    rows = size = 0
    while piece := answer.read(READ_BYTES):
        rows += piece.count(b"\n")
        size += len(piece)
    seconds = time.monotonic() - began
    connection.close()
    what = f"{'audit entries' if page == 'audit' else 'tasks'}, {format}{f', {note}' if note else ''}"
    run = Run(what, rows, size, seconds, first_byte, idle_mb, _memory_mb(server.pid, "VmHWM"))
    print(f"  {what}: {rows:,} rows in {seconds:.0f} s, peak {run.peak_mb:.0f} MB", flush=True)
    return run


def _memory_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
