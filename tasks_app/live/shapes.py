"""A task as the API tells it, to polling clients and on sockets: from rows that have been read to JSON, no queries.

The shapes, names and words are those of the task API's guide, so that a client written for it works here. Rows come
from `live/objects.py`, with source, generation, submission and assets joined.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor
from typing import Any

from django.urls import reverse

from tasks_app.models import Asset, Generation, Task
from tasks_app.models.generation import UNNAMED
from tasks_app.sources.generation.problems import WORDS, Kind
from tasks_app.states import State

Json = dict[str, Any]

OUTCOME_UNKNOWN = "OutcomeUnknown"
_GENERATION_ERRORS = {
    "video": "VideoGenerationError",
    "image": "ImageGenerationError",
    "workflow": "WorkflowGenerationError",
}
_PROBLEM_KINDS = frozenset(kind.value for kind in Kind)
_MAX_MESSAGE = 500
MAX_DETAIL = 2000


def format_time(at: datetime | None) -> str | None:
    """`2026-01-11T10:30:00Z`: UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def status_of(state: str) -> str:
    """One of the five words; an unknown end is a failure for who waits."""
    return State.FAILED.value if state == State.LOST else str(state)


def progress_of(task: Task) -> int:
    """A whole number because clients compare it: the last percent that was reported, 0 also when there is none.

    100 says that it is completed, so everything else stays below.
    """
    if task.state == State.COMPLETED:
        return 100
    return min(99, floor(task.percent)) if task.percent is not None else 0


def task_object(task: Task, base_url: str, *, task_id: str = "") -> Json:
    """What `GET /api/v1/tasks/{task_id}` answers. `base_url` has no slash at its end.

    `task_id` is the id that was asked for, where that is not the task's own.
    """
    is_completed = task.state == State.COMPLETED
    return {
        "task_id": task_id or task.api_id,
        "status": status_of(task.state),
        "progress": progress_of(task),
        "created_at": format_time(task.started_at),
        "updated_at": format_time(_updated_at(task)),
        "completed_at": format_time(task.ended_at) if is_completed else None,
        "result": result_of(task, base_url) if is_completed else None,
        "error": error_of(task),
    }


def list_row(task: Task) -> Json:
    """One element of what `GET /api/v1/tasks` answers."""
    return {
        "task_id": task.api_id,
        "status": status_of(task.state),
        "progress": progress_of(task),
        "created_at": format_time(task.started_at),
        "updated_at": format_time(_updated_at(task)),
        "message": message_of(task),
    }


def message_of(task: Task) -> str:
    """One sentence about where it stands."""
    match State(task.state):
        case State.PENDING:
            held = task.is_generation and task.generation.hold_reason
            return held or "Task is waiting to start"
        case State.PROCESSING:
            if task.is_cancelling:
                return "Cancellation requested"
            return shorten(task.step, _MAX_MESSAGE) or "Task processing started"
        case State.COMPLETED:
            return (
                f"Task completed with {task.warnings} warning{'s' if task.warnings > 1 else ''}"
                if task.warnings
                else "Task completed successfully"
            )
        case State.CANCELLED:
            return "Task was cancelled"
    return _failure_words(task, _MAX_MESSAGE)


def error_of(task: Task) -> Json | None:
    """`{type, message}` of what failed; None for everything else. Never a traceback: that is for staff."""
    if task.state not in (State.FAILED, State.LOST):
        return None
    return {"type": _error_type(task), "message": _failure_words(task, MAX_DETAIL)}


def is_settled(task: Task) -> bool:
    """Ended, and nothing of its result is still on the way."""
    if not task.is_final:
        return False
    return not (task.is_generation and is_copying(list(task.generation.assets.all())))


def is_copying(assets: Sequence[Asset]) -> bool:
    return any(asset.state == Asset.State.WAITING for asset in assets)


def result_of(task: Task, base_url: str) -> Json:
    """Of a completed task."""
    if task.is_generation:
        return _generation_result(task, base_url)
    return {
        "service": task.source.kind,
        "result": {
            "upid": task.remote_id,
            "node": task.node,
            "type": task.type,
            "exit_status": task.exit_text,
            "vmid": task.vmid,
            "new_vmid": task.new_vmid,
        },
        "duration": _duration(task),
    }


def _generation_result(task: Task, base_url: str) -> Json:
    """The main file's address stands twice: clients of the guide look for it at both places."""
    generation = task.generation
    assets = list(generation.assets.all())
    key, main = _main_url(generation, assets, base_url)
    inner: Json = {key: main, "assets": [_asset(asset, base_url) for asset in assets]}
    result: Json = {"service": task.source.name, "result": inner, key: main, "duration": _duration(task)}
    if is_copying(assets):
        result["copying"] = True
    return result


def _main_url(generation: Generation, assets: Sequence[Asset], base_url: str) -> tuple[str, str | None]:
    """`video_url` or `image_url`, and the address of the portal's copy of the first file of that sort, or None.

    A client that reads it once, when the task is completed, gets the address while the copy is still on its way.
    """
    sort = "image" if generation.kind == Generation.Kind.IMAGE else "video"
    copied = [asset for asset in assets if asset.state == Asset.State.COPIED]
    fitting = [asset for asset in copied if asset.media_type.startswith(f"{sort}/")]
    if generation.kind == Generation.Kind.WORKFLOW and copied and not fitting:
        sort, fitting = "image", [asset for asset in copied if asset.media_type.startswith("image/")]
    coming = [asset for asset in assets if asset.state == Asset.State.WAITING]
    likely = [asset for asset in coming if asset.declared_type.startswith((f"{sort}/", "application/octet"))]
    chosen = [*fitting, *likely, *coming]
    return f"{sort}_url", asset_url(chosen[0], base_url) if chosen else None


def asset_url(asset: Asset, base_url: str) -> str | None:
    """The address of our copy, None when there will be none. The remote's own may be signed and is never told.

    What is still being copied has no name yet: its address says 503 with Retry-After until it is there, and leads to
    the file from then on.
    """
    if asset.state == Asset.State.WAITING:
        return base_url + reverse("portal:result-file", args=[asset.pk, UNNAMED])
    if asset.state != Asset.State.COPIED:
        return None
    return base_url + reverse("portal:result-file", args=[asset.pk, asset.name.replace("/", "_") or UNNAMED])


def _asset(asset: Asset, base_url: str) -> Json:
    return {
        "name": asset.name,
        "url": asset_url(asset, base_url),
        "state": asset.state,
        "media_type": asset.media_type or None,
        "size": asset.size,
        "sha256": asset.sha256 or None,
    }


def _error_type(task: Task) -> str:
    if task.state == State.LOST:
        return OUTCOME_UNKNOWN
    if not task.is_generation:
        return "TaskError"
    kind = task.generation.problem_kind
    if kind and kind != Kind.PROVIDER:
        return kind
    return _GENERATION_ERRORS.get(task.type, "GenerationError")


def _failure_words(task: Task, limit: int) -> str:
    told = shorten(task.error_line or task.exit_text, limit)
    if told:
        return told
    if task.state == State.LOST:
        return "Nobody saw how it ended."
    kind = task.generation.problem_kind if task.is_generation else ""
    return WORDS[Kind(kind)].title if kind in _PROBLEM_KINDS else "Task failed"


def _updated_at(task: Task) -> datetime:
    """Clocks of remotes differ from ours: an update is never before the creation or the end."""
    return max(at for at in (task.started_at, task.changed_at, task.ended_at) if at is not None)


def _duration(task: Task) -> float | None:
    return round(task.duration_seconds, 1) if task.duration_seconds is not None else None


def shorten(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
