"""New log lines of the tasks somebody looks at."""

from collections.abc import Collection
from functools import reduce
from operator import or_

from django.db.models import Q
from django.db.models.functions import Left

from tasks_app.models import LogLine, Task
from tasks_app.progress.logtext import shown_kind, shown_text

# A page that lacks more asks the log's own address, which answers in pieces.
MAX_LINES = 500
MAX_CHARACTERS = 64_000  # of all lines of one message; single lines of 300,000 characters exist
FIRST_LINES = 50  # sent when it is not known what the pages have; they ask for what is missing before
_CHUNK = 100  # tasks in one query


class LogTail:
    """How far the log of each task was sent. Used by one thread."""

    def __init__(self) -> None:
        self._sent: dict[int, int] = {}

    def keep_only(self, task_ids: Collection[int]) -> None:
        """Forget the tasks that nobody looks at any more."""
        self._sent = {pk: total for pk, total in self._sent.items() if pk in task_ids}

    def read(self, tasks: list[Task]) -> dict[int, dict[str, object]]:
        """`{"id", "first", "lines", "kinds", "total"}` of each task, keyed by it; texts and kinds as pages show them.

        The last line that was sent comes again: it may have been incomplete. `lines` is empty when they are too
        many, too long, or already packed away; `total` then tells the page to fetch them.
        """
        firsts: dict[int, int] = {}
        for task in tasks:
            firsts[task.pk] = max(1, self._sent.get(task.pk, task.log_total - FIRST_LINES))
        few = [task.pk for task in tasks if task.log_total - firsts[task.pk] <= MAX_LINES]
        found: dict[int, list[tuple[int, str]]] = {}
        for start in range(0, len(few), _CHUNK):
            for pk, number, text in _read_lines({pk: firsts[pk] for pk in few[start : start + _CHUNK]}):
                found.setdefault(pk, []).append((number, text))
        result: dict[int, dict[str, object]] = {}
        for task in tasks:
            first, rows = firsts[task.pk], found.get(task.pk, [])
            total = max(task.log_total, rows[-1][0] if rows else 0)
            texts = [text for _, text in rows]
            is_whole = [number for number, _ in rows] == list(range(first, total + 1))
            if not is_whole or len(texts) > MAX_LINES + 1 or sum(map(len, texts)) > MAX_CHARACTERS:
                texts = []
            self._sent[task.pk] = total
            result[task.pk] = {
                "id": task.pk,
                "first": first,
                "lines": [shown_text(text) for text in texts],
                "kinds": [shown_kind(text) for text in texts],
                "total": total,
            }
        return result


def _read_lines(firsts: dict[int, int]) -> list[tuple[int, int, str]]:
    """Task, number and text (cut one character above the limit) of the lines from each task's first."""
    wanted = reduce(or_, (Q(task=pk, number__gte=first) for pk, first in firsts.items()))
    rows = LogLine.objects.filter(wanted).order_by("task_id", "number")
    return list(
        rows.values_list("task_id", "number", Left("text", MAX_CHARACTERS + 1))[: _CHUNK * MAX_LINES * 2]
    )
