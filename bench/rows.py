"""A database as it looks after months: tasks of some sources with the types, people and ends of real clusters."""

import random
from datetime import datetime, timedelta
from typing import Any

from tasks_app.connections import seal
from tasks_app.ingest.tasks import search_text
from tasks_app.models import Node, Source, Task
from tasks_app.states import State

BATCH = 1000
DAYS = 90
RUNNING = 40
NODES = [f"pve{number}" for number in range(1, 9)]
PEOPLE = ["root@pam", "alice@pve", "bob@pve", "carol@ldap", "automation@pve", "backup@pve"]
TYPES = {
    "vzdump": 30,
    "qmstart": 14,
    "qmstop": 8,
    "qmshutdown": 8,
    "qmclone": 8,
    "vncproxy": 8,
    "qmsnapshot": 7,
    "qmigrate": 5,
    "vzstart": 4,
    "qmconfig": 4,
    "qmdestroy": 3,
    "download": 1,
}
ENDS = {State.COMPLETED: 90, State.FAILED: 7, State.CANCELLED: 2, State.LOST: 1}
ERRORS = [
    "command '/usr/bin/qemu-img convert' failed: exit code 1",
    "VM 9000 is locked (backup)",
    "unable to create VM 100: no space left on device",
    "timeout waiting on systemd",
    "job errors",
]


def make_sources(count: int, at: datetime) -> list[Source]:
    return [
        make_source(f"prod-{number}", at, paused_at=at if number == 3 else None)
        for number in range(1, count + 1)
    ]


def make_source(name: str, at: datetime, **fields: Any) -> Source:
    """A cluster of eight nodes that has answered a moment ago; nothing listens at its address."""
    source = Source.objects.create(
        name=name,
        urls=["https://127.0.0.1:1"],
        fingerprints=[":".join(["AA"] * 32)],
        token_id="portal@pve!web",
        token_secret_sealed=seal("not used"),
        version="9.2.11",
        last_pass_at=at,
        first_synced_at=at - timedelta(days=DAYS),
        permissions={"/": {"Sys.Audit": 1, "VM.Audit": 1}},
        permissions_at=at,
        **fields,
    )
    Node.objects.bulk_create(Node(source=source, name=node, status="online", seen_at=at) for node in NODES)
    return source


def make_tasks(sources: list[Source], count: int, at: datetime, *, seed: int = 1) -> None:
    """`count` tasks over the last 90 days, oldest first as an import writes them; the last ones still run."""
    rng = random.Random(seed)
    starts = sorted(rng.uniform(0, DAYS * 86400) for _ in range(count))
    for first in range(0, count, BATCH):
        Task.objects.bulk_create(
            _task(rng, sources, number, at - timedelta(seconds=DAYS * 86400 - starts[number]), count)
            for number in range(first, min(first + BATCH, count))
        )


def _task(rng: random.Random, sources: list[Source], number: int, started_at: datetime, count: int) -> Task:
    type = rng.choices(list(TYPES), list(TYPES.values()))[0]
    vmid = rng.randrange(100, 700)
    node, user = rng.choice(NODES), rng.choice(PEOPLE)
    seconds = int(started_at.timestamp())
    upid = (
        f"UPID:{node}:{number & 0xFFFFFF:08X}:{seconds & 0xFFFFFFF:08X}:{seconds:08X}:{type}:{vmid}:{user}:"
    )
    state = State.PROCESSING
    if number < count - RUNNING:
        state = rng.choices(list(ENDS), list(ENDS.values()))[0]
    task = Task(
        source=rng.choice(sources),
        remote_id=upid,
        node=node,
        type=type,
        object_id=str(vmid),
        vmid=vmid,
        object_name=f"web-{vmid}",
        remote_user=user,
        state=state,
        started_at=started_at,
        seen_at=started_at,
        changed_at=started_at,
        raw={"upid": upid, "node": node, "type": type, "id": str(vmid), "user": user, "starttime": seconds},
        tracker_state={"type": type, "disk_bytes": [34359738368], "lines": rng.randrange(300)},
        log_total=rng.randrange(300),
    )
    if state == State.PROCESSING:
        task.percent, task.step = rng.uniform(1, 98), "copying scsi0"
    else:
        task.ended_at = started_at + timedelta(seconds=rng.uniform(1, 900))
        task.exit_text = "OK"
        if state == State.COMPLETED and rng.random() < 0.05:
            task.warnings, task.exit_text = rng.randrange(1, 4), "WARNINGS: 1"
        elif state != State.COMPLETED:
            task.exit_text = task.error_line = rng.choice(ERRORS)
        if state in (State.FAILED, State.LOST) and rng.random() < 0.8:
            task.acknowledged_at = task.ended_at
    task.search_text = search_text(task)
    return task
