"""Pages of the task list by key: what runs first, then newest first. No offsets and no exact count of everything."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from django.db.models import Q

from tasks_app.models import Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import history_page, parse_below
from tasks_app.templatetags.portal import COUNT_LIMIT

PAGE_ROWS = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(?P<part>[oe])-(?P<micros>\d{1,17})-(?P<pk>\d{1,18})")


# What a row shows; the other columns are wide and stay in the table.
ROW_FIELDS = (
    "id",
    "source_id",
    "source__name",
    "source__failing_since",
    "source__paused_at",
    "source__is_demo",
    "remote_id",
    "node",
    "type",
    "object_id",
    "vmid",
    "object_name",
    "new_vmid",
    "new_name",
    "remote_user",
    "remote_token",
    "person",
    "state",
    "warnings",
    "exit_text",
    "error_line",
    "started_at",
    "ended_at",
    "percent",
    "step",
    "bytes_done",
    "bytes_total",
    "bytes_per_second",
    "seconds_left",
    "overdue_since",
    "cancel_requested_at",
    "cancel_note",
    "acknowledged_at",
    "submission_id",
    "submission__actor_name",
    *(
        f"generation__{name}"
        for name in (
            "task_id",
            "actor_name",
            "team_id",
            "team__group__name",
            "called_at",
            "answered_at",
            "processing_at",
            "asked_at",
            "hold_reason",
            "queue_position",
            "message",
            "quiet_since",
            "last_sign_at",
            "problem_kind",
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """After which row a page begins. `is_open`: that row was among those that had not ended."""

    is_open: bool
    started_at: datetime
    pk: int

    @classmethod
    def of(cls, task: Task) -> Self:
        return cls(not task.is_final, task.started_at, task.pk)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor in an address; None when there is none or it is not ours."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            return None
        try:
            started_at = _EPOCH + timedelta(microseconds=int(match["micros"]))
        except OverflowError:
            return None
        return cls(match["part"] == "o", started_at, int(match["pk"]))

    def __str__(self) -> str:
        micros = (self.started_at - _EPOCH) // timedelta(microseconds=1)
        return f"{'o' if self.is_open else 'e'}-{max(0, micros)}-{self.pk}"

    def below(self) -> Q:
        """Rows after this one, in a form that the index on (started_at, id) serves."""
        same = Q(started_at=self.started_at, pk__lt=self.pk)
        return Q(started_at__lte=self.started_at) & (Q(started_at__lt=self.started_at) | same)


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Some rows, and where the next page begins: None on the last. `searched_to`: see SearchPage."""

    tasks: list[Task]
    next: Cursor | int | None
    searched_to: datetime | None = None


def read_filtered(tasks: TaskQuerySet, filters: HistoryFilters, before: str) -> TaskPage:
    """The page of `tasks` that `before` of the address begins. Of a text newest first, whatever still runs."""
    tasks = rows_of(tasks)
    if not filters.terms:
        return read_page(filters.apply(tasks), Cursor.parse(before))
    found = history_page(tasks, filters, below=parse_below(before), size=PAGE_ROWS)
    return TaskPage(found.tasks, found.next_below, found.searched_to)


def read_page(tasks: TaskQuerySet, before: Cursor | None, rows: int = PAGE_ROWS) -> TaskPage:
    """The page after `before`. One query, or two where the page holds open and ended tasks.

    A task that ends between two pages can come a second time, never be left out; the page drops the second.
    """
    found: list[Task] = []
    if before is None or before.is_open:
        found = _slice(open_among(tasks), before, rows + 1)
        before = None
    if len(found) <= rows:
        found += _slice(tasks.finished(), before, rows + 1 - len(found))
    more = len(found) > rows
    found = found[:rows]
    return TaskPage(found, Cursor.of(found[-1]) if more else None)


def _slice(tasks: TaskQuerySet, after: Cursor | None, rows: int) -> list[Task]:
    if after is not None:
        tasks = tasks.filter(after.below())
    return list(tasks.order_by("-started_at", "-pk")[:rows])


def open_among(tasks: TaskQuerySet) -> TaskQuerySet:
    """Those of `tasks` that have not ended.

    Asked for by their keys: SQLite would rather read all tasks of a type or source than the few open ones (25 against
    5 ms at 50,000 tasks).
    """
    return tasks.filter(pk__in=Task.objects.unfinished().values("pk"))


def count_capped(tasks: TaskQuerySet) -> int:
    """How many, at most COUNT_LIMIT + 1, which means more than that."""
    return tasks.order_by()[: COUNT_LIMIT + 1].count()


def rows_of(tasks: TaskQuerySet) -> TaskQuerySet:
    """`tasks` with what a row shows and no more."""
    return tasks.select_related("source", "submission", "generation__team__group").only(*ROW_FIELDS)
