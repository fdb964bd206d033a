"""Reads one video job, as the profiles and the resellers write it, into an observation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks_app.sources.generation import reading
from tasks_app.sources.generation.base import GenerationObservation, Problem, RemoteAsset
from tasks_app.sources.generation.calls import message_of
from tasks_app.sources.generation.problems import Kind, classify, is_retryable
from tasks_app.sources.generation.values import strip_traceback
from tasks_app.states import FINAL_STATES, State

WORDS: dict[str, State] = {
    "queued": State.PENDING,
    "submitted": State.PENDING,
    "pending": State.PENDING,
    "in_progress": State.PROCESSING,
    "processing": State.PROCESSING,
    "running": State.PROCESSING,
    "completed": State.COMPLETED,
    "succeeded": State.COMPLETED,
    "done": State.COMPLETED,
    "failed": State.FAILED,
    "expired": State.FAILED,
    "error": State.FAILED,
    "cancelled": State.CANCELLED,
    "canceled": State.CANCELLED,
}
ID_NAMES = ("id", "request_id", "video_id", "task_id")
TOLD_ELSEWHERE = frozenset(
    {
        *ID_NAMES,
        "status",
        "object",
        "progress",
        "created_at",
        "created",
        "completed_at",
        "error",
        "code",
        "prompt",
        "video_url",
        "url",
        "urls",
        "unsigned_urls",
        "polling_url",
    }
)
"""Members that an observation says in fields of its own; the rest becomes metadata."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How jobs of one source are read. `words` are the settings' own."""

    origin: str
    words: Mapping[str, State] = field(default_factory=dict)

    def state_of(self, word: str) -> State | None:
        return self.words.get(word.lower()) or WORDS.get(word.lower())

    def observe(
        self,
        job: Mapping[str, Any],
        remote_id: str,
        *,
        assets: tuple[RemoteAsset, ...] = (),
        wait_seconds: float | None = None,
        cost: str = "",
        is_row: bool = False,
    ) -> GenerationObservation:
        """`assets` count for a completed job only. `is_row`: out of a list, which may leave result and error out."""
        word = reading.text_of(job.get("status"), 60)
        state = self.state_of(word)
        problem = problem_of(job, word) if state is State.FAILED else None
        has_all = not is_row or state not in (State.COMPLETED, State.FAILED) or bool(job.get("error"))
        return GenerationObservation(
            remote_id=remote_id,
            state=state,
            word=word,
            progress=reading.percent_of(job.get("progress")),
            created_at=first_time(job, "created_at", "created"),
            started_at=first_time(job, "started_at"),
            finished_at=first_time(job, "completed_at", "finished_at") if state in FINAL_STATES else None,
            updated_at=first_time(job, "updated_at"),
            problem=problem,
            assets=assets if state is State.COMPLETED else (),
            metadata=reading.small_json(
                {name: value for name, value in job.items() if name not in TOLD_ELSEWHERE}
            ),
            cost=cost,
            ask_again_seconds=wait_seconds,
            is_partial=not has_all,
            input=input_of(job),
            kind="video",
            raw=job,
        )


def job_of(data: Any) -> dict[str, Any]:
    """The job in an answer; some resellers put it below `data`. Empty when the answer holds none."""
    outer = reading.members_of(data)
    inner = reading.members_of(outer.get("data"))
    return inner if inner and not has_job(outer) and has_job(inner) else outer


def has_job(job: Mapping[str, Any]) -> bool:
    return bool(job_id_of(job)) or isinstance(job.get("status"), str)


def job_id_of(job: Mapping[str, Any]) -> str:
    return next(filter(None, (reading.id_of(job.get(name)) for name in ID_NAMES)), "")


def problem_of(job: Mapping[str, Any], word: str) -> Problem:
    """Why a failed job failed. `error` is an object, a text, or missing; xAI puts its code beside it."""
    error = job.get("error")
    members = reading.members_of(error)
    code = reading.text_of(members.get("code") or members.get("type") or job.get("code"), 100)
    words = message_of(error) or message_of(job.get("message"))
    is_expired = word.lower() == "expired"
    kind = classify(code, words)
    if is_expired and kind is Kind.PROVIDER:
        kind = Kind.TIMED_OUT
    if not words:
        words = "The job expired at the provider." if is_expired else "The provider gives no reason."
    detail = reading.small_json(error, characters=4000)
    return Problem(
        kind,
        strip_traceback(words),
        code,
        retryable=is_retryable(kind),
        detail=str(detail) if isinstance(detail, dict | list) else words,
    )


def first_time(job: Mapping[str, Any], *names: str) -> datetime | None:
    return next(filter(None, (reading.time_of(job.get(name)) for name in names)), None)


def input_of(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was asked for, as far as the job repeats it."""
    asked = {name: reading.text_of(job.get(name), 20_000) for name in ("prompt", "model", "size", "seconds")}
    return {name: value for name, value in asked.items() if value} or None


def video_asset(url: str, remote_id: str, *, needs_auth: bool, expires_at: datetime | None) -> RemoteAsset:
    return RemoteAsset(
        name=f"{remote_id}.mp4", url=url, ref={"id": remote_id}, needs_auth=needs_auth, expires_at=expires_at
    )
