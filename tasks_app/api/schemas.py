"""Shapes of requests and answers, for the description of the API; requests are also judged by them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, Field

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]


class ErrorDetail(Schema):
    code: str = Field(description="A word for programs, such as TASK_NOT_FOUND")
    message: str = Field(description="A sentence for people")
    fields: dict[str, str] | None = Field(None, description="With VALIDATION_ERROR: what is wrong, by field")


class ErrorBody(Schema):
    error: ErrorDetail


class TaskError(Schema):
    type: str = Field(description="content_policy, rate_limited, OutcomeUnknown, VideoGenerationError, …")
    message: str


class TaskObject(Schema):
    """One task. `progress` is a whole number; 0 may also mean that no number is known."""

    task_id: str
    status: Status
    progress: int = Field(ge=0, le=100)
    created_at: str = Field(examples=["2026-01-11T10:30:00Z"])
    updated_at: str
    completed_at: str | None
    result: dict[str, Any] | None = Field(description="Set when completed")
    error: TaskError | None = Field(description="Set when failed")


class TaskRow(Schema):
    task_id: str
    status: Status
    progress: int
    created_at: str
    updated_at: str
    message: str


class Cancelled(Schema):
    success: bool
    message: str
    task_id: str


class Accepted(Schema):
    task_id: str
    status: Status
    message: str


def _as_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


Moment = Annotated[datetime, AfterValidator(_as_utc)]


class ListQuery(Schema):
    """What the list can be asked for. Times are about `created_at`."""

    status: str | None = Field(None, description="One or several of the five words, separated by commas")
    source: str | None = Field(None, max_length=60, description="Name of a source")
    type: str | None = Field(None, max_length=300, description="video, image, workflow, qmclone, …; commas")
    since: Moment | None = Field(None, description="Created at or after; ISO 8601, UTC if it names no zone")
    until: Moment | None = Field(None, description="Created before")
    q: str | None = Field(None, max_length=1000, description="Text in name, prompt, error; a VMID; a UPID")
    mine: bool = Field(False, description="Only what I asked for")
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=100, description="Where a page begins: from the Link header")
