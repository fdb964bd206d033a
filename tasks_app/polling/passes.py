"""One pass over a Proxmox source: what runs, what ended, how far, and only then how far the lists have been read."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tasks_app.ingest import health, inventory, signs
from tasks_app.ingest.tasks import BATCH_ROWS, IngestResult, ingest_observations
from tasks_app.models import Node, Submission, Task
from tasks_app.polling import cadence, endings, harvest, tails
from tasks_app.polling.errands import enqueue_follow_up
from tasks_app.polling.nodelists import move_cursors, nodes_to_read, read_lists
from tasks_app.polling.visit import Visit
from tasks_app.sources.base import TaskObservation
from tasks_app.sources.proxmox.permissions import Permissions

logger = logging.getLogger(__name__)

_RECENT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class PassResult:
    """`is_active`: come again in a second. `has_more`: come again at once, not everything fitted into the pass."""

    is_active: bool
    has_more: bool = False


def run_pass(visit: Visit) -> PassResult:
    """Visit the source once. Raises SourceError when the source as a whole failed: nothing about tasks changes then.

    Safe to be cut off anywhere: what was not written is seen again by the next pass.
    """
    source, memory, at = visit.source, visit.memory, visit.clock()
    _refresh_rights(visit, at)
    nodes = _online_nodes(visit)
    if memory.inventory_at is None and not nodes:
        _refresh_inventory(visit, at)
        nodes = _online_nodes(visit)
    open_tasks = _open_tasks(visit)
    can_list = health.can_list_cluster(source.permissions)
    cluster = visit.remote.fetch_cluster_tasks() if can_list else None
    if cluster == [] and memory.finished:
        _refresh_rights(visit, at, older_than=cadence.EMPTY_LIST)
    listings = read_lists(visit, nodes_to_read(nodes, cluster, open_tasks, memory, at), open_tasks)
    if cluster is None and not listings and visit.node_error is not None:
        raise visit.node_error

    seen = _merge([cluster or [], *(listing.observations for listing in listings)])
    new_nodes = {node.name for node in nodes if node.first_synced_at is None}
    held_back, has_news = _write(visit, seen, open_tasks, new_nodes)
    answered = {listing.node.name for listing in listings}
    vanished = [
        task
        for upid, task in open_tasks.items()
        if upid not in seen and (cluster is not None or task.node in answered)
    ]
    ended = held_back + endings.check_vanished(visit, vanished)
    left = endings.finish(visit, ended)
    if has_news or ended:
        enqueue_follow_up(source)

    running = _open_tasks(visit) if has_news or ended or vanished else open_tasks
    memory.forget_tasks({task.pk for task in running.values()})
    if running or _has_open_submissions(visit):
        memory.active_at = at
    is_active = memory.active_at is not None and at - memory.active_at < cadence.LINGER
    if not visit.should_stop():
        endings.read_logs_of_ended(visit)
        tails.follow_logs(visit, running.values())
        signs.mark_overdue(source, list(running.values()), at=at)
    if memory.inventory_at is None or at - memory.inventory_at >= cadence.INVENTORY:
        _refresh_inventory(visit, at)
    if not visit.should_stop():
        endings.read_backlog(visit, is_active=is_active)
        move_cursors(visit, listings)
    return PassResult(is_active, has_more=bool(left) or 0 in memory.unread.values())


def _refresh_rights(visit: Visit, at: datetime, *, older_than: timedelta = cadence.PERMISSIONS) -> None:
    last = visit.source.permissions_at
    if last is None or at - last >= older_than:
        rights: Permissions = visit.remote.fetch_permissions()
        version = visit.remote.fetch_version()
        health.record_permissions(visit.source, rights.by_path, version=version.text, at=at)


def _refresh_inventory(visit: Visit, at: datetime) -> None:
    visit.memory.inventory_at = at
    inventory.store_nodes(visit.source, visit.remote.fetch_nodes(), at=at)
    inventory.store_guests(visit.source, visit.remote.fetch_resources("vm"), at=at)


def _online_nodes(visit: Visit) -> list[Node]:
    return list(Node.objects.filter(source=visit.source, status="online").select_related("source"))


def _open_tasks(visit: Visit) -> dict[str, Task]:
    rows = Task.objects.unfinished().filter(source=visit.source).defer("raw", "search_text")
    return {row.remote_id: row for row in rows}


def _has_open_submissions(visit: Visit) -> bool:
    """Somebody has just asked for something: its task will appear in a moment."""
    recent = visit.clock() - _RECENT
    return Submission.objects.unfinished().filter(source=visit.source, created_at__gt=recent).exists()


def _merge(parts: Iterable[Iterable[TaskObservation]]) -> dict[str, TaskObservation]:
    """Once per UPID; a finished row wins, one with an end time over one without, a node's own over the cluster's."""
    merged: dict[str, TaskObservation] = {}
    for part in parts:
        for seen in part:
            known = merged.get(seen.remote_id)
            if known is None or _knowledge(seen) >= _knowledge(known):
                merged[seen.remote_id] = seen
    return merged


def _knowledge(seen: TaskObservation) -> tuple[bool, bool]:
    return seen.running is False, seen.ended_at is not None


def _write(
    visit: Visit, seen: dict[str, TaskObservation], open_tasks: dict[str, Task], new_nodes: set[str]
) -> tuple[list[tuple[Task, TaskObservation]], bool]:
    """Ingest what the lists told. Returns ends that must be judged with their log, and whether anything changed.

    Of nodes that were never read before (`new_nodes`) most is history, which is not looked at one by one.
    """
    at, memory = visit.clock(), visit.memory
    fresh = [
        o for o in seen.values() if o.ended_at is None or (o.remote_id, o.ended_at) not in memory.settled
    ]
    fresh = harvest.without_past(visit, fresh, open_tasks)
    held: dict[str, TaskObservation] = {}
    for i, o in enumerate(fresh):
        is_ours = o.remote_id in open_tasks
        if endings.needs_log(o) and (is_ours or (o.node not in new_nodes and _ended_recently(o, at))):
            held[o.remote_id] = o
            fresh[i] = replace(o, running=True, ended_at=None, exit_text=None)
    result = ingest_observations(visit.source, fresh, at=at, sleep=visit.sleep)
    told = {(o.remote_id, o.ended_at) for o in fresh if o.running is False and o.ended_at is not None}
    memory.settle(told)
    for upid, _ in told:
        memory.unsure.pop(upid, None)
    _queue_logs(visit, result, new_nodes)
    if result.new_pks or result.ended_pks:
        logger.info(
            "pass source=%s new=%d ended=%d", visit.source.name, len(result.new_pks), len(result.ended_pks)
        )
    has_news = bool(result.new_pks or result.changed_pks)
    if not held:
        return [], has_news
    rows = {row.remote_id: row for row in Task.objects.filter(source=visit.source, remote_id__in=held)}
    known = [o for upid, o in held.items() if upid in rows and rows[upid].is_final]
    ingest_observations(visit.source, known, at=at, sleep=visit.sleep)
    return [(rows[upid], o) for upid, o in held.items() if upid in rows and not rows[upid].is_final], has_news


def _queue_logs(visit: Visit, result: IngestResult, new_nodes: set[str]) -> None:
    """Logs of what ended just now are read in this pass; those of history when there is time."""
    pks = list(result.ended_pks)
    for first in range(0, len(result.new_pks), BATCH_ROWS):
        ended = Task.objects.finished().filter(pk__in=result.new_pks[first : first + BATCH_ROWS])
        pks += ended.exclude(node__in=new_nodes).values_list("pk", flat=True)
    for pk in pks:
        visit.memory.unread.setdefault(pk, 0)


def _ended_recently(seen: TaskObservation, at: datetime) -> bool:
    return seen.ended_at is not None and at - seen.ended_at < _RECENT
