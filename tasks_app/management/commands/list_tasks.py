"""`manage.py list_tasks`: tasks for scripts and terminals, newest first."""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import localtime

from tasks_app.models import Source, Task
from tasks_app.states import State

DEFAULT_LIMIT = 50
_HEADINGS = ("ID", "STATE", "WHAT", "WHERE", "BY", "STARTED", "TOOK", "%")
_MAX_WHAT = 60


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise ArgumentTypeError("a number from 1 to 1000000")
    return int(text)


class Command(BaseCommand):
    """Reads the portal's tables; asks no source."""

    help = "List tasks as the portal last saw them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--source", metavar="N", help="name of a source")
        parser.add_argument("--state", metavar="S", choices=[state.value for state in State])
        parser.add_argument("--type", metavar="T", help="worker type, for instance qmclone")
        parser.add_argument("--limit", metavar="N", type=_positive, default=DEFAULT_LIMIT)
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        tasks = _find(options)
        lines = (
            (json.dumps(_as_json(task), ensure_ascii=False) for task in tasks)
            if options["json"]
            else _table(tasks)
        )
        try:
            for line in lines:
                self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # the reader has seen enough (`| head`); Python would complain once more when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find(options: dict[str, Any]) -> list[Task]:
    tasks = Task.objects.select_related("source").order_by("-started_at", "-pk")
    if options["source"] is not None:
        source = Source.objects.filter(name=options["source"]).first()
        if source is None:
            names = ", ".join(Source.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no source “{options['source']}”. Known: {names}.")
        tasks = tasks.filter(source=source)
    if options["state"]:
        tasks = tasks.filter(state=options["state"])
    if options["type"]:
        tasks = tasks.filter(type=options["type"])
    return list(tasks.defer("raw", "tracker_state", "search_text")[: options["limit"]])


def _as_json(task: Task) -> dict[str, Any]:
    return {
        "id": task.pk,
        "source": task.source.name,
        "node": task.node,
        "upid": task.remote_id,
        "type": task.type,
        "what": task.sentence,
        "user": _who(task),
        "state": task.state,
        "warnings": task.warnings,
        "exit_text": task.exit_text,
        "error": task.error_line,
        "percent": task.percent,
        "started_at": _iso(task.started_at),
        "ended_at": _iso(task.ended_at),
        "cancel_requested_at": _iso(task.cancel_requested_at),
    }


def _table(tasks: Iterable[Task]) -> Iterator[str]:
    """Aligned columns, blanks between them; the last one is not padded."""
    rows = [_HEADINGS, *(_cells(task) for task in tasks)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(task: Task) -> tuple[str, ...]:
    what = _printable(task.sentence)
    seconds = task.duration_seconds
    return (
        str(task.pk),
        task.state_word,
        what if len(what) <= _MAX_WHAT else what[: _MAX_WHAT - 1] + "…",
        f"{task.source.name}/{_printable(task.node)}",
        _printable(_who(task)),
        f"{localtime(task.started_at):%Y-%m-%d %H:%M:%S}",
        ""
        if seconds is None
        else f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}",
        "" if task.percent is None or task.is_final else f"{task.percent:.0f}",
    )


def _who(task: Task) -> str:
    return f"{task.remote_user}!{task.remote_token}" if task.remote_token else task.remote_user


def _printable(text: str) -> str:
    """A remote's text must not steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None
