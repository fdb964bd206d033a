"""Tasks as functions of the clock: what one prints, when it ends, and the lists a node keeps of them.

A running task costs nothing: no thread, no timer. Its script says which line appears how many seconds
after the start, so state and log are read off the clock whenever somebody asks.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from demo.proxmox.upid import Upid, split_user

Row = dict[str, str | int]

# RESTEnvironment.pm renames `index` to `index.1` when it has passed this size (bytes).
INDEX_LIMIT = 50_000
# Finished tasks that left the index keep their log file for a while; so many per node.
KEPT_BEYOND_INDEX = 1_000
# pmxcfs accepts no status value above this size (bytes of JSON); a node drops its oldest tasks to fit.
BROADCAST_LIMIT = 32 * 1024
BROADCAST_FINISHED = 25


@dataclass(frozen=True, slots=True)
class Script:
    """What a task will do. `lines` are (seconds after the start, text), ascending; `seconds` is its length.

    `end` is the exit status: `OK`, `WARNINGS: n`, `unexpected status` (no terminal line) or an error text.
    `stop_end` and `stop_lines` are what is left when somebody stops it; `stop_seconds` is how long that takes.
    """

    lines: tuple[tuple[float, str], ...]
    seconds: float
    end: str = "OK"
    stop_end: str = "received interrupt"
    stop_lines: tuple[str, ...] = ()
    stop_seconds: float = 1.0


def format_terminal_line(status: str) -> list[str]:
    """The last line of the log that makes Proxmox read `status` from it; none for `unexpected status`."""
    if status == "OK":
        return ["TASK OK"]
    if status.startswith("WARNINGS: "):
        return [f"TASK {status}"]
    if status == "unexpected status":
        return []
    return [f"TASK ERROR: {status}"]


@dataclass(slots=True, eq=False)
class Task:
    """One task of one node; `scale` multiplies the seconds of its script (0.1 = ten times as fast).

    `skew` are the seconds by which its node's clock is ahead.
    """

    upid: Upid
    name: str
    started: float
    scale: float
    script: Script
    ended: float | None = None
    status: str | None = None
    shown: int = 0
    tail: list[str] = field(default_factory=list)
    stopped_by_user: bool = False
    locks: tuple[tuple[int, bool], ...] = ()
    row_size: int = 0
    skew: float = 0.0

    @property
    def end_time(self) -> int:
        """What lists tell of its end, by the node's clock; 0 while it runs."""
        return int(self.ended + self.skew) if self.ended is not None else 0

    @property
    def due(self) -> float:
        return self.started + self.script.seconds * self.scale

    def count_lines(self, now: float) -> int:
        if self.ended is not None:
            return self.shown + len(self.tail)
        return bisect_right(self.script.lines, self._position(now), key=lambda line: line[0])

    def log_lines(self, now: float, start: int, limit: int) -> list[tuple[int, str]]:
        """(number from 1, text), skipping `start` lines; all the rest for limit 0."""
        total = self.count_lines(now)
        stop = total if limit == 0 else min(total, start + limit)
        seen = self.shown if self.ended is not None else total
        lines = []
        for index in range(start, stop):
            text = self.script.lines[index][1] if index < seen else self.tail[index - seen]
            lines.append((index + 1, text))
        return lines

    def finish(self, at: float, status: str, extra: tuple[str, ...] = ()) -> None:
        self.shown = self.count_lines(at)
        self.tail = [*extra, *format_terminal_line(status)]
        self.ended = at
        self.status = status
        self.row_size = 0

    def _position(self, now: float) -> float:
        # The epsilon lets the lines of the very end appear although the clock is a sum of floats.
        return (now - self.started) / self.scale + 1e-6 if self.scale > 0 else self.script.seconds


def make_row(task: Task, *, split: bool, pstart: bool = True) -> Row:
    """The fields all lists share; with `split`, the token is a field of its own."""
    upid = task.upid
    row: Row = {"upid": task.name, "node": upid.node, "pid": upid.pid}
    if pstart:
        row["pstart"] = upid.pstart
    row |= {"starttime": upid.starttime, "type": upid.type, "id": upid.id, "user": upid.user}
    if split:
        user, token = split_user(upid.user)
        row["user"] = user
        if token:
            row["tokenid"] = token
    return row


class NodeTasks:
    """What one node knows: running tasks by start, and two index files of finished ones by completion."""

    def __init__(self) -> None:
        self.running: dict[str, Task] = {}
        self._index: list[Task] = []
        self._older: list[Task] = []
        self._index_bytes = 0
        self._beyond: list[Task] = []

    def add_finished(self, task: Task) -> list[Task]:
        """Append to the index, rotating it like Proxmox; answers the tasks whose log is gone now."""
        self._index.append(task)
        self._index_bytes += len(task.name) + len(task.status or "") + 11
        if self._index_bytes <= INDEX_LIMIT:
            return []
        self._beyond += self._older
        self._older, self._index, self._index_bytes = self._index, [], 0
        gone = self._beyond[:-KEPT_BEYOND_INDEX]
        self._beyond = self._beyond[-KEPT_BEYOND_INDEX:]
        return gone

    def finished(self) -> Iterator[Task]:
        """Newest completion first."""
        yield from reversed(self._index)
        yield from reversed(self._older)

    def broadcast(self) -> tuple[list[Task], list[Task]]:
        """What other nodes hear: running and finished tasks, newest first, as much as fits."""
        running = sorted(self.running.values(), key=lambda task: -task.upid.starttime)
        finished: list[Task] = []
        for task in self.finished():
            if len(running) + len(finished) >= BROADCAST_FINISHED:
                break
            finished.append(task)
        finished.sort(key=lambda task: -task.upid.starttime)
        size = 2
        kept_running: list[Task] = []
        kept_finished: list[Task] = []
        for task in running + finished:
            size += _row_size(task)
            if size >= BROADCAST_LIMIT:
                break
            (kept_running if task.ended is None else kept_finished).append(task)
        return kept_running, kept_finished


def _row_size(task: Task) -> int:
    """Bytes of the row in the broadcast list, with its comma; kept until the task ends."""
    if task.row_size == 0:
        row = make_row(task, split=False) | {"saved": "0"}
        if task.ended is not None:
            row |= {"endtime": task.end_time, "status": task.status or ""}
        task.row_size = len(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()) + 1
    return task.row_size
