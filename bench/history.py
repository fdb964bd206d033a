"""The history with 1,000,000 tasks and with a tenth of it: pages, filters, searches, counts, harvest, size.

Through the services that the page is made of, and through the page itself with Django's test client, as an operator
with a role on two of three sources (where the line says so, an auditor of all or a member of a team). SQLite, or
databases of their own on the PostgreSQL server of PORTAL_DATABASE_URL. Each size in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.databases import Stopwatch, throw_away_database
from bench.tables import percentile, print_goals, print_table

DATABASE_MS, PAGE_MS, RATIO = 50.0, 150.0, 1.3
HARVEST_ROWS_PER_SECOND = 5000
TOO_SHORT_MS = 5.0
"""Two times that both are shorter are not compared: their ratio says more about the machine than about us."""
WARM_RUNS = 3
PAGE_ROWS = 50
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Case:
    """Something a person does. Times in milliseconds: of its queries, and of all of it; and our processor time."""

    name: str
    database: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    database_processor: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    queries: int = 0
    slowest: str = ""


@dataclass
class Figures:
    """What one size of database gave."""

    engine: str
    rows: int
    cases: list[Case]
    harvest_rows_per_second: float
    bytes_of: dict[str, float]


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench history", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=30, help="times each thing is done (30)")
    parser.add_argument("--slow", action="store_true", help="show the slowest query of each line")
    parser.add_argument("--one-size", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one_size:
        with throw_away_database() as engine:
            figures = _run(engine, options.rows, options.runs)
        Path(options.one_size).write_text(json.dumps(asdict(figures)))
        return True
    small, large = (_in_its_process(rows, options.runs) for rows in (options.rows // 10, options.rows))
    return _report(small, large, show_slow=options.slow)


def _in_its_process(rows: int, runs: int) -> Figures:
    file = Path(f"/tmp/bench-history-{os.getpid()}-{rows}.json")
    command = [sys.executable, "-m", "bench", "history", "--rows", str(rows), "--runs", str(runs)]
    try:
        subprocess.run([*command, "--one-size", str(file)], cwd=ROOT, check=True)
        figures = Figures(**json.loads(file.read_text()))
    finally:
        file.unlink(missing_ok=True)
    figures.cases = [Case(**case) for case in figures.cases]  # type: ignore[arg-type]
    return figures


def _run(engine: str, rows: int, runs: int) -> Figures:
    from django.utils.timezone import now

    from bench.history_rows import build

    at, began = now(), time.monotonic()
    build(rows, at)
    print(f"{engine}: {rows:,} tasks written in {time.monotonic() - began:.0f} s", flush=True)
    bytes_of = _bytes_per_task()
    cases = measure(at, runs)
    return Figures(engine, rows, cases, _harvest(at), bytes_of)


def measure(at: datetime, runs: int) -> list[Case]:
    """Every case, `runs` times after some to warm up."""
    found = []
    for name, do in _cases(at):
        case = Case(name)
        for run in range(WARM_RUNS + runs):
            watch, began, spent = Stopwatch(), time.perf_counter(), time.thread_time()
            with watch:
                do()
            if run >= WARM_RUNS:
                case.whole.append((time.perf_counter() - began) * 1000)
                case.processor.append((time.thread_time() - spent) * 1000)
                case.database.append(watch.milliseconds)
                case.database_processor.append(watch.processor)
        case.queries, case.slowest = watch.queries, "{:.1f} ms: {}".format(*max(watch.slow))
        found.append(case)
    return found


def _cases(at: datetime) -> Iterator[tuple[str, Callable[[], object]]]:
    from django.contrib.auth.models import User

    from bench.history_rows import RARE_LOG_WORD, RARE_WORD
    from tasks_app.models import Source, Submission, Task, Team
    from tasks_app.services.history_filters import HistoryFilters

    operator, auditor, member = (
        User.objects.get(username=name) for name in ("operator", "auditor", "member-1")
    )
    source, team = Source.objects.order_by("pk")[0].pk, Team.objects.of(member).get().pk
    request = Submission.objects.order_by("-pk")[9].request_id
    oldest = Task.objects.order_by("started_at")[0].started_at
    days = {"since": at - timedelta(days=30), "until": at}
    lists = {
        "newest first": {},
        "source": {"source": source},
        "node": {"node": "pve3"},
        "type: backup, a third of all": {"type": "vzdump"},
        "type: rare": {"type": "wipedisk"},
        "outcome: failed": {"outcome": "failed"},
        "outcome: unknown end": {"outcome": "lost"},
        "outcome: with warnings": {"outcome": "warnings"},
        "needs attention": {"outcome": "attention"},
        "a cell of the grid": {"type": "qmclone", "outcome": "failed"},
        "type, node and outcome": {"type": "qmclone", "node": "pve3", "outcome": "failed"},
        "Proxmox user": {"user": "bob@pve"},
        "Proxmox user, a part of the name": {"user": "lice"},
        "person": {"person": "Carol Carter"},
        "person of the portal": {"person": "member-7"},
        "person: unknown": {"person": "unknown"},
        "VMID": {"vmid": 303},
        "team": {"team": team},
        "request": {"request": request},
        "last 30 days": days,
        "the oldest day": {"until": oldest + timedelta(days=1)},
        "text: common": {"text": "backup"},
        "text: in every row": {"text": "upid"},
        "text: rare": {"text": RARE_WORD},
        "text: rare, in logs": {"text": RARE_LOG_WORD},
        "text: two words": {"text": 'vzdump "no space left"'},
        "text: common and a rare type": {"text": "pve3", "type": "wipedisk"},
        "text: no hit": {"text": "does-not-exist-at-all"},
        "text: a number": {"text": "303"},
        "text in the last 30 days": {"text": "web-303"} | days,
    }
    deep = {
        "half way down": ({}, 0.5),
        "at the very end": ({}, 0.999),
        "failed, half way down": ({"outcome": "failed"}, 0.5),
        "text: common, half way down": ({"text": "backup"}, 0.5),
    }
    for name, chosen in lists.items():
        yield f"list, {name}", _page(operator, HistoryFilters(**chosen))  # type: ignore[arg-type]
    for name, (chosen, share) in deep.items():
        filters = HistoryFilters(**chosen)  # type: ignore[arg-type]
        yield f"list, {name}", _page(operator, filters, at - (at - oldest) * share)
    for name, user in (("auditor of all", auditor), ("member of a team", member)):
        for text in ("", "backup"):
            yield f"list, {name}{', text' if text else ''}", _page(user, HistoryFilters(text=text))
    counts = {
        "all": {},
        "source and type": {"source": source, "type": "vzdump"},
        "node": {"node": "pve3"},
        "failed, last 30 days": {"outcome": "failed"} | days,
        "last 24 hours": {"since": at - timedelta(hours=24)},
        "a year": {"since": at - timedelta(days=365)},
        "VMID": {"vmid": 303},
        "person": {"person": "Carol Carter"},
        "text: common": {"text": "backup"},
        "text: rare": {"text": RARE_WORD},
    }
    for name, chosen in counts.items():
        yield f"counts, {name}", _counts(operator, HistoryFilters(**chosen))  # type: ignore[arg-type]
    yield "counts, member of a team", _counts(member, HistoryFilters())
    yield from _pages(
        operator,
        {
            "all": "",
            "type and outcome": "type=qmclone&outcome=failed",
            "text": "q=backup",
            "VMID": "vmid=303",
            "30 days": "since=30d",
        },
    )


def _page(user: Any, filters: Any, below: datetime | None = None) -> Callable[[], object]:
    """`below`: the page that begins there, as far down as somebody has scrolled."""
    from tasks_app.models import Task, TaskText
    from tasks_app.services.search import history_page, place_of
    from tasks_app.views.paging import rows_of

    place = None
    if below is not None and filters.terms:
        place = TaskText.first_key(below)
    elif below is not None:
        place = place_of(Task.objects.filter(started_at__lte=below).order_by("-started_at", "-pk")[0])

    def do() -> object:
        return history_page(rows_of(Task.objects.visible_to(user)), filters, below=place, size=PAGE_ROWS)

    return do


def _counts(user: Any, filters: Any) -> Callable[[], object]:
    from tasks_app.services.facets import overview

    return lambda: overview(user, filters)


def _pages(user: Any, queries: dict[str, str]) -> Iterator[tuple[str, Callable[[], object]]]:
    from django.test import Client
    from django.urls import reverse

    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    address = reverse("portal:history")

    def ask(query: str) -> None:
        answer = client.get(f"{address}?{query}")
        if answer.status_code != 200:
            raise SystemExit(f"{address}?{query} answered {answer.status_code}")

    for name, query in queries.items():
        yield f"whole page, {name}", lambda query=query: ask(query)  # type: ignore[misc]


def _report(small: Figures, large: Figures, *, show_slow: bool) -> bool:
    rows = []
    for before, case in zip(small.cases, large.cases, strict=True):
        both = (before, case)
        rows.append(
            [
                case.name,
                *(f"{percentile(each.database, 95):.1f}" for each in both),
                *(f"{percentile(each.whole, 95):.0f}" for each in both),
                f"{_ratio(before.database, case.database):.2f}",
                f"{_ratio(before.whole, case.whole):.2f}",
                str(case.queries),
            ]
        )
    head = ["", f"db p95, {small.rows:,}", f"{large.rows:,}", f"whole p95, {small.rows:,}", f"{large.rows:,}"]
    head += ["db ratio", "whole ratio", "queries"]
    print_table(f"History, {large.engine}; ms; ratios of medians", head, rows)
    if show_slow:
        for case in large.cases:
            print(f"  {case.name}: {case.slowest[:600]}")
    sizes = [[what, *(f"{each.bytes_of[what]:.0f}" for each in (small, large))] for what in large.bytes_of]
    print_table(
        "Bytes for each task, or for each kept log", ["", f"{small.rows:,}", f"{large.rows:,}"], sizes
    )
    return print_goals(_goals(small, large))


def _goals(small: Figures, large: Figures) -> list[tuple[str, float, float, str]]:
    goals = []
    for what, limit in (("database", DATABASE_MS), ("whole", PAGE_MS)):
        worst = max(large.cases, key=lambda case: percentile(getattr(case, what), 95))
        goals.append(
            (f"slowest, {what} ({worst.name}), p95", percentile(getattr(worst, what), 95), limit, "ms")
        )
        pairs = list(zip(small.cases, large.cases, strict=True))
        before, after = max(pairs, key=lambda pair: _ratio(getattr(pair[0], what), getattr(pair[1], what)))
        ratio = _ratio(getattr(before, what), getattr(after, what))
        goals.append((f"worst ratio, {what} ({after.name})", ratio, RATIO, ""))
    for each in (small, large):
        milliseconds = 1000 / each.harvest_rows_per_second
        text = f"first harvest beside {each.rows:,} tasks, {each.harvest_rows_per_second:,.0f} rows/s: a row"
        goals.append((text, milliseconds, 1000 / HARVEST_ROWS_PER_SECOND, "ms"))
    return goals


def _ratio(before: Sequence[float], after: Sequence[float]) -> float:
    """Of medians; 1 when both are too short to be compared."""
    first, second = percentile(before, 50), percentile(after, 50)
    return 1.0 if max(first, second) < TOO_SHORT_MS else second / first


def _bytes_per_task() -> dict[str, float]:
    """What a task without a kept log takes with its indexes and counts, and what a kept log adds, with its words."""
    from django.db import connection

    from tasks_app.models import LogChunk, Task, TaskLog, TaskRollup, TaskTally, TaskText

    def size(*models: Any) -> int:
        return sum(_table_bytes(connection, model._meta.db_table) for model in models)

    tasks, logs = Task.objects.count(), TaskLog.objects.count()
    texts, kept = size(TaskText) + _index_bytes(connection), size(TaskLog, LogChunk)
    characters = sum(TaskText.objects.values_list("log_characters", flat=True).iterator())
    of_words = texts * (1 - characters / max(1, characters + _word_characters()))
    plain = size(Task, TaskTally, TaskRollup) + of_words
    return {
        "row with its indexes": size(Task) / tasks,
        "tallies": size(TaskTally, TaskRollup) / tasks,
        "searched words": of_words / tasks,
        "without log": plain / tasks,
        "kept log": kept / logs,
        "searched log": (texts - of_words) / logs,
        "with log": plain / tasks + (kept + texts - of_words) / logs,
    }


def _word_characters() -> int:
    from django.db.models import Sum
    from django.db.models.functions import Length

    from tasks_app.models import TaskText

    total: int = TaskText.objects.aggregate(n=Sum(Length("text") - 1))["n"] or 0
    logs: int = TaskText.objects.aggregate(n=Sum("log_characters"))["n"] or 0
    return total - logs


def _table_bytes(connection: Any, table: str) -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_total_relation_size(%s)", [table])
        else:
            cursor.execute(
                "SELECT sum(pgsize) FROM dbstat WHERE aggregate AND name IN "
                "(SELECT name FROM sqlite_master WHERE tbl_name = %s)",
                [table],
            )
        return int(cursor.fetchone()[0] or 0)


def _index_bytes(connection: Any) -> int:
    """SQLite keeps the text index in tables of its own, PostgreSQL with the table."""
    if connection.vendor == "postgresql":
        return 0
    from tasks_app.models.search_sql import FTS

    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(pgsize) FROM dbstat WHERE aggregate AND name LIKE %s", [f"{FTS}_%"])
        return int(cursor.fetchone()[0] or 0)


def _harvest(at: datetime, rows: int = 20_000) -> float:
    """Rows a second of a first harvest into a new source, with triggers and with the pauses between batches.

    The text index is filled later by a job of its own.
    """
    from bench.history_rows import observations
    from bench.rows import make_source
    from tasks_app.ingest.tasks import ingest_observations

    source = make_source("new", at)
    seen = list(observations(rows, at))
    began = time.perf_counter()
    result = ingest_observations(source, seen, at=at)
    seconds = time.perf_counter() - began
    if len(result.new_pks) != rows:
        raise SystemExit(f"{len(result.new_pks)} of {rows} rows were harvested")
    return rows / seconds
