"""The task list with 50,000 tasks: how long its pages, filters, searches and deep pages take, and their queries.

Through Django's test client in this process, as an operator with a role on two of three sources. SQLite, or a
database of its own on the PostgreSQL server of PORTAL_DATABASE_URL.
"""

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bench.databases import throw_away_database
from bench.tables import percentile, print_goals, print_table

if TYPE_CHECKING:
    from django.test import Client

P95_LIMIT_MS = 100.0
WARM_RUNS = 3
SLOW_QUERY_MS = 10.0

Statement = tuple[str, Any]


@dataclass
class Page:
    """One address; `target` is the part that htmx asks for, "" for the whole page. Times in milliseconds."""

    name: str
    address: str
    target: str = ""
    whole: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    size: int = 0


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench lists", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=40, help="times each page is asked for (40)")
    parser.add_argument(
        "--plans", action="store_true", help="show the plan of every query, not of slow ones only"
    )
    options = parser.parse_args(arguments)
    with throw_away_database() as engine:
        pages = _run(options.tasks, options.runs)
        _report(pages, engine, options.tasks)
        _print_plans(pages, show_all=options.plans)
        worst = max(pages, key=lambda page: percentile(page.whole, 95))
        limit = (
            f"{engine}: slowest page ({worst.name}), p95",
            percentile(worst.whole, 95),
            P95_LIMIT_MS,
            "ms",
        )
        return print_goals([limit])


def _run(tasks: int, runs: int) -> list[Page]:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.utils.timezone import now

    from bench.rows import make_sources, make_tasks
    from tasks_app.models import Grant, Role

    at = now()
    began = time.monotonic()
    sources = make_sources(3, at)
    make_tasks(sources, tasks, at)
    print(f"{tasks} tasks written in {time.monotonic() - began:.0f} s", flush=True)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # what autovacuum has long done in real life
    operator = User.objects.create_user("operator")
    for source in sources[:2]:
        Grant.objects.create(user=operator, source=source, role=Role.OPERATOR)
    client = Client(SERVER_NAME="localhost")
    client.force_login(operator)
    pages = _pages(sources[0].pk, at)
    for page in pages:
        _measure(client, page, runs)
    return pages


def _pages(source: int, at: datetime) -> list[Page]:
    from tasks_app.models import Task

    some = Task.objects.filter(source=source).order_by("pk")[1000]
    newest = Task.objects.order_by("-pk")[200].pk
    deep = _cursor("source_id", source, 0.5)
    deep_failed = _cursor("state", "failed", 0.5)
    oldest = _cursor("source_id", source, 0.99)
    return [
        Page("whole list, first page", "/tasks/"),
        Page("rows only", "/tasks/", "task-list"),
        Page("counts only", "/tasks/", "task-summary"),
        Page("half way down", f"/tasks/?before={deep}", "task-more"),
        Page("at the very end", f"/tasks/?before={oldest}", "task-more"),
        Page("state: running", "/tasks/?state=processing"),
        Page("state: failed", "/tasks/?state=failed"),
        Page("state: failed, half way down", f"/tasks/?state=failed&before={deep_failed}", "task-more"),
        Page("state: lost (rare)", "/tasks/?state=lost"),
        Page("with warnings", "/tasks/?state=warnings"),
        Page("needs attention", "/tasks/?state=attention"),
        Page("type: backup (common)", "/tasks/?type=vzdump"),
        Page("type: download (rare)", "/tasks/?type=download"),
        Page("source", f"/tasks/?source={source}"),
        Page("node", "/tasks/?node=pve3"),
        Page("last 24 hours", "/tasks/?since=24h"),
        Page("failed, last 7 days", "/tasks/?state=failed&since=7d"),
        Page("type, node and state", "/tasks/?type=qmclone&node=pve3&state=failed"),
        Page("user (common)", "/tasks/?user=alice"),
        Page("user (nobody)", "/tasks/?user=nobody-at-all"),
        Page("text (common)", "/tasks/?q=web-1"),
        Page("text (in errors)", "/tasks/?q=no+space+left"),
        Page("text (no hit)", "/tasks/?q=xyzzy-does-not-exist"),
        Page("text and state", "/tasks/?q=backup&state=failed"),
        Page("guest by number", f"/tasks/?q={some.vmid}"),
        Page("a pasted UPID", f"/tasks/?q={some.remote_id}"),
        Page("how many are new", f"/tasks/new-count?newest={newest}"),
        Page("dashboard", "/"),
    ]


def _cursor(name: str, value: object, share: float) -> str:
    """Where a page begins that lies so far down in the tasks with this value."""
    from tasks_app.models import Task
    from tasks_app.views.paging import Cursor

    tasks = Task.objects.finished().filter(**{name: value}).order_by("-started_at", "-pk")
    return str(Cursor.of(tasks[int(tasks.count() * share)]))


def _measure(client: "Client", page: Page, runs: int) -> None:
    from django.db import connection

    headers = {"HX-Request": "true", "HX-Target": page.target} if page.target else {}

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        page.statements.append((sql, params))
        return execute(sql, params, many, context)

    for run in range(WARM_RUNS + runs):
        began, spent = time.perf_counter(), time.process_time()
        answer = client.get(page.address, headers=headers)
        seconds, used = time.perf_counter() - began, time.process_time() - spent
        if answer.status_code != 200:
            raise SystemExit(f"{page.address} answered {answer.status_code}")
        if run >= WARM_RUNS:
            page.whole.append(seconds * 1000)
            page.processor.append(used * 1000)
        page.size = len(answer.content)
    with connection.execute_wrapper(note):
        client.get(page.address, headers=headers)
    for _ in range(runs):
        page.database.append(sum(_time(statement) for statement in page.statements))


def _time(statement: Statement) -> float:
    """Milliseconds of a query by itself, with all its rows read."""
    from django.db import connection

    with connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute(*statement)
        if cursor.description:
            cursor.fetchall()
        return (time.perf_counter() - began) * 1000


def _report(pages: Sequence[Page], engine: str, tasks: int) -> None:
    rows = [
        [
            page.name,
            f"{percentile(page.whole, 50):.0f}",
            f"{percentile(page.whole, 95):.0f}",
            f"{percentile(page.processor, 95):.0f}",
            f"{percentile(page.database, 50):.1f}",
            f"{percentile(page.database, 95):.1f}",
            str(len(page.statements)),
            f"{page.size / 1024:.0f}",
        ]
        for page in pages
    ]
    head = ["", "p50", "p95", "cpu p95", "db p50", "db p95", "queries", "KiB"]
    title = f"Task list at {tasks} tasks, {engine}: whole answer, processor time in it, its database part; ms"
    print_table(title, head, rows)


def _print_plans(pages: Sequence[Page], *, show_all: bool) -> None:
    """What the database does for queries that take long by themselves."""
    from django.db import connection

    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    for page in pages:
        for sql, params in page.statements:
            took = min(_time((sql, params)) for _ in range(3))
            if not sql.startswith("SELECT") or (took < SLOW_QUERY_MS and not show_all):
                continue
            shown = re.sub(r"^SELECT .*? FROM ", "SELECT … FROM ", sql, count=1)
            print(f"\n{page.name}: {took:.1f} ms\n  {shown[:400]}")
            with connection.cursor() as cursor:
                cursor.execute(explain + sql, params)
                for row in cursor.fetchall():
                    print(f"    {row[-1]}")
