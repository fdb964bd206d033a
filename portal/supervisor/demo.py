"""The demo's remotes beside the portal, processes of their own, connected like any other source.

A cluster (`demo.proxmox`) and a service that renders videos and pictures (`demo.generation`).
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from portal.supervisor import studio
from portal.supervisor.child import Child
from tasks_app.connections import unseal
from tasks_app.models import Source
from tasks_app.services import generation_sources, sources

UP_WITHIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Remote:
    """One server of the demo. `name` is that of its source; its state lies in the folder `folder` of the data."""

    name: str
    module: str
    folder: str
    port: int
    kind: str
    connect: Callable[[Source | None, str, dict[str, Any]], None]

    @property
    def state_dir(self) -> Path:
        return Path(settings.DATA_DIR) / self.folder

    @property
    def source(self) -> Source | None:
        return Source.objects.filter(is_demo=True, kind=self.kind).first()


def prepare(remote: Remote, time_scale: float) -> Child:
    """The child, not started yet. An old connection file is removed: a new one says that it listens."""
    remote.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (remote.state_dir / "connection.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", remote.module, "--port", str(_free_port(remote.port)), "--quiet"]
    command += ["--state-dir", str(remote.state_dir), "--time-scale", str(time_scale)]
    return Child(
        remote.name,
        command,
        environ={"PYTHONPATH": f"{settings.BASE_DIR}:{os.environ.get('PYTHONPATH', '')}"},
    )


def connect(remote: Remote, child: Child) -> None:
    """Wait for the remote and make it a source, or give the source its new address."""
    found = _wait_for(remote.state_dir / "connection.json", child)
    remote.connect(remote.source, remote.name, found)


def disconnect() -> None:
    """Without their servers the demo's sources rest instead of failing."""
    for source in Source.objects.watchable().filter(is_demo=True):
        sources.pause_source(source, actor=None)


def _connect_cluster(known: Source | None, name: str, found: dict[str, Any]) -> None:
    if known is None:
        sources.add_source(
            actor=None,
            name=_free_name(name),
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


def _connect_studio(known: Source | None, name: str, found: dict[str, Any]) -> None:
    if known is None:
        generation_sources.add_generation_source(
            actor=None,
            kind=STUDIO.kind,
            name=_free_name(name),
            url=found["url"],
            key=found["key"],
            settings=studio.SETTINGS,
            is_demo=True,
        )
        return
    generation_sources.change_generation_source(known, actor=None, url=found["url"])
    if unseal(known.token_secret_sealed) != found["key"]:
        generation_sources.replace_generation_key(known, actor=None, key=found["key"])
    sources.resume_source(known, actor=None)


CLUSTER = Remote("demo", "demo.proxmox", "demo", 18006, Source.PROXMOX, _connect_cluster)
STUDIO = Remote("demo-studio", "demo.generation", "demo-generation", 18007, "task_api", _connect_studio)
REMOTES = (CLUSTER, STUDIO)


def _free_port(preferred: int) -> int:
    """The usual port when it is free, so that the address of the source stays the same between starts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_name(wanted: str) -> str:
    """Somebody may have given the name to a source of theirs."""
    taken = set(Source.objects.values_list("name", flat=True))
    names = chain([wanted], (f"{wanted}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _wait_for(path: Path, child: Child) -> dict[str, Any]:
    deadline = time.monotonic() + UP_WITHIN_SECONDS
    while time.monotonic() < deadline and child.is_running:
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        time.sleep(0.05)
    raise CommandError("The demo did not start. Look at the lines above, or start with --no-demo.")
