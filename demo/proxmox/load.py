"""Simulated tasks for tests and benches: scripted ones, and thousands that share one script."""

from collections.abc import Sequence

from demo.proxmox.cluster import OPERATORS, Cluster
from demo.proxmox.inventory import NODES
from demo.proxmox.scripts import GIB, Tape, say_copy
from demo.proxmox.tasks import Script, Task

LOAD_DISK = 32 * GIB


def script_of(
    lines: Sequence[tuple[float, str]],
    end: str = "OK",
    *,
    seconds: float | None = None,
    ignores_stop: bool = False,
    stop_end: str = "received interrupt",
) -> Script:
    """`lines` are (seconds since the line before, text); `seconds` is the whole length if longer than they are."""
    at, placed = 0.0, []
    for delay, text in lines:
        at += delay
        placed.append((at, text))
    length = at if seconds is None else max(at, seconds)
    if ignores_stop:
        return Script(tuple(placed), length, end, "unexpected status", (), 5.0)
    return Script(tuple(placed), length, end, stop_end)


def start_load(
    cluster: Cluster, count: int, seconds: float, *, moving: bool = True, end: str = "OK", spread: float = 0.0
) -> list[Task]:
    """`count` tasks of `seconds` wall-clock seconds; with `spread` their starts lie that many seconds apart in all."""
    tape = Tape(0.0)
    if moving:
        tape.say("creating a clone of VM 9000 with ID 90000")
        tape.say("create full clone of drive scsi0 (ceph-vm:base-9000-disk-0)")
        say_copy(tape, LOAD_DISK, LOAD_DISK / max(seconds - 0.2, 0.01))
    tape.at = seconds
    script = tape.script(end)
    nodes = list(NODES)
    now = cluster.now()
    tasks = [
        cluster.start_task(
            type="qmclone" if moving else "qmstart",
            id=str(9000 if moving else 100_000 + number),
            user=OPERATORS[number % len(OPERATORS)],
            node=nodes[number % len(nodes)],
            build=script,
            scale=1.0,
            started=now - spread * number / max(count, 1),
            save=False,
        )
        for number in range(count)
    ]
    if cluster.store:
        cluster.store.save_tasks(*tasks)
    return tasks
