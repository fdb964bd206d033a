"""Requests for each running task and minute, and how late its end is known: the portal against a polling loop.

Both follow the same tasks of one demo cluster at the same time, each over an address and with a token of its own. An
end counts as known to the portal when another process can read the task's final state from the database.
"""

import argparse
import contextlib
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.clusters import ClusterProcess, StartedTask
from bench.loop import MonitorLoop
from bench.portals import Portal
from bench.tables import percentile, print_goals, print_table

OBSERVE_SECONDS = 0.02
KNOWN_WITHIN_SECONDS = 30.0
WARM_SECONDS = 5.0  # until first rows, disk sizes and the backlog of the new tasks are behind us
LATEST_SECONDS = 30.0  # an end that nobody has seen by then is counted as not seen
SAMPLES = 20  # at least so many ends for each number of tasks
LIMITS = {100: {"states": 1.0, "bars": 8.0}}
P95_LIMIT_SECONDS = 1.5

_GROUPS = {
    "GET /cluster/tasks": "states",
    "GET /nodes/{node}/tasks": "node lists",
    "GET /nodes/{node}/tasks/{upid}/log": "logs",
    "GET /nodes/{node}/tasks/{upid}/status": "single states",
}


class Observer:
    """Looks into the portal's database every 20 ms, from outside, for rows that have become final."""

    def __init__(self, database: Path) -> None:
        self.known: set[str] = set()
        self.final_at: dict[str, float] = {}
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        with contextlib.closing(
            sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)
        ) as rows:
            version = -1
            while not self._stop.wait(OBSERVE_SECONDS):
                changed = rows.execute("PRAGMA data_version").fetchone()[0]
                if changed == version:
                    continue
                version = changed
                found = rows.execute("SELECT remote_id, state FROM tasks_app_task").fetchall()
                at = time.time()
                for upid, state in found:
                    self.known.add(upid)
                    if state not in ("pending", "processing"):
                        self.final_at.setdefault(upid, at)


@dataclass
class Figures:
    """Of one number and kind of tasks. Requests are those of the steady window; latencies in seconds."""

    count: int
    variant: str
    window_minutes: float = 0.0
    portal: Counter[str] = field(default_factory=Counter)
    loop: Counter[str] = field(default_factory=Counter)
    portal_all: int = 0
    loop_all: int = 0
    task_minutes: float = 0.0
    portal_latencies: list[float] = field(default_factory=list)
    loop_latencies: list[float] = field(default_factory=list)
    portal_missed: int = 0
    loop_missed: int = 0

    def rate(self, counter: Counter[str]) -> float:
        return counter.total() / self.count / self.window_minutes


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench detection", description=__doc__)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 10, 100], help="numbers of running tasks"
    )
    parser.add_argument(
        "--steady", type=float, default=30.0, help="seconds in which requests are counted (30)"
    )
    parser.add_argument("--spread", type=float, default=20.0, help="seconds over which the ends lie (20)")
    options = parser.parse_args(arguments)
    print(
        "Detection: the portal (web, workers, watch loop) and the loop of the guide on the same tasks",
        flush=True,
    )
    results = []
    with ClusterProcess() as cluster, Portal(source=cluster.portal) as portal:
        observer = Observer(portal.database)
        try:
            time.sleep(WARM_SECONDS)
            for count in options.counts:
                for variant in ("states", "bars"):
                    figures = _measure(cluster, observer, count, variant, options.steady, options.spread)
                    results.append(figures)
                    print(f"  {count} tasks, {variant}: done", flush=True)
        finally:
            observer.close()
    return _report(results)


def _measure(
    cluster: ClusterProcess, observer: Observer, count: int, variant: str, steady: float, spread: float
) -> Figures:
    figures = Figures(count, variant)
    shortest = WARM_SECONDS + 5 + steady
    _run_round(
        cluster, observer, figures, [shortest + random.uniform(0, spread) for _ in range(count)], steady
    )
    while len(figures.portal_latencies) + figures.portal_missed < SAMPLES:
        _run_round(
            cluster, observer, figures, [random.uniform(2, 5 + spread * (count > 1)) for _ in range(count)]
        )
    return figures


def _run_round(
    cluster: ClusterProcess, observer: Observer, figures: Figures, lengths: list[float], steady: float = 0.0
) -> None:
    """Start tasks, let both follow them to the end; with `steady`, count requests for so long while all run."""
    first = cluster.requests()
    tasks = cluster.start_tasks(lengths, moving=figures.variant == "bars")
    loop = MonitorLoop(cluster.other, tasks)
    if steady:
        _wait_until_known(observer, tasks)
        time.sleep(WARM_SECONDS)
        before, began = cluster.requests(), time.monotonic()
        time.sleep(steady)
        after, ended = cluster.requests(), time.monotonic()
        figures.window_minutes = (ended - began) / 60
        figures.portal, figures.loop = after[0] - before[0], after[1] - before[1]
    latest = max(task.ends_at for task in tasks)
    loop.finish(max(0.0, latest - time.time()) + LATEST_SECONDS)
    while time.time() < latest + LATEST_SECONDS and any(task.upid not in observer.final_at for task in tasks):
        time.sleep(OBSERVE_SECONDS)
    last = cluster.requests()
    figures.portal_all += (last[0] - first[0]).total()
    figures.loop_all += (last[1] - first[1]).total()
    figures.task_minutes += sum(lengths) / 60
    for task in tasks:
        for seen_at, latencies in (
            (observer.final_at, figures.portal_latencies),
            (loop.seen_at, figures.loop_latencies),
        ):
            if task.upid in seen_at:
                latencies.append(seen_at[task.upid] - task.ends_at)
    figures.portal_missed += sum(task.upid not in observer.final_at for task in tasks)
    figures.loop_missed += sum(task.upid not in loop.seen_at for task in tasks)


def _wait_until_known(observer: Observer, tasks: Sequence[StartedTask]) -> None:
    deadline = time.monotonic() + KNOWN_WITHIN_SECONDS
    while not all(task.upid in observer.known for task in tasks):
        if time.monotonic() > deadline:
            raise SystemExit("The portal has not seen the tasks.")
        time.sleep(OBSERVE_SECONDS)


def _report(results: Sequence[Figures]) -> bool:
    rows = []
    for figures in results:
        for who, counter, total, latencies, missed in (
            ("portal", figures.portal, figures.portal_all, figures.portal_latencies, figures.portal_missed),
            ("loop", figures.loop, figures.loop_all, figures.loop_latencies, figures.loop_missed),
        ):
            rows.append(
                [
                    f"{figures.count} tasks, {figures.variant}, {who}",
                    f"{figures.rate(counter):.2f}",
                    f"{total / figures.task_minutes:.2f}",
                    f"{counter.total() / figures.window_minutes:.0f}",
                    str(len(latencies)),
                    f"{percentile(latencies, 50):.2f}",
                    f"{percentile(latencies, 95):.2f}",
                    f"{max(latencies, default=float('nan')):.2f}",
                    str(missed),
                ]
            )
    print_table(
        "Requests for each running task and minute (while all run; in all, ends included), end known after (s)",
        ["", "running", "in all", "a minute", "ends", "p50", "p95", "max", "not seen"],
        rows,
    )
    print_table(
        "What the portal asks, requests a minute while all run",
        ["", *_GROUPS.values(), "other"],
        [_shares(figures) for figures in results],
    )
    goals = []
    for figures in results:
        name = f"{figures.count} tasks, {figures.variant}"
        if limit := LIMITS.get(figures.count, {}).get(figures.variant):
            goals.append((f"{name}: requests per task and minute", figures.rate(figures.portal), limit, ""))
        p95 = percentile(figures.portal_latencies, 95)
        goals.append((f"{name}: p95 of detection", p95, P95_LIMIT_SECONDS, "s"))
    is_met = print_goals(goals)
    return is_met and not any(figures.portal_missed for figures in results)


def _shares(figures: Figures) -> list[str]:
    groups: Counter[str] = Counter()
    for call, number in figures.portal.items():
        groups[_GROUPS.get(call, "other")] += number
    names = [*_GROUPS.values(), "other"]
    return [f"{figures.count} tasks, {figures.variant}"] + [
        f"{groups[name] / figures.window_minutes:.0f}" for name in names
    ]
