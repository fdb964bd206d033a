"""The demo cluster beside the portal: started as a process of its own, connected like any other source."""

import json
import os
import socket
import sys
import time
from itertools import chain, count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from portal.supervisor.child import Child
from tasks_app.connections import unseal
from tasks_app.models import Source
from tasks_app.services import sources

NAME = "demo"
PREFERRED_PORT = 18006
UP_WITHIN_SECONDS = 20.0


def prepare(state_dir: Path, time_scale: float) -> Child:
    """The child, not started yet. An old connection file is removed: a new one says that it listens."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state_dir / "connection.json").unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "demo.proxmox",
        "--port",
        str(_free_port()),
        "--state-dir",
        str(state_dir),
    ]
    command += ["--time-scale", str(time_scale), "--quiet"]
    return Child(
        "demo cluster",
        command,
        environ={"PYTHONPATH": f"{settings.BASE_DIR}:{os.environ.get('PYTHONPATH', '')}"},
    )


def connect(state_dir: Path, child: Child) -> None:
    """Wait for the demo cluster and make it a source, or give the source its new address."""
    found = _wait_for(state_dir / "connection.json", child)
    known = Source.objects.filter(is_demo=True).first()
    if known is None:
        sources.add_source(
            actor=None,
            name=_free_name(),
            urls=[found["url"]],
            fingerprints=[found["fingerprint"]],
            token_id=found["token_id"],
            token_secret=found["token_secret"],
            is_demo=True,
        )
        return
    sources.change_source(known, actor=None, urls=[found["url"]])
    if known.fingerprints != [found["fingerprint"]]:
        sources.accept_certificate(known, actor=None, fingerprints=[found["fingerprint"]])
    if (known.token_id, unseal(known.token_secret_sealed)) != (found["token_id"], found["token_secret"]):
        sources.replace_token(
            known, actor=None, token_id=found["token_id"], token_secret=found["token_secret"]
        )
    sources.resume_source(known, actor=None)


def disconnect() -> None:
    """Without the demo cluster its source rests instead of failing."""
    for source in Source.objects.watchable().filter(is_demo=True):
        sources.pause_source(source, actor=None)


def _free_port() -> int:
    """The usual port when it is free, so that the address of the source stays the same between starts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_name() -> str:
    """Somebody may have given the name to a source of theirs."""
    taken = set(Source.objects.values_list("name", flat=True))
    names = chain([NAME], (f"{NAME}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _wait_for(path: Path, child: Child) -> dict[str, Any]:
    deadline = time.monotonic() + UP_WITHIN_SECONDS
    while time.monotonic() < deadline and child.is_running:
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        time.sleep(0.05)
    raise CommandError("The demo cluster did not start. Look at the lines above, or start with --no-demo.")
