"""Fills the text index: what is searched of a task is its words and its log, in lower case."""

import re
from collections import defaultdict
from collections.abc import Iterable

from django.db import connection, transaction

from tasks_app.models import LogChunk, Task, TaskLog, TaskText
from tasks_app.models.search import digits_term

WORDS = ("search_text", "person", "vmid", "new_vmid", "object_name", "new_name")
_NUMBER = re.compile(r"[0-9]{3,}")

BATCH = 200
"""Tasks in one transaction: with their logs some megabytes, and about 50 ms."""
LOG_CHARACTERS = 32_000
"""Of a longer log the beginning and the end are searched, half of this each."""


def index_batch() -> int:
    """Index the tasks that are due, newest first, at most BATCH; how many. Running it twice at once is harmless."""
    with transaction.atomic():
        due = Task.objects.filter(is_indexed=False).order_by("-pk")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        pks = list(due.values_list("pk", flat=True)[:BATCH])
        if not pks:
            return 0
        # Marked before they are read: who changes one from here on makes it due again.
        Task.objects.filter(pk__in=pks).update(is_indexed=True)
        tasks = list(Task.objects.filter(pk__in=pks).only("pk", "started_at", *WORDS))
        logs = _read_logs(pks)
        TaskText.objects.bulk_create(
            [_document(task, *logs.get(task.pk, ("", False))) for task in tasks],
            update_conflicts=True,
            unique_fields=["key"],
            update_fields=["text", "log_characters", "is_cut"],
        )
    return len(pks)


def _document(task: Task, log: str, is_cut: bool) -> TaskText:
    text = f"{words_of(task)}\n{log}" if log else words_of(task)
    return TaskText(key=TaskText.key_of(task), task=task, text=text, log_characters=len(log), is_cut=is_cut)


def words_of(task: Task) -> str:
    """What is searched of a task besides its log; it needs the fields WORDS."""
    return "\n".join(filter(None, [task.search_text, task.person.lower(), *_digits_of(task)]))


def _digits_of(task: Task) -> list[str]:
    """Numbers of guests and in their names, in the form in which a number alone is looked for."""
    numbers = [str(vmid) for vmid in (task.vmid, task.new_vmid) if vmid is not None]
    found = [*numbers, *_NUMBER.findall(task.object_name), *_NUMBER.findall(task.new_name)]
    return [digits_term(number) for number in dict.fromkeys(found)]


def _read_logs(task_pks: Iterable[int]) -> dict[int, tuple[str, bool]]:
    """Task → its stored log in lower case, and whether its middle was left out."""
    tasks = dict(TaskLog.objects.filter(task__in=list(task_pks), lines__gt=0).values_list("pk", "task_id"))
    firsts: defaultdict[int, list[int]] = defaultdict(list)
    rows = LogChunk.objects.filter(log__in=tasks).order_by("log", "first")
    for log_pk, first in rows.values_list("log_id", "first"):
        firsts[log_pk].append(first)
    found = {}
    for log_pk, starts in firsts.items():
        head, tail = _ends_of(log_pk, starts)
        text = "\n".join(head) if tail is None else "\n".join([*head, *tail])
        is_cut = len(text) > LOG_CHARACTERS or tail is not None
        if len(text) > LOG_CHARACTERS:
            text = f"{text[: LOG_CHARACTERS // 2]}\n{text[-(LOG_CHARACTERS // 2) :]}"
        found[tasks[log_pk]] = (text.lower(), is_cut)
    return found


def _ends_of(log_pk: int, starts: list[int]) -> tuple[list[str], list[str] | None]:
    """The first chunks and, of a log of more than three, the last: a chunk has LogChunk.LINES lines."""
    wanted = starts if len(starts) <= 3 else [starts[0], starts[-1]]
    chunks = LogChunk.objects.filter(log=log_pk, first__in=wanted).order_by("first")
    texts = [chunk.unpack() for chunk in chunks]
    if len(starts) <= 3:
        return [line for part in texts for line in part], None
    return texts[0], texts[-1]
