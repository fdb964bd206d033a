"""Reads the task lists of single nodes, so that nothing slips through the 25 slots of the cluster list.

The first time all that a node still has, later what started since its cursor, and once in an hour everything again. The
cursor is the newest start that has been read; reading goes back further, to the oldest task whose end is not known.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

from tasks_app.ingest import health
from tasks_app.models import Node, Task
from tasks_app.polling import cadence, harvest
from tasks_app.polling.harvest import Listing
from tasks_app.polling.memory import Memory
from tasks_app.polling.visit import Visit
from tasks_app.sources.base import TaskObservation
from tasks_app.sources.errors import SourceRefused

logger = logging.getLogger(__name__)


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
    """The lists of `nodes`, as far as these answer: everything since their cursors, all a node has the first time.

    A gap that shows is kept at once, before anything is written that would hide it.
    """
    listings = []
    for node in nodes:
        if visit.should_stop():
            break
        listing = _read_node(visit, node, open_tasks)
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
    """Remember how far each node has been read, after all it showed is written.

    Not for a node that shows the token its own tasks only: when it may see the others', they are read from here on.
    """
    at = visit.clock()
    for listing in listings:
        if not listing.is_whole:
            continue
        node, starts = listing.node, [int(o.started_at.timestamp()) for o in listing.observations]
        # A clock ahead of ours, or a made-up start, must not carry the cursor past tasks that are still to come.
        newest = min(max(starts, default=node.cursor), int(at.timestamp()))
        if _shows_all(visit, node):
            visit.memory.own_cursor.pop(node.name, None)
        else:
            visit.memory.own_cursor[node.name] = newest
            newest = node.cursor
        health.record_cursor(node, cursor=newest, at=at)
    health.record_synced_nodes(visit.source, at=at)


def _read_node(visit: Visit, node: Node, open_tasks: Mapping[str, Task]) -> Listing | None:
    try:
        listing = visit.ask_node(node.name, partial(_read_list, visit, node, _since(visit, node, open_tasks)))
        if listing is None or harvest.goes_on(listing, open_tasks) or not _shows_all(visit, node):
            return listing
        if listing.since is not None:
            listing = visit.ask_node(node.name, partial(_read_list, visit, node, None))
        if listing is not None and listing.is_whole:
            harvest.look_for_gap(visit, listing, open_tasks)
        return listing
    except SourceRefused as error:
        logger.info("node list refused source=%s node=%s reason=%s", visit.source.name, node.name, error)
        return None


def _shows_all(visit: Visit, node: Node) -> bool:
    return health.can_list_node(visit.source.permissions, node.name)


def _since(visit: Visit, node: Node, open_tasks: Mapping[str, Task]) -> int | None:
    """From which start (Unix seconds) on the node is read; None for all it has."""
    memory, at = visit.memory, visit.clock()
    swept_at = memory.node_swept_at.setdefault(node.name, at)
    if node.first_synced_at is None or at - swept_at >= cadence.SWEEP:
        return None
    for upid in [upid for upid, (_, _, until) in memory.unsure.items() if until <= at]:
        del memory.unsure[upid]
    own = memory.own_cursor.get(node.name, 0)
    starts = [node.cursor if _shows_all(visit, node) else max(node.cursor, own)]
    starts += [int(t.started_at.timestamp()) for t in open_tasks.values() if t.node == node.name]
    starts += [start for name, start, _ in memory.unsure.values() if name == node.name]
    return max(0, min(starts) - cadence.SINCE_MARGIN_SECONDS)


def _read_list(visit: Visit, node: Node, since: int | None) -> Listing:
    """All pages; they overlap, because a task that ends between two of them moves."""
    found: list[TaskObservation] = []
    start = pages = 0
    is_whole = False
    while pages < cadence.MOST_PAGES and not (pages and visit.should_stop()):
        page = visit.remote.fetch_node_tasks(
            node.name, since=since, start=start, limit=cadence.PAGE_ROWS, source="all"
        )
        pages += 1
        found += page.observations
        if not page.row_count or start + page.row_count >= page.total:
            is_whole = True
            break
        start += max(1, page.row_count - cadence.PAGE_OVERLAP)
    if since is None and is_whole:
        visit.memory.node_swept_at[node.name] = visit.clock()
    # A remote that never comes to an end is not asked for ever: what it has shown is taken for all.
    return Listing(node, tuple(found), pages, since, is_whole or pages >= cadence.MOST_PAGES)


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
