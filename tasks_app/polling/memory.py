"""What a process remembers of a source between passes. Losing it costs a few requests, never a task."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tasks_app.ingest.periods import Periods
from tasks_app.polling.cadence import MOST_BACKOFF, NODE_RETRY
from tasks_app.sources.generation.base import GenerationObservation

_MOST_SETTLED = 20_000


@dataclass
class NodeTrouble:
    failures: int
    until: datetime


@dataclass
class GenerationMemory:
    """The same of a generation source. Tasks are their pks."""

    planned_at: datetime | None = None  # when the next pass was to be; an earlier one was woken
    answered_at: datetime | None = None
    check_at: datetime | None = None  # next look whether it answers, after one that was not answered
    bad_in_a_row: int = 0
    rest_until: datetime | None = None  # the remote asked for a rest
    listed_at: datetime | None = None  # last list
    list_at: datetime | None = None  # next list
    list_pause: float = 0.0  # 0 while the list does not answer for our tasks
    list_failures: int = 0
    no_list_until: datetime | None = None  # it refuses to list
    present: set[int] = field(default_factory=set)  # in the last list
    absent: set[int] = field(default_factory=set)  # not in it
    told_final: dict[int, GenerationObservation] = field(default_factory=dict)  # ended by the last list
    unfetched: dict[int, tuple[int, datetime]] = field(default_factory=dict)  # of these: misses, since when
    lists_without_sign: dict[int, tuple[datetime, int]] = field(
        default_factory=dict
    )  # since which sign, how many
    settled: set[str] = field(default_factory=set)  # remote ids of which a list can tell nothing new
    usual: dict[str, tuple[datetime, float | None]] = field(default_factory=dict)  # kind → asked at, seconds

    def settle(self, remote_ids: set[str]) -> None:
        if len(self.settled) + len(remote_ids) > _MOST_SETTLED:
            self.settled.clear()
        self.settled |= remote_ids

    def forget_tasks(self, open_pks: set[int]) -> None:
        """Keep only what concerns tasks that have not ended."""
        self.present &= open_pks
        self.absent &= open_pks
        for known in (self.told_final, self.unfetched, self.lists_without_sign):
            for pk in known.keys() - open_pks:
                del known[pk]


@dataclass
class Memory:
    """Of one source, used by one pass at a time. Times are those of the pass that wrote them."""

    inventory_at: datetime | None = None
    active_at: datetime | None = None  # when a task was last seen running
    node_listed_at: dict[str, datetime] = field(default_factory=dict)
    node_list_was_long: set[str] = field(default_factory=set)
    finished: dict[str, frozenset[str]] = field(default_factory=dict)  # node → UPIDs of its finished slots
    trouble: dict[str, NodeTrouble] = field(default_factory=dict)
    node_swept_at: dict[str, datetime] = field(
        default_factory=dict
    )  # its whole list was read, or it was first seen
    own_cursor: dict[str, int] = field(
        default_factory=dict
    )  # the same as Node.cursor while only own tasks are shown
    unsure: dict[str, tuple[str, int, datetime]] = field(
        default_factory=dict
    )  # UPID → node, start, until: its end is estimated, and the list will tell the true one
    settled: set[tuple[str, datetime]] = field(default_factory=set)  # UPIDs and ends that are written
    checked_at: dict[int, datetime] = field(default_factory=dict)  # task → its last single status
    missed: set[int] = field(default_factory=set)
    tailed_at: dict[int, datetime] = field(default_factory=dict)
    sized: set[int] = field(default_factory=set)  # tasks whose disks have been asked for
    disks: dict[int, tuple[datetime, dict[str, int]]] = field(default_factory=dict)  # guest → asked at, sizes
    unread: dict[int, int] = field(default_factory=dict)  # ended task → failed tries to read its log
    backlog: list[int] = field(default_factory=list)  # older tasks without log, newest first
    backlog_below: int | None = None  # pk from which the search goes on downwards; None: begin
    backlog_seen: int = 0
    backlog_at: datetime | None = None  # when the search was begun
    backlog_read_at: datetime | None = None
    periods: Periods | None = None  # how long tasks are kept, as read a moment ago
    generation: GenerationMemory = field(default_factory=GenerationMemory)  # when it is such a source

    def is_node_troubled(self, node: str, at: datetime) -> bool:
        trouble = self.trouble.get(node)
        return trouble is not None and trouble.until > at

    def note_node_failure(self, node: str, at: datetime) -> None:
        known = self.trouble.get(node)
        failures = known.failures + 1 if known else 1
        wait: timedelta = min(MOST_BACKOFF, NODE_RETRY * 2 ** min(failures - 1, 6))
        self.trouble[node] = NodeTrouble(failures, at + wait)

    def settle(self, ends: set[tuple[str, datetime]]) -> None:
        if len(self.settled) + len(ends) > _MOST_SETTLED:
            self.settled.clear()
        self.settled |= ends

    def forget_tasks(self, open_pks: set[int]) -> None:
        """Keep only what concerns tasks that still run."""
        for known in (self.checked_at, self.tailed_at):
            for pk in known.keys() - open_pks:
                del known[pk]
        self.missed &= open_pks
        self.sized &= open_pks
