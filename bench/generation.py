"""500 generation tasks on one source: the portal against the simple loop of the task API's guide, side by side.

The loop is the guide's first: each task asked every 5 s, here by a thread for each. Both follow the same tasks at the
same time, over addresses of their own. An end counts as known to the portal when another process can read the final
state from the database. Every request counts, redirects and the questions after an end included.
"""

import argparse
import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import requests

from bench.detection import Observer
from bench.portals import ROOT, Portal
from bench.tables import percentile, print_goals, print_table

SLEEP_SECONDS = 5.0  # of the guide's simple loop
LATEST_SECONDS = 30.0  # an end that nobody has seen by then is counted as not seen
KNOWN_WITHIN_SECONDS = 30.0
MOST_PERCENT = 10.0  # the portal's requests, of the loop's
_FINAL = ("completed", "failed", "cancelled")


class TaskApiProcess:
    """The task API in a process of its own."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.task_api", str(self._count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.portal, self.loop, self._control = json.loads(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)

    def start(self, ends: Mapping[str, float]) -> dict[str, float]:
        """`ends` in seconds from now; as Unix seconds back."""
        return dict(self._ask("/start", json.dumps(ends).encode()))

    def counts(self) -> Counter[str]:
        return Counter(self._ask("/counts"))

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, float]:
        with urllib.request.urlopen(self._control + path, body, timeout=10) as answer:
            return dict(json.load(answer))


class SimpleLoop:
    """A thread for each task: ask, sleep 5 s, until it has ended. `seen_at` is when it knew, Unix seconds."""

    def __init__(self, url: str, remote_ids: Sequence[str]) -> None:
        self.seen_at: dict[str, float] = {}
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(i,), daemon=True) for i in remote_ids]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _follow(self, remote_id: str) -> None:
        # Tasks are submitted one after the other, so their questions do not fall together.
        self._stop.wait(random.uniform(0, SLEEP_SECONDS))
        with requests.Session() as session:
            while not self._stop.is_set():
                answer = session.get(f"{self._url}/api/v1/tasks/{remote_id}", timeout=30).json()
                if answer["status"] in _FINAL:
                    self.seen_at[remote_id] = time.time()
                    return
                self._stop.wait(SLEEP_SECONDS)


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench generation", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="tasks at the same time (500)")
    parser.add_argument("--steady", type=float, default=30.0, help="seconds in which none ends (30)")
    parser.add_argument("--spread", type=float, default=100.0, help="seconds over which the ends lie (100)")
    options = parser.parse_args(arguments)
    print("Generation: the portal (web, workers, watch loop) and the guide's simple loop on the same tasks")
    with (
        TaskApiProcess(options.count) as api,
        Portal(prepare=("bench.generation_rows", api.portal, str(options.count))) as portal,
    ):
        return _measure(api, portal, options.count, options.steady, options.spread)


def _measure(api: TaskApiProcess, portal: Portal, count: int, steady: float, spread: float) -> bool:
    observer = Observer(portal.database)
    deadline = time.monotonic() + KNOWN_WITHIN_SECONDS
    while len(observer.known) < count or not api.counts()["portal list"]:
        if time.monotonic() > deadline:
            raise SystemExit("The portal has not read the list.")
        time.sleep(0.1)
    ids = sorted(observer.known)
    lengths = {remote_id: steady + random.uniform(0, spread) for remote_id in ids}
    ends = api.start(lengths)
    loop, began, first = SimpleLoop(api.loop, ids), time.time(), api.counts()
    time.sleep(steady)
    middle, steady_minutes = api.counts(), (time.time() - began) / 60
    latest = max(ends.values()) + LATEST_SECONDS
    while time.time() < latest and not (
        ends.keys() <= observer.final_at.keys() and ends.keys() <= loop.seen_at.keys()
    ):
        time.sleep(0.2)
    last = api.counts()
    loop.close()
    observer.close()
    return _report(
        {"portal": observer.final_at, "simple loop": loop.seen_at},
        ends,
        steady=(middle - first, steady_minutes * count),
        whole=(last - first, sum(lengths.values()) / 60),
    )


def _report(
    seen: Mapping[str, Mapping[str, float]],
    ends: Mapping[str, float],
    *,
    steady: tuple[Counter[str], float],
    whole: tuple[Counter[str], float],
) -> bool:
    """`steady` and `whole`: counts, and the task-minutes in which they were counted."""
    rows, p95, rates = [], {}, {}
    for who, key in (("portal", "portal"), ("simple loop", "loop")):
        latencies = [at - ends[i] for i, at in seen[who].items() if i in ends]
        p95[key] = percentile(latencies, 95)
        rates[key] = _requests(whole[0], key) / whole[1]
        rows.append(
            [
                who,
                f"{_requests(steady[0], key) / steady[1]:.3f}",
                f"{rates[key]:.3f}",
                str(whole[0][f"{key} list"]),
                str(whole[0][f"{key} single"]),
                f"{whole[0][f'{key} bytes'] / 1e6:.1f}",
                f"{percentile(latencies, 50):.2f}",
                f"{p95[key]:.2f}",
                f"{max(latencies, default=float('nan')):.2f}",
                str(len(ends) - len(latencies)),
            ]
        )
    print_table(
        f"{len(ends)} tasks: requests for each task and minute (while all run; in all), end known after (s)",
        ["", "running", "in all", "lists", "single", "MB", "p50", "p95", "max", "not seen"],
        rows,
    )
    print(f"\nThe loop makes {rates['loop'] / rates['portal']:.1f} times as many requests.")
    goals = [
        (
            "requests of the portal in % of the loop's",
            100 * rates["portal"] / rates["loop"],
            MOST_PERCENT,
            "%",
        ),
        ("p95 of detection, at most the loop's", p95["portal"], p95["loop"], "s"),
    ]
    return print_goals(goals) and all(i in seen["portal"] for i in ends)


def _requests(counts: Counter[str], who: str) -> int:
    return counts[f"{who} list"] + counts[f"{who} single"]
