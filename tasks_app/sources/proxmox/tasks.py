"""Reads task rows, single tasks and task logs of Proxmox VE into observations; pure functions."""

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks_app.sources.base import LogPage, RemoteLogLine, TaskObservation
from tasks_app.sources.encoding import repair_text
from tasks_app.sources.errors import SourceUnavailable

logger = logging.getLogger(__name__)

_UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9][A-Za-z0-9\-]*):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:(?P<start>[0-9A-Fa-f]{8})"
    r":(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)
_LATEST_SECONDS = 2**32
"""What a UPID can say (the year 2106). Later times are made up, and no time zone can show the year 9999."""
MAX_TEXT_CHARACTERS = 20_000
"""Of one field; the longest honest exit text seen had 3,000."""
_EMPTY_LOG = "no content"
_MISSING_LOG = "unable to open file - "


@dataclass(frozen=True, slots=True)
class NodeTasks:
    """One page of a node's task list. `total` counts all matches on the node, not only this page.

    `row_count` is the number of rows the remote gave, before duplicates and unreadable ones were dropped:
    what the next page's `start` has to grow by.
    """

    observations: list[TaskObservation]
    total: int
    row_count: int = 0


def parse_task_rows(rows: object) -> list[TaskObservation]:
    """Observations of `/cluster/tasks` or `/nodes/{node}/tasks`, in the remote's order, once per UPID.

    Rows that cannot be read are left out, counted in one warning. When a task appears running and finished,
    the finished row wins. Raises SourceUnavailable (garbage) when it is no list at all.
    """
    if not isinstance(rows, list):
        raise SourceUnavailable("The task list is not a list.", kind="garbage")
    found: dict[str, TaskObservation] = {}
    unreadable = 0
    for row in rows:
        try:
            task = _parse_row(row)
        except (ValueError, OverflowError, OSError):
            unreadable += 1
            continue
        known = found.get(task.remote_id)
        if known is None or (known.running and not task.running):
            found[task.remote_id] = task
    if unreadable:
        logger.warning("unreadable task rows were left out count=%d of=%d", unreadable, len(rows))
    return list(found.values())


def parse_task_status(data: object) -> TaskObservation:
    """The answer of `…/tasks/{upid}/status`, which tells no end time. Raises SourceUnavailable (garbage)."""
    try:
        row = _require_row(data)
        status = parse_text(row.get("status"))
        running = {"running": True, "stopped": False}.get(status.lower())
        exit_text = parse_text(row.get("exitstatus")) or None
        return _build(row, running=running, ended_at=None, exit_text=exit_text if running is False else None)
    except (ValueError, OverflowError, OSError):
        pass
    raise SourceUnavailable("The state of the task cannot be read.", kind="garbage")


def parse_log(data: object, total: object, *, after: int) -> LogPage:
    """Lines numbered above `after`. The two placeholders of Proxmox become no line at all.

    An empty log is answered as one line `no content`, a missing file as one line `unable to open file - …`,
    each with total 1 and whatever `start` was.
    """
    if not isinstance(data, list):
        raise SourceUnavailable("The log is not a list of lines.", kind="garbage")
    texts = [repair_text(str(row.get("t", ""))) if isinstance(row, dict) else "" for row in data]
    known_total = parse_int(total)
    count = max(after + len(texts) if texts else 0, known_total or 0)
    if len(texts) == 1 and count <= after + 1 and known_total in (None, 1):
        if texts[0] == _EMPTY_LOG:
            return LogPage((), 0)
        if texts[0].startswith(_MISSING_LOG):
            return LogPage((), 0, missing=texts[0])
    lines = tuple(RemoteLogLine(after + 1 + i, text) for i, text in enumerate(texts))
    return LogPage(lines, count)


def parse_text(value: object) -> str:
    """A scalar as text, repaired, cut at MAX_TEXT_CHARACTERS and without NUL, which no database field takes.

    "" for anything else.
    """
    if isinstance(value, str) and value.isascii() and len(value) <= MAX_TEXT_CHARACTERS and "\0" not in value:
        return value  # nearly all of them, and there are twenty in a row
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return repair_text(str(value)[:MAX_TEXT_CHARACTERS]).replace("\0", "\ufffd")


def parse_int(value: object) -> int | None:
    """A whole number that may arrive as text or float; None for anything else."""
    if isinstance(value, bool):
        return int(value)
    try:
        if isinstance(value, str):
            return int(value) if len(value) <= 20 else None
        return int(value) if isinstance(value, int | float) else None
    except (ValueError, OverflowError):
        return None


def _parse_row(data: object) -> TaskObservation:
    row = _require_row(data)
    ended = parse_int(row.get("endtime"))
    if ended is not None and not 0 <= ended < _LATEST_SECONDS:
        raise ValueError("not a time")
    status = parse_text(row.get("status"))
    running = not ended and status.lower() in ("", "running")
    return _build(
        row,
        running=running,
        ended_at=datetime.fromtimestamp(ended, UTC) if ended else None,
        exit_text=None if running else status or None,
    )


def _require_row(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("not a row")
    return data


def _build(
    row: dict[str, Any], *, running: bool | None, ended_at: datetime | None, exit_text: str | None
) -> TaskObservation:
    """Lists disagree in which fields they fill and whether user and token are split; the UPID has it all."""
    upid = row.get("upid")
    parts = _UPID.fullmatch(upid) if isinstance(upid, str) and upid.isprintable() else None
    if upid is None or parts is None:
        raise ValueError("not a UPID")
    user, _, token = parts["user"].partition("!")
    return TaskObservation(
        remote_id=upid,
        node=parts["node"],
        type=parts["type"],
        object_id=parts["id"],
        user=user,
        token=token,
        started_at=datetime.fromtimestamp(int(parts["start"], 16), UTC),
        running=running,
        ended_at=ended_at,
        exit_text=exit_text,
        raw={
            parse_text(k): parse_text(v) if isinstance(v, str) else v for k, v in row.items() if _is_scalar(v)
        },
    )


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)
