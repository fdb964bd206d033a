"""The kill test of videos: SIGKILL of workers at random instants while orders are sent; then both sides are counted.

    .venv/bin/python -m tests.integration.generation.kill_submissions --orders 30 --kills 12 --seed 1 --within 240

waits until every order has ended; `test_kill_submissions.py` runs a small form that lets the last ones wait. The truth
is the stub's own memory of what it was sent.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.generation.task_stub import TaskStub
from tests.integration.supervisor.running import ROOT, RunningPortal, role_of, running, wait_until

LIMIT = 8
FINAL = ("completed", "failed", "cancelled", "lost")

# Run by `manage.py shell` in the portal's own environment: what an admin and two members would do in its pages.
_ORDER = """
from django.contrib.auth.models import User
from tasks_app.models import Grant, Source
from tasks_app.services.generations import submit_generation
clip = {{"key": "clip", "kind": "video", "label": "Clip", "parameters": [{{"name": "prompt", "required": True}}]}}
settings = {{"limits": {{"total": {limit}}}, "offers": [clip]}}
source = Source.objects.create(name="Stub", kind="task_api", urls=["{url}"], settings=settings)
people = [User.objects.create_user(name) for name in ("anna", "ben")]
for person in people:
    Grant.objects.create(user=person, role="operator", source=source)
for number in range({orders}):
    submit_generation(
        source, actor=people[number % 3 == 0], offer="clip", parameters={{"prompt": f"order-{{number:02d}}"}},
        uploads={{}}, team=None, idempotency_key=str(number),
    )
print("ORDERED")
"""


@dataclass
class Outcome:
    """What stands in the end. `problems` is empty when nothing was made twice, lost, or above the limit."""

    orders: int
    kills: int
    seconds: float = 0.0
    most_at_once: int = 0
    states: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    killed_while_sending: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.orders} orders, {self.kills} workers killed, {self.killed_while_sending} orders hit, "
            f"{self.seconds:.0f} s",
            f"at the stub: {self.taken} taken, at most {self.most_at_once} at once (limit {LIMIT})",
            f"states: {dict(self.states)}; still waiting: {dict(self.waiting)}",
        ]
        return "\n".join(lines + (self.problems or ["every order was taken at most once"]))


def run(orders: int, kills: int, seed: int, *, within: float, data_dir: Path) -> Outcome:
    """Order, kill, wait for at most `within` seconds after the last kill, count."""
    rng = random.Random(seed)
    outcome = Outcome(orders, kills)
    limits = {"PORTAL_MAX_CONCURRENT_TASKS": "10", "PORTAL_VIDEO_MAX_CONCURRENT": "10", "PORTAL_WORKERS": "4"}
    stub = TaskStub(slowness=0.8, work_seconds=(1.0, 4.0), seed=seed)
    with stub.serving(), running(data_dir, demo=False, environ=limits) as portal:
        started = time.monotonic()
        _submit(portal, stub, orders)
        for _ in range(kills):
            time.sleep(rng.uniform(0.2, 1.6))
            _kill_a_worker(portal, stub, rng)
        wait_until(lambda: bool(_workers(portal)), 60, "workers after the kills")
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and not _is_over(portal):
            time.sleep(0.5)
        outcome.seconds = time.monotonic() - started
        _count(portal, stub, outcome)
        if outcome.problems:
            outcome.problems.append(portal.text[-4000:])
    return outcome


def _submit(portal: RunningPortal, stub: TaskStub, orders: int) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", _ORDER.format(url=stub.url, orders=orders, limit=LIMIT)],
        cwd=ROOT,
        env=portal.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ORDERED" in done.stdout, done.stdout + done.stderr


def _workers(portal: RunningPortal) -> list[psutil.Process]:
    return [process for process in portal.processes() if role_of(process) == "portal:worker"]


def _kill_a_worker(portal: RunningPortal, stub: TaskStub, rng: random.Random) -> None:
    """One that is inside a job, at a random instant of an order on its way, where there is one within two seconds."""
    wait_until(lambda: bool(_workers(portal)), 60, f"a worker after a kill\n{portal.text[-3000:]}")
    with contextlib.suppress(AssertionError):
        wait_until(lambda: stub.under_way > 0, 2, "an order on its way")
    time.sleep(rng.uniform(0.0, stub.slowness))
    busy = {int(file.suffix[1:]) for file in (portal.data_dir / "run").glob("portal.*")}
    workers = _workers(portal)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        rng.choice([worker for worker in workers if worker.pid in busy] or workers).kill()


def _rows(portal: RunningPortal) -> list[tuple[str, str, bool, bool, int]]:
    """(prompt, state, whether called, whether answered, attempts) of each order."""
    return [
        (prompt, state, bool(called), bool(answered), attempts)
        for prompt, state, called, answered, attempts in portal.query(
            "SELECT g.prompt, t.state, g.called_at IS NOT NULL, g.answered_at IS NOT NULL, g.attempts "
            "FROM tasks_app_generation g JOIN tasks_app_task t ON t.id = g.task_id WHERE g.actor_name <> ''"
        )
    ]


def _is_over(portal: RunningPortal) -> bool:
    return all(state in FINAL for _, state, *_ in _rows(portal))


def _count(portal: RunningPortal, stub: TaskStub, outcome: Outcome) -> None:
    """Compare the portal's orders with what the stub was sent."""
    taken, rows, problems = stub.submissions, _rows(portal), outcome.problems
    outcome.taken, outcome.most_at_once = taken.total(), stub.most_at_once
    outcome.states = Counter(state for _, state, *_ in rows)
    outcome.killed_while_sending = sum(attempts > 1 for *_, attempts in rows)
    if len(rows) != outcome.orders:
        problems.append(f"{len(rows)} orders in the table")
    if twice := {prompt: count for prompt, count in taken.items() if count > 1}:
        problems.append(f"sent more than once: {twice}")
    if stub.most_at_once > LIMIT:
        problems.append(f"{stub.most_at_once} at once")
    for prompt, state, was_called, was_answered, _ in rows:
        is_there = taken[prompt] >= 1
        if state == "completed" and not is_there:
            problems.append(f"{prompt} is completed, and the stub never had it")
        elif state in ("failed", "cancelled"):
            problems.append(f"{prompt} is {state}")
        elif state not in FINAL:
            outcome.waiting[_waits_for(was_called, was_answered)] += 1
            if is_there and not was_called:
                problems.append(f"{prompt} is at the stub, and the portal would send it again")
    wrong = portal.query(
        "SELECT count(*) FROM tasks_app_generation g JOIN tasks_app_task t ON t.id = g.task_id "
        "WHERE g.answered_at IS NOT NULL AND g.actor_name <> '' GROUP BY t.remote_id HAVING count(*) > 1"
    )
    if wrong:
        problems.append("two orders have one task")
    for prompt, remote_id in portal.query(
        "SELECT g.prompt, t.remote_id FROM tasks_app_generation g JOIN tasks_app_task t ON t.id = g.task_id "
        "WHERE g.answered_at IS NOT NULL AND g.actor_name <> ''"
    ):
        if remote_id in stub.works and stub.works[remote_id].prompt != prompt:
            problems.append(f"{prompt} shows the task of {stub.works[remote_id].prompt}")


def _waits_for(was_called: bool, was_answered: bool) -> str:
    if was_answered:
        return "its end"
    return "what became of its call" if was_called else "its turn"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=30)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--within", type=float, default=240.0, help="seconds after the last kill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-submissions-") as folder:
        outcome = run(given.orders, given.kills, given.seed, within=given.within, data_dir=Path(folder))
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
