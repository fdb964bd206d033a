"""Reads the task lists of single nodes, so that nothing slips through the 25 slots of the cluster list."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from tasks_app.ingest import health
from tasks_app.models import Node, Task
from tasks_app.polling import cadence
from tasks_app.polling.memory import Memory
from tasks_app.polling.visit import Visit
from tasks_app.sources.base import TaskObservation
from tasks_app.sources.errors import SourceRefused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one node answered, complete from `since` on."""

    node: Node
    observations: tuple[TaskObservation, ...]
    pages: int


def nodes_to_read(
    nodes: Iterable[Node],
    cluster: list[TaskObservation] | None,
    open_tasks: Mapping[str, Task],
    memory: Memory,
    at: datetime,
) -> list[Node]:
    """Nodes whose list is due, whose finished slots turned over, or on which a running task of ours vanished.

    `cluster` is None when the token cannot list the cluster.
    """
    hurried: set[str] = set()
    if cluster is not None:
        hurried = _turned_over(cluster, memory)
        listed = {o.remote_id for o in cluster}
        for upid, task in open_tasks.items():
            if upid not in listed and task.pk not in memory.checked_at:
                hurried.add(task.node)
    return [n for n in nodes if n.name in hurried or _is_due(n, memory, at, is_limited=cluster is None)]


def read_lists(visit: Visit, nodes: Iterable[Node], open_tasks: Mapping[str, Task]) -> list[Listing]:
    """The lists of `nodes`, as far as these answer: everything since their cursors, all a node has the first time."""
    listings = []
    for node in nodes:
        if visit.should_stop():
            break
        since = None
        if node.first_synced_at is not None:
            since = max(0, _oldest_open(node.name, open_tasks, node.cursor) - cadence.SINCE_MARGIN_SECONDS)
        try:
            listing = visit.ask_node(node.name, partial(_read_list, visit, node, since))
        except SourceRefused as error:
            logger.info("node list refused source=%s node=%s reason=%s", visit.source.name, node.name, error)
            listing = None
        visit.memory.node_listed_at[node.name] = visit.clock()
        if listing is None:
            continue
        if listing.pages > 1:
            visit.memory.node_list_was_long.add(node.name)
        else:
            visit.memory.node_list_was_long.discard(node.name)
        listings.append(listing)
    return listings


def move_cursors(visit: Visit, listings: Iterable[Listing]) -> None:
    """Remember how far each node has been read, after all it showed is written. Never past a task that still runs."""
    at = visit.clock()
    for listing in listings:
        starts = [int(o.started_at.timestamp()) for o in listing.observations]
        # A clock ahead of ours, or a made-up start, must not carry the cursor past tasks that are still to come.
        newest = min(max(starts, default=listing.node.cursor), int(at.timestamp()))
        running = [int(o.started_at.timestamp()) for o in listing.observations if o.running]
        still_open = Task.objects.unfinished().filter(source=visit.source, node=listing.node.name)
        oldest = still_open.order_by("started_at").values_list("started_at", flat=True).first()
        if oldest is not None:
            running.append(int(oldest.timestamp()))
        health.record_cursor(listing.node, cursor=min([newest, *running]), at=at)


def _read_list(visit: Visit, node: Node, since: int | None) -> Listing:
    """All pages; they overlap, because a task that ends between two of them moves."""
    found: list[TaskObservation] = []
    start = pages = 0
    while pages < cadence.MOST_PAGES:
        page = visit.remote.fetch_node_tasks(
            node.name, since=since, start=start, limit=cadence.PAGE_ROWS, source="all"
        )
        pages += 1
        found += page.observations
        if page.row_count < cadence.PAGE_ROWS or start + page.row_count >= page.total or visit.should_stop():
            break
        start += page.row_count - cadence.PAGE_OVERLAP
    return Listing(node, tuple(found), pages)


def _turned_over(cluster: list[TaskObservation], memory: Memory) -> set[str]:
    """Nodes of which no finished slot is the one it was in the last pass: there may have been more than are shown."""
    finished: dict[str, set[str]] = defaultdict(set)
    for seen in cluster:
        if seen.running is False:
            finished[seen.node].add(seen.remote_id)
    turned = {
        node
        for node, upids in finished.items()
        if memory.finished.get(node) and not upids & memory.finished[node]
    }
    for node, upids in finished.items():
        memory.finished[node] = frozenset(upids)
    return turned


def _is_due(node: Node, memory: Memory, at: datetime, *, is_limited: bool) -> bool:
    if node.first_synced_at is None:
        return True
    last = memory.node_listed_at.get(node.name)
    interval: timedelta = cadence.NODE_LIST
    if node.name in memory.node_list_was_long:
        interval = cadence.LONG_NODE_LIST
    elif is_limited:
        interval = cadence.LIMITED_NODE_LIST
    return last is None or at - last >= interval


def _oldest_open(node: str, open_tasks: Mapping[str, Task], cursor: int) -> int:
    starts = (int(t.started_at.timestamp()) for t in open_tasks.values() if t.node == node)
    return min(cursor, *starts, cursor)
