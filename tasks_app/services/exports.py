"""Exports of the audit trail and of tasks, in any number. Each leaves one entry, written before its first byte."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from django.contrib.auth.models import User
from django.utils.timezone import now

from tasks_app.access.policy import Verb, entries_seen_by, require
from tasks_app.audit.actions import Action
from tasks_app.audit.export import write_pieces
from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.formats import Format, Layout, Record
from tasks_app.audit.recorder import record
from tasks_app.audit.records import ENTRIES, TASKS, record_of_entry, record_of_task, with_export_columns
from tasks_app.errors import Refused
from tasks_app.models import AuditEntry, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import search_page

AT_ONCE = 2
"""In one process. Each holds one of its eight page threads for as long as the reader takes."""
RETRY_SECONDS = 30
ROWS = 500
"""Tasks in memory at a time."""

_places = threading.BoundedSemaphore(AT_ONCE)


class TooManyExports(Refused):
    """All places for exports are taken; ask again after RETRY_SECONDS."""

    status = 429


class ExportStream:
    """The pieces of a file. `close` gives its place back, whether it was read to the end or not begun."""

    def __init__(self, pieces: Iterator[bytes], release: Callable[[], None]) -> None:
        self._pieces, self._release = pieces, release

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        release, self._release = self._release, lambda: None
        release()


@dataclass(frozen=True, slots=True)
class Export:
    """`name` is for the file."""

    name: str
    content_type: str
    stream: ExportStream


def export_entries(
    filters: AuditFilters,
    *,
    actor: User | None,
    format: Format,
    bom: bool = False,
    has_left: Callable[[], bool] = lambda: False,
) -> Export:
    """The audit entries that pass `filters` and that `actor` may see, oldest first. None is an operator at the host.

    The entry about itself is the last, or among the last. It stops once the reader `has_left`. Raises NotPermitted,
    TooManyExports.
    """
    if actor is not None:
        require(actor, Verb.SEE_AUDIT)
    entries = entries_seen_by(actor) if actor is not None else AuditEntry.objects.all()

    chunks = ((record_of_entry(entry) for entry in chunk) for chunk in filters.walk(entries))
    with _taken_place():
        record(
            Action.AUDIT_EXPORT,
            actor=actor,
            target_name="audit trail",
            format=format.value,
            filters=_words(filters),
        )
    return _export(chunks, ENTRIES, format, bom, has_left)


def export_tasks(
    filters: HistoryFilters,
    *,
    actor: User,
    format: Format,
    bom: bool = False,
    has_left: Callable[[], bool] = lambda: False,
) -> Export:
    """The tasks that pass `filters` and that `actor` may see, newest first. Raises TooManyExports."""
    tasks = with_export_columns(filters.apply(Task.objects.visible_to(actor)))

    chunks = ((record_of_task(task) for task in page) for page in _pages(tasks, filters))
    with _taken_place():
        record(
            Action.TASKS_EXPORT,
            actor=actor,
            target_name="tasks",
            format=format.value,
            filters=_words(filters),
        )
    return _export(chunks, TASKS, format, bom, has_left)


def _words(filters: AuditFilters | HistoryFilters) -> dict[str, str]:
    """What is set."""
    values = {field.name: getattr(filters, field.name) for field in dataclasses.fields(filters)}
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in values.items()
        if value
    }


def _pages(tasks: TaskQuerySet, filters: HistoryFilters) -> Iterator[list[Task]]:
    """One short query after the other, each from where the last one ended."""
    below: int | None = None
    while True:
        page = search_page(
            tasks, filters.terms, below=below, size=ROWS, since=filters.since, until=filters.until
        )
        yield page.tasks
        below = page.next_below
        if below is None:
            return


@contextlib.contextmanager
def _taken_place() -> Iterator[None]:
    """Takes one of the places; it is given back at once when the export cannot begin, else by its stream."""
    if not _places.acquire(blocking=False):
        raise TooManyExports(
            f"{AT_ONCE} exports are under way, which is as many as run at once. Try again in {RETRY_SECONDS} seconds."
        )
    try:
        yield
    except BaseException:
        _places.release()
        raise


def _export(
    chunks: Iterator[Iterable[Record]],
    layout: Layout,
    format: Format,
    bom: bool,
    has_left: Callable[[], bool],
) -> Export:
    def records() -> Iterator[Record]:
        for chunk in chunks:
            if has_left():
                return
            yield from chunk

    pieces = write_pieces(records(), layout, format, bom=bom)
    name = f"{layout.name}-{now():%Y%m%dT%H%M%SZ}.{format.ending}"
    return Export(name, format.content_type, ExportStream(pieces, _places.release))
