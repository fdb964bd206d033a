"""Tags and filters of the portal's templates."""

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime, now

from tasks_app.ingest.persons import describe_person
from tasks_app.models import Task
from tasks_app.progress.estimate import format_usual, usual_duration
from tasks_app.progress.failures import KnownFailure, explain_failure
from tasks_app.progress.logtext import printable
from tasks_app.progress.text import generation_text, progress_text
from tasks_app.states import State
from tasks_app.templatetags.generation_parts import words_of

register = template.Library()

COUNT_LIMIT = 10_000  # counting further costs time and tells nobody anything
_USUAL_RUNS = 30
_SHOWN_CHARS = 2000


def ago(at: datetime, *, today: datetime) -> str:
    """`8 s ago`, `12 min ago`, `3 h ago`, then the date. Times ahead of us (clock skew) read `just now`."""
    seconds = (today - at).total_seconds()
    if seconds < 1:
        return "just now"
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 24 * 3600:
        return f"{int(seconds // 3600)} h ago"
    local = localtime(at)
    return f"{local:%d %b %H:%M}" if local.year == localtime(today).year else f"{local:%d %b %Y}"


@register.simple_tag
def moment(at: datetime | None) -> SafeString | str:
    """A time: relative for reading, absolute with its zone on hover. A script keeps the words current."""
    if at is None:
        return "–"
    local = localtime(at)
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        at.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        ago(at, today=now()),
    )


@register.filter
def duration(seconds: float | None) -> str:
    """`0:42`, `41:09`, `2:03:11`, `3 d 4 h`; a dash when it is not known."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole >= 48 * 3600:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


_ICONS = {
    State.PENDING: "clock",
    State.PROCESSING: "loader-circle",
    State.COMPLETED: "circle-check",
    State.FAILED: "circle-x",
    State.CANCELLED: "ban",
    State.LOST: "circle-question-mark",
}


@register.filter
def state_icon(task: Task) -> str:
    """Name of the icon beside the state's word. A dashed ring says that the last known state is shown."""
    if is_stale(task):
        return "circle-dashed"
    if task.state == State.COMPLETED and task.warnings:
        return "triangle-alert"
    return _ICONS[State(task.state)]


@register.filter
def sign(task: Task) -> str:
    """What CSS shows apart within a state: `cancelling`, `warnings` or ""."""
    if task.is_cancelling:
        return "cancelling"
    return "warnings" if task.state == State.COMPLETED and task.warnings else ""


@register.filter
def is_stale(task: Task) -> bool:
    """Whether the task may have moved on unseen: it has not ended, and its source does not answer or is paused."""
    return not task.is_final and (task.source.failing_since is not None or task.source.paused_at is not None)


@register.filter
def who(task: Task) -> str:
    """Who did it: the person, or `unknown person using token web`; "" where the remote names nobody."""
    return describe_person(task)


@register.filter
def identity(task: Task) -> str:
    """As which Proxmox user, and token, it was done: `root@pam!web`."""
    return f"{task.remote_user}!{task.remote_token}" if task.remote_token else task.remote_user


@register.filter
def one_line(text: str) -> str:
    """A text of a remote on one line, without control characters, not endless."""
    return " ".join(readable(text).split())


@register.filter
def progress_words(task: Task) -> str:
    """The sentence beside the bar; the live stream sends the same."""
    if task.is_generation:
        return generation_text(task.percent, task.step)
    return progress_text(
        task.percent,
        task.bytes_done,
        task.bytes_total,
        task.bytes_per_second,
        task.seconds_left,
        task.step,
    )


@register.filter
def usual_words(task: Task) -> str:
    """`usually 20–40 s (last 30 runs)` of this type on this source; "" when too few have been seen. One query."""
    runs = Task.objects.filter(
        source_id=task.source_id, type=task.type, state=State.COMPLETED, ended_at__isnull=False
    )
    times = runs.order_by("-started_at", "-pk").values_list("started_at", "ended_at")[:_USUAL_RUNS]
    usual = usual_duration([(ended - started).total_seconds() for started, ended in times if ended])
    return format_usual(usual) if usual else ""


@register.filter
def capped(count: int) -> str:
    """`1 284`, or `10 000+`."""
    return (
        f"{COUNT_LIMIT:,}+".replace(",", "\u202f")
        if count > COUNT_LIMIT
        else f"{count:,}".replace(",", "\u202f")
    )


@register.filter
def address(form: Any, before: object) -> str:
    """The query of the page after `before`, with the filters of `form`."""
    query: str = form.address(before=str(before))
    return query


@register.simple_tag
def clock(at: datetime) -> str:
    """`14:02`, with the date when it was another day."""
    local = localtime(at)
    return f"{local:%H:%M}" if local.date() == localtime().date() else f"{local:%d %b %H:%M}"


@register.filter
def failure(task: Task) -> KnownFailure | None:
    """What is known about the error of a failed task."""
    return explain_failure(task.exit_text, task.error_line)


@register.filter
def error_words(task: Task) -> str:
    """The error of a failed task on one line: the log's telling line, else the exit text.

    A lost one has no such line: the last of its log tells of no error. Of a video or image it is what happened in plain
    words, then the provider's.
    """
    if task.is_generation:
        told = one_line(task.error_line or task.exit_text)
        known = words_of(task.generation.problem_kind)
        return ": ".join(filter(None, (known.title if known else "", told))) or "No reason was given"
    if task.state == State.LOST:
        return one_line(task.exit_text) or "How it ended is unknown"
    words = one_line(task.error_line) or one_line(task.exit_text)
    return words.removeprefix("TASK ERROR: ") or "No reason was given"


@register.filter
def readable(text: str) -> str:
    """A longer text of a remote: printable, a few thousand characters at most."""
    return "\n".join(printable(line) for line in text[:_SHOWN_CHARS].split("\n"))
