"""The history as a list: days are written back from its end until there are enough tasks, then numbered in order."""

from dataclasses import replace

from demo.data.diary import Diary, Entry
from demo.data.episodes import write_day
from demo.data.ground import DARK_SECONDS, DAY, POWER_LOSS_NODE, Ground
from demo.data.work import PastTask
from demo.proxmox.inventory import NODES
from demo.proxmox.upid import Upid

DAYS = 90
"""With the three days that the cluster itself remembers. How far 50,000 tasks reach differs by a day or two."""
TASKS = 50_000

_HIGHEST_PID = 0x3FFFFF


def make_history(*, end: int, seed: int = 1, tasks: int = TASKS) -> list[PastTask]:
    """Tasks that have started and ended before `end` (Unix seconds), oldest first. The same arguments, the same tasks.

    Every name is unique and well-formed; times are UTC.
    """
    ground = Ground(seed, end)
    entries: list[Entry] = []
    day = end // DAY
    while len(entries) < tasks:
        diary = Diary(ground, day)
        write_day(diary)
        entries += [kept for entry in diary.entries if (kept := _as_it_came(entry, ground))]
        day -= 1
    entries.sort(key=lambda entry: (entry.started, entry.work.node, entry.type, entry.id, entry.seed))
    return _number(entries[len(entries) - tasks :], ground)


def note_of(task: PastTask, *, end: int) -> str:
    """What somebody wrote down about a failure that everybody heard of; "" for all the others."""
    ground = Ground(0, end)
    upid = task.upid
    if task.end == "job errors" and not upid.id and ground.is_storage_full(upid.starttime):
        return "The file server was full. Old backups removed, 8 TiB added."
    if (
        task.end == "unexpected status"
        and upid.node == POWER_LOSS_NODE
        and task.ended == int(ground.power_loss)
    ):
        return "pve3 had lost its power. Supply replaced."
    return ""


def _as_it_came(entry: Entry, ground: Ground) -> Entry | None:
    """None for what had not ended, or could not begin because its node had no power; what ran then was cut off."""
    if entry.ended >= ground.end:
        return None
    dark = ground.power_loss
    if entry.work.node != POWER_LOSS_NODE or entry.ended < dark or entry.started >= dark + DARK_SECONDS:
        return entry
    if entry.started >= dark:
        return None
    return replace(entry, seconds=dark - entry.started, end="unexpected status")


def _number(entries: list[Entry], ground: Ground) -> list[PastTask]:
    """Give each task its process number: they grow with the time since the node's start and begin again at the top."""
    pids = {name: 1800 + 977 * node.number for name, node in NODES.items()}
    made = []
    for entry in entries:
        node = entry.work.node
        pids[node] = (pids[node] + 7 + entry.seed % 900) % _HIGHEST_PID
        ticks = int((entry.started - ground.booted(node, entry.started)) * 100) + entry.seed % 100
        upid = Upid(node, pids[node], ticks, int(entry.started), entry.type, entry.id, entry.user)
        made.append(PastTask(upid, entry.seconds, entry.end, entry.writer, entry.work, entry.seed))
    return made
