"""What an observation of a generation task changes in its rows: cleaned, bounded, one way only. Nothing is written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tasks_app.ingest.text import storable
from tasks_app.models import Generation
from tasks_app.sources.generation.base import GenerationObservation, Problem
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import FINAL_STATES, State, may_become

MOST_TEXT = 2000
"""Characters of a message that are kept."""
MOST_DETAIL = 100_000
"""Characters of what the remote said in full, for staff."""
MOST_JSON = 32_000
"""Characters of one JSON value (metadata, raw answer, handle); a larger one is not kept."""
_MOST_DEPTH = 20
_MOST_ITEMS = 500

SMALL_MOVES = timedelta(seconds=10)
"""Less than a percent is written no more often: a remote with many digits would otherwise cost a write each time."""

REPORTED = "reported_percent"
"""In Generation.metadata: the remote's last number, which may go back where the bar does not."""
AFTERWARDS = "told_after_the_end"
"""In Generation.metadata: the state that the remote told after a final one. A note, nothing follows from it."""

TOO_LATE = "It finished before the cancel arrived."
ENDED_BY_ITSELF = "It had ended by itself before the cancel arrived."
STOPPED = "The provider stopped it."

NO_PROBLEM = Problem(Kind.PROVIDER, "")


@dataclass
class Changes:
    """Fields to write. `is_sign`: the remote shows that it works on the task. `ends`: the state becomes final."""

    task: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    is_sign: bool = False
    ends: bool = False

    def __bool__(self) -> bool:
        return bool(self.task or self.generation)


def changes_of(row: Generation, seen: GenerationObservation, at: datetime) -> Changes:
    """What `seen` tells that `row` does not have yet; empty when it tells nothing new. Log and results not included.

    A state goes one way. An observation that is behind (queued, after it ran) moves neither place nor progress. After
    the end it is a note; an unknown end (`lost`) gives way to a known one.
    """
    task, old = row.task, State(row.task.state)
    if old in FINAL_STATES and not (seen.state and may_become(old, seen.state)):
        return _afterwards(row, seen)
    changes = Changes()
    if seen.state is not None and may_become(old, seen.state):
        changes.task["state"] = seen.state
        changes.ends = seen.state in FINAL_STATES
    state = State(changes.task.get("state", old))
    if not (seen.state is State.PENDING and old is State.PROCESSING):
        _told(changes, row, seen, state, at)
    updated_at = aware(seen.updated_at)
    if updated_at and (row.remote_updated_at is None or updated_at > row.remote_updated_at):
        changes.generation["remote_updated_at"] = updated_at
        changes.is_sign = True
    if task.missing_count:
        changes.task |= {"missing_count": 0, "missing_since": None}
    if row.processing_at is None and state is not State.PENDING:
        began = within(seen.started_at, task.started_at, at) or (at if state is State.PROCESSING else None)
        _put(changes.generation, row, "processing_at", began)
    changes.is_sign |= "state" in changes.task
    if changes.ends:
        _put(changes.task, task, "ended_at", within(seen.finished_at, task.started_at, at) or at)
        end(changes, row, state, seen.problem or NO_PROBLEM)
    if changes and seen.raw and not seen.is_partial:
        _put(changes.task, task, "raw", shown_json(seen.raw, {}))
    return changes


def end(changes: Changes, row: Generation, state: State, problem: Problem) -> None:
    """Add what belongs to every end: bar, error, no further questions, how a cancel came out."""
    task = row.task
    changes.ends = True
    if state is State.COMPLETED:
        _put(changes.task, task, "percent", 100.0)
        _put(changes.task, task, "error_line", "")
        problem = Problem("", "")
    if state is State.CANCELLED:
        problem = Problem("", problem.text, detail=problem.detail)
    if state is not State.COMPLETED:
        _put(changes.task, task, "error_line", _text(problem.text, MOST_TEXT))
    for name, value in {
        "ask_at": None,
        "queue_position": None,
        "quiet_since": None,
        "lease_until": None,
        "hold_reason": "",
        "problem_kind": _text(problem.kind, 30),
        "problem_code": _text(problem.code, 100),
        "problem_detail": _text(problem.detail, MOST_DETAIL),
    }.items():
        _put(changes.generation, row, name, value)
    if task.cancel_requested_at is not None and not task.cancel_note:
        notes = {State.CANCELLED: STOPPED, State.COMPLETED: TOO_LATE}
        changes.task["cancel_note"] = notes.get(state, ENDED_BY_ITSELF)


def shown_json(value: Any, otherwise: Any) -> Any:
    """`value` as people may see it and every database takes it; `otherwise` when it is too large or too deep.

    Stacks of the remote's code go, and so does the query of an address, which may be a signature.
    """
    clean = _shown(value, _MOST_DEPTH)
    return clean if type(clean) is type(otherwise) and fits(clean) else otherwise


def kept_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A handle or reference: unchanged but storable. Raises ValueError when it is too large or too deep."""
    clean = _kept(value, _MOST_DEPTH)
    if not fits(clean):
        raise ValueError("The remote's reference is too large to be kept.")
    return dict(clean)


def fits(value: Any) -> bool:
    return len(json.dumps(value)) <= MOST_JSON


def aware(value: Any) -> datetime | None:
    """An aware UTC time; one without a zone is read as UTC, as the task API sends it."""
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def within(value: Any, low: datetime, high: datetime) -> datetime | None:
    """A time of the remote that fits to ours; None when its clock tells something that cannot be."""
    moment = aware(value)
    return moment if moment is not None and low <= moment <= high else None


def _afterwards(row: Generation, seen: GenerationObservation) -> Changes:
    changes = Changes()
    if seen.state not in (None, row.task.state):
        _put(changes.generation, row, "metadata", row.metadata | {AFTERWARDS: str(seen.state)})
    return changes


def _told(changes: Changes, row: Generation, seen: GenerationObservation, state: State, at: datetime) -> None:
    """Words and numbers. What is empty in the answer does not empty the row: lists tell less than single answers."""
    _put(changes.generation, row, "word", _text(seen.word, 60) or str(seen.state or row.word))
    metadata = row.metadata | shown_json(seen.metadata, {})
    _progress(changes, row, seen, state, metadata, at)
    if fits(metadata):
        _put(changes.generation, row, "metadata", metadata)
    if message := _text(seen.message, MOST_TEXT):
        _put(changes.generation, row, "message", message)
        _put(changes.task, row.task, "step", _one_line(message)[:200])
    if cost := _text(seen.cost, 60):
        _put(changes.generation, row, "cost", cost)


def _progress(
    changes: Changes,
    row: Generation,
    seen: GenerationObservation,
    state: State,
    metadata: dict[str, Any],
    at: datetime,
) -> None:
    """The stored number is the remote's last, the bar its highest. None stays None: no number is made up."""
    reported = _percent(seen.progress)
    if reported is not None and _has_moved(row, reported, at):
        metadata[REPORTED] = reported
        changes.is_sign = True
        _put(changes.task, row.task, "percent", max(row.task.percent or 0.0, reported))
    place = _place(seen.queue_position) if state is State.PENDING else None
    is_untold = seen.is_partial and state is State.PENDING and place is None
    if not is_untold and place != row.queue_position:
        changes.generation["queue_position"] = place
        changes.is_sign = True


def _has_moved(row: Generation, reported: float, at: datetime) -> bool:
    """Whether the number is worth a write: by a point, or at all when the last one is some seconds old."""
    known = row.metadata.get(REPORTED)
    if not isinstance(known, int | float) or reported in (known, 100.0):
        return bool(known != reported)
    return abs(reported - known) >= 1.0 or at - row.last_sign_at >= SMALL_MOVES


def _put(target: dict[str, Any], row: Any, name: str, value: Any) -> None:
    if getattr(row, name) != value:
        target[name] = value


def _percent(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return min(100.0, max(0.0, number)) if isfinite(number) else None


def _place(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 2**31 else None


def _text(value: Any, most: int) -> str:
    return storable(value[:most]).strip() if isinstance(value, str) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _shown(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _without_query(storable(value[:MOST_TEXT]))
    if isinstance(value, Mapping) and depth:
        return {
            storable(str(key)[:200]): _shown(item, depth - 1)
            for key, item in list(value.items())[:_MOST_ITEMS]
            if "traceback" not in str(key).lower()
        }
    if isinstance(value, list | tuple) and depth:
        return [_shown(item, depth - 1) for item in value[:_MOST_ITEMS]]
    return _plain(value)


def _kept(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping) and depth:
        return {storable(str(key)): _kept(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [_kept(item, depth - 1) for item in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    """Numbers that JSON in every database has; anything else is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, int):
        return value if isinstance(value, bool) or abs(value) < 2**63 else None
    return None


def _without_query(text: str) -> str:
    if "?" not in text or not text.startswith(("http://", "https://")):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
