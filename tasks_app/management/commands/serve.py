"""`manage.py serve`: the whole portal under one supervisor, from an empty directory to a printed address."""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from portal.supervisor import demo
from portal.supervisor.child import Child, stop_all
from portal.supervisor.core import STOP_WITHIN_SECONDS, Supervisor, answers, say
from tasks_app import queue
from tasks_app.polling import watch
from tasks_app.services import setup

logger = logging.getLogger(__name__)

WEB_UP_WITHIN_SECONDS = 30.0
_MANAGE = (sys.executable, str(settings.BASE_DIR / "manage.py"))


class Command(BaseCommand):
    """See `--help`."""

    help = "Prepare the database and run web, workers and (with --demo) the demo cluster until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
        parser.add_argument("--demo", action="store_true", help="also run the demo cluster and connect it")
        parser.add_argument(
            "--no-demo-data",
            action="store_true",
            help="do not fill the demo with a past, items, teams and orders",
        )
        parser.add_argument(
            "--demo-tasks",
            type=int,
            default=50_000,
            help="tasks of the demo's made-up past; 0 for none (50000)",
        )
        parser.add_argument(
            "--demo-time-scale", type=float, default=1.0, help="seconds of the demo per second"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        lock = _lock(settings.DATA_DIR / "serve.lock")
        _check_port(host, port)
        web, *workers = _children(host, port)
        children = [web, *workers]
        try:
            remotes = {}
            if options["demo"]:
                scale = options["demo_time_scale"]
                remotes = {remote: demo.prepare(remote, scale) for remote in demo.REMOTES}
                for child in remotes.values():
                    child.start()  # first: they are up when the database is ready
                children = [*remotes.values(), *children]
            _prepare()
            web.start()
            for remote, child in remotes.items():
                demo.connect(remote, child)
            if not remotes:
                demo.disconnect()
            watch.ensure_watchers()
            queue.enqueue(queue.Job.PICK_UP)
            queue.enqueue(queue.Job.RUN_LEASES)
            for child in workers:
                child.start()
            say(_greeting(host, port))
            if options["demo"] and not options["no_demo_data"]:
                # Not before the first page, which it would slow down.
                seeding = [*_MANAGE, "seed_demo", "--tasks", str(options["demo_tasks"])]
                children.append(Child("demo data", seeding, once=True))
                children[-1].start()
            Supervisor(children, web_address=(host, port), on_tick=watch.ensure_watchers).run()
        except KeyboardInterrupt:  # before the supervisor took the signals over
            pass
        finally:
            stop_all(children, within_seconds=STOP_WITHIN_SECONDS)
            lock.close()
        say("Stopped.")


def _prepare() -> None:
    """In a process of its own: migrations and checks load 20 MiB that the supervisor never needs again."""
    result = subprocess.run([*_MANAGE, "prepare"], check=False)  # noqa: S603
    if result.returncode:
        raise CommandError("The portal could not be prepared; the lines above say why.")


def _children(host: str, port: int) -> list[Child]:
    # All that is written here the web process reads from one variable; the other form of it must not stand beside.
    os.environ.pop("PORTAL_ALLOWED_HOSTS_FILE", None)
    names = [*settings.ALLOWED_HOSTS]
    if host in ("0.0.0.0", "::"):  # noqa: S104
        names += [socket.gethostname(), socket.getfqdn()]
    else:
        names.append(f"[{host}]" if ":" in host else host)
    hosts = ",".join(dict.fromkeys(names))
    return [
        Child(
            "web",
            [*_MANAGE, "web", "--host", host, "--port", str(port)],
            environ={"PORTAL_ALLOWED_HOSTS": hosts},
        ),
        *(
            Child(
                f"workers {name}",
                # The path also makes the command line long enough for the titles that its processes give themselves.
                [*_MANAGE, "qcluster", "--pythonpath", str(settings.BASE_DIR)],
                stop_signal=signal.SIGINT,
                # SPT_NOENV: the titles of the workers must not overwrite what /proc says of their environment.
                environ={"Q_CLUSTER_NAME": name, "SPT_NOENV": "1"},
            )
            for name in (queue.MAIN_CLUSTER, queue.WATCH_CLUSTER)
        ),
    ]


def _lock(path: Path) -> IO[str]:
    """Hold `path` for as long as we run: two supervisors on one data directory would fight."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+")
    except OSError as error:
        raise CommandError(
            f"The data directory {path.parent} cannot be used: {error.strerror or error}. "
            "Give the user who runs the portal a directory of its own with --data-dir."
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise CommandError(
            f"Another portal already runs on {path.parent} (process {file.read().strip() or 'unknown'}). "
            "Stop it first, or choose another directory with --data-dir."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _check_port(host: str, port: int) -> None:
    if not 0 < port < 65536:
        raise CommandError(f"There is no port {port}. Choose one from 1 to 65535, for example --port 8000.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise CommandError(
                f"Port {port} needs root. Choose one above 1023, for example --port 8000."
            ) from None
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {host} port {port}: {error.strerror or error}. Stop what uses it "
                f"(`ss -ltnp 'sport = :{port}'` names it), or choose another with --port."
            ) from None


def _greeting(host: str, port: int) -> str:
    """The address and, while nobody has a password, the one-time link. Waits until the web process answers."""
    deadline = time.monotonic() + WEB_UP_WITHIN_SECONDS
    while not answers((host, port), timeout=1.0) and time.monotonic() < deadline:
        time.sleep(0.1)
    shown = f"[{host}]" if ":" in host else {"0.0.0.0": socket.gethostname()}.get(host, host)  # noqa: S104
    address = settings.BASE_URL or f"http://{shown}:{port}"
    lines = [f"The task portal runs at {address}/"]
    link = setup.make_setup_link()
    connection.close()
    if link:
        lines.append(f"First start: set the admin's password here (works once): {address}{link}")
    lines.append("Stop it with Ctrl-C.")
    return "\n".join(lines)
