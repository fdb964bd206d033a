"""Follows the logs of running tasks within a budget: watched ones first, the others in turn."""

import logging
from collections.abc import Iterable
from datetime import datetime

from tasks_app.ingest import logs
from tasks_app.models import Task
from tasks_app.polling import cadence
from tasks_app.polling.visit import Visit
from tasks_app.progress.tracker import can_show_progress
from tasks_app.sources.base import LogPage
from tasks_app.sources.errors import SourceError, SourceNeedsPerson, SourceRefused
from tasks_app.sources.proxmox.inventory import disk_sizes

logger = logging.getLogger(__name__)

# Their progress is weighted by the sizes of the guest's disks, which its log does not always tell.
_COPIES_DISKS = frozenset({"qmclone", "qmmove", "qmigrate"})


def follow_logs(visit: Visit, running: Iterable[Task]) -> int:
    """Read on in the logs of running tasks that can show progress or are watched. Returns the requests made."""
    at, began = visit.clock(), visit.monotonic()
    left = cadence.TAILS_PER_PASS
    for task in in_turn(visit, running, at):
        if left <= 0 or visit.should_stop() or visit.monotonic() - began > cadence.TAIL_SECONDS:
            break
        if task.type in _COPIES_DISKS and task.pk not in visit.memory.sized:
            left -= _ask_for_disks(visit, task)
        left -= _follow(visit, task, min(cadence.TAIL_PAGES, max(1, left)))
    return cadence.TAILS_PER_PASS - left


def in_turn(visit: Visit, running: Iterable[Task], at: datetime) -> list[Task]:
    """Tasks worth a look, watched ones first, then the one that waited longest."""
    tailed_at = visit.memory.tailed_at
    never = datetime.min.replace(tzinfo=at.tzinfo)

    def is_watched(task: Task) -> bool:
        return task.watched_until is not None and task.watched_until > at

    worth = [t for t in running if is_watched(t) or can_show_progress(t.type)]
    return sorted(worth, key=lambda t: (not is_watched(t), tailed_at.get(t.pk, never), t.pk))


def _follow(visit: Visit, task: Task, most_pages: int) -> int:
    visit.memory.tailed_at[task.pk] = visit.clock()
    known = task.log_total
    for asked in range(1, most_pages + 1):
        # The last known line may have been incomplete: it comes again.
        after = max(0, known - 1)
        page = _fetch(visit, task, after)
        if page is None or not page.lines:
            return asked
        appended = logs.append_lines(task, page.lines, at=visit.clock())
        known = page.lines[-1].number
        if appended.is_full or known >= page.total:
            return asked
    return most_pages


def _fetch(visit: Visit, task: Task, after: int) -> LogPage | None:
    try:
        return visit.ask_node(
            task.node,
            lambda: visit.remote.fetch_log(task.node, task.remote_id, after=after, limit=cadence.LOG_LINES),
        )
    except SourceRefused as error:
        logger.debug("log refused upid=%s reason=%s", task.remote_id, error)
        return None


def _ask_for_disks(visit: Visit, task: Task) -> int:
    """Once for a task; without an answer the percentage is less exact, nothing else. Returns the requests made."""
    visit.memory.sized.add(task.pk)
    if task.vmid is None or "disk_bytes" in task.tracker_state or task.log_total:
        return 0
    known = visit.memory.disks.get(task.vmid)
    if known is not None and visit.clock() - known[0] < cadence.DISKS:
        logs.store_disk_bytes(task, known[1])
        return 0
    try:
        sizes = disk_sizes(visit.remote.fetch_guest_config("qemu", task.node, task.vmid))
    except SourceNeedsPerson:
        raise
    except SourceError as error:
        logger.debug("disk sizes not known upid=%s reason=%s", task.remote_id, error)
        return 1
    visit.memory.disks[task.vmid] = (visit.clock(), sizes)
    logs.store_disk_bytes(task, sizes)
    return 1
