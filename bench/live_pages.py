"""`python -m bench.live_pages [--clients 1000] [--seconds 20]`: many open pages on one web process.

Three processes: the web server (as `manage.py web`, with its queries counted), a writer that commits one or two
changes a second as the poller does, and this one, which holds the streams. Measured from just before the commit to
the bytes in the client.
"""

import argparse
import asyncio
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.tables import percentile, print_goals, print_table

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
FEW = 10  # the other side of the comparison
PEOPLE = 50
TASKS = 20
UP_WITHIN_SECONDS = 30.0
SETTLE_SECONDS = 2.0  # after the last stream was opened
ID = re.compile(rb"^id: (\d+)\nevent: (?!beat)", re.MULTILINE)


@dataclass
class Figures:
    """One run with `clients` open pages; times in milliseconds."""

    clients: int
    events: int = 0
    missing: int = 0
    latencies: list[float] = field(default_factory=list)
    cpu_percent: float = 0.0
    queries_per_second: float = 0.0
    memory_kb: float = 0.0


def main(argv: list[str]) -> bool:
    """Measure and print; whether the goals were met."""
    parser = argparse.ArgumentParser(prog="bench.live_pages", description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.serve:
        return serve(given.serve)
    if given.write:
        return write(given.write)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    data_dir = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    try:
        return measure_all(data_dir, given.clients, given.seconds)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def measure_all(data_dir: Path, clients: int, seconds: float) -> bool:
    for name in [name for name in os.environ if name.startswith("PORTAL_")]:
        del os.environ[name]
    os.environ |= {
        "PORTAL_DATA_DIR": str(data_dir),
        "PORTAL_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
    sessions, task = make_rows()
    runs = [measure(data_dir, number, seconds, sessions, task) for number in (FEW, clients)]
    print_table(
        f"{clients} open pages, 1 to 2 changes a second, {seconds:g} s",
        [
            "pages",
            "changes",
            "missing",
            "p50 ms",
            "p95 ms",
            "max ms",
            "web % of a core",
            "queries/s",
            "KB/page",
        ],
        [
            [
                str(run.clients),
                str(run.events),
                str(run.missing),
                *(f"{percentile(run.latencies, share):.0f}" for share in (50, 95, 100)),
                f"{run.cpu_percent:.1f}",
                f"{run.queries_per_second:.1f}",
                f"{run.memory_kb:.0f}",
            ]
            for run in runs
        ],
    )
    few, many = runs
    return print_goals(
        [
            ("commit to browser, p95", percentile(many.latencies, 95) / 1000, 0.5, "s"),
            ("web process", many.cpu_percent, 30, "% of a core"),
            (
                f"queries a second with {many.clients} pages as a multiple of those with {FEW}",
                many.queries_per_second / few.queries_per_second,
                1.2,
                "times",
            ),
            ("changes that did not arrive", many.missing, 0, ""),
        ]
    )


def make_rows() -> tuple[list[str], int]:
    """Sessions of some people, and the key of a task whose page is open."""
    import django

    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    from tasks_app.models import Grant, Role
    from tests.factories import make_source, make_task

    source = make_source()
    tasks = [make_task(source, percent=0) for _ in range(TASKS)]
    keys = []
    for number in range(PEOPLE):
        user = User.objects.create_user(f"member-{number}")
        Grant.objects.create(user=user, source=source, role=Role.VIEWER)
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        assert session.session_key
        keys.append(session.session_key)
    return keys, tasks[0].pk


def measure(data_dir: Path, clients: int, seconds: float, sessions: list[str], task: int) -> Figures:
    """One web process, `clients` streams, the writer for `seconds`."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    web = subprocess.Popen([sys.executable, "-m", "bench.live_pages", "--serve", str(port)], cwd=ROOT)
    try:
        wait_for_port(port)
        return asyncio.run(_measure(web, data_dir, port, clients, seconds, sessions, task))
    finally:
        web.send_signal(signal.SIGTERM)
        try:
            web.wait(10)
        except subprocess.TimeoutExpired:
            web.kill()
            web.wait()


async def _measure(
    web: "subprocess.Popen[bytes]",
    data_dir: Path,
    port: int,
    clients: int,
    seconds: float,
    sessions: list[str],
    task: int,
) -> Figures:
    process = psutil.Process(web.pid)
    figures = Figures(clients)
    warm = await Reader.open(port, "tasks,dashboard", sessions[0])
    await warm.wait_until_served()
    memory_before = process.memory_info().rss
    readers = [warm]
    for start in range(1, clients, 50):
        batch = range(start, min(start + 50, clients))
        readers += await asyncio.gather(
            *(
                Reader.open(
                    port,
                    f"task:{task}" if number % 4 == 0 else "tasks,dashboard",
                    sessions[number % len(sessions)],
                )
                for number in batch
            )
        )
    for reader in readers:
        await reader.wait_until_served()
    figures.memory_kb = (process.memory_info().rss - memory_before) / 1024 / max(1, clients - 1)
    await asyncio.sleep(SETTLE_SECONDS)

    cpu_before, queries_before, began = sum(process.cpu_times()[:2]), read_count(data_dir), time.monotonic()
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.live_pages", "--write", str(seconds), cwd=ROOT, stdout=subprocess.PIPE
    )
    output, _ = await writer.communicate()
    assert writer.returncode == 0, "the writer failed"
    await asyncio.sleep(SETTLE_SECONDS)
    took = time.monotonic() - began
    figures.cpu_percent = (sum(process.cpu_times()[:2]) - cpu_before) / took * 100
    figures.queries_per_second = (read_count(data_dir) - queries_before) / took

    for line in output.decode().splitlines():
        event, changed, at = int(line.split()[0]), int(line.split()[1]), float(line.split()[2])
        figures.events += 1
        for reader in readers:
            if reader.is_list or changed == task:
                arrived = reader.arrivals.get(event)
                figures.missing += arrived is None
                if arrived is not None:
                    figures.latencies.append((arrived - at) * 1000)
    for reader in readers:
        reader.close()
    return figures


class Reader:
    """One open stream; `arrivals` says when each event id came, on the monotonic clock of the machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_list: bool) -> None:
        self.is_list = is_list
        self.arrivals: dict[int, float] = {}
        self._reader, self._writer = reader, writer
        self._is_served = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, topics: str, session: str) -> "Reader":
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(
            f"GET /live/?topics={topics} HTTP/1.1\r\nHost: {HOST}\r\nCookie: sessionid={session}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n", 1)[0], head
        return cls(reader, writer, topics.startswith("tasks"))

    async def wait_until_served(self) -> None:
        await asyncio.wait_for(self._is_served.wait(), 30)

    async def _read(self) -> None:
        while data := await self._reader.read(65536):
            now = time.monotonic()
            if b"event: beat" in data:
                self._is_served.set()
            for found in ID.finditer(data):
                self.arrivals.setdefault(int(found[1]), now)

    def close(self) -> None:
        self._task.cancel()
        self._writer.close()


def wait_for_port(port: int) -> None:
    until = time.monotonic() + UP_WITHIN_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"The web process did not answer within {UP_WITHIN_SECONDS:g} s.")


def read_count(data_dir: Path) -> int:
    return int((data_dir / "queries").read_text() or 0)


def serve(port: int) -> bool:
    """The web process, with each query counted and the count written to a file four times a second."""
    import django

    django.setup()
    from django.conf import settings
    from django.db.backends.signals import connection_created

    counter = [0]

    def count(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        counter[0] += 1
        return execute(sql, params, many, context)

    def on_connection(connection, **kwargs):  # type: ignore[no-untyped-def]
        if count not in connection.execute_wrappers:  # a thread that connects again keeps its wrappers
            connection.execute_wrappers.append(count)

    def report() -> None:
        path = settings.DATA_DIR / "queries"
        while True:
            draft = path.with_suffix(".draft")
            draft.write_text(str(counter[0]))
            draft.rename(path)
            time.sleep(0.25)

    connection_created.connect(on_connection)
    threading.Thread(target=report, daemon=True).start()
    from portal.web import run_web

    run_web(HOST, port)
    return True


def write(seconds: float) -> bool:
    """Change a task every 0.5 to 1 s; prints event, task and the time just before the commit."""
    import django

    django.setup()
    from django.db import transaction

    from tasks_app.models import Task, TaskEvent

    tasks = list(Task.objects.order_by("pk"))
    chance = random.Random(1)
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        task = tasks[number % len(tasks)]
        number += 1
        with transaction.atomic():
            Task.objects.filter(pk=task.pk).update(percent=min(99, number / 10))
            kind = TaskEvent.Kind.STATE if number % 2 else TaskEvent.Kind.PROGRESS
            event = TaskEvent.objects.create(task_id=task.pk, source_id=task.source_id, kind=kind)
            at = time.monotonic()
        print(event.pk, task.pk, at, flush=True)
        time.sleep(chance.uniform(0.5, 1.0))
    return True


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
