"""Clients as the task API's guide describes them: they know that API, and nothing of this portal.

Written from its description: a simple loop, growing intervals, intervals by progress, many at once with asyncio,
submitting with repeats, and what to do about errors. `pause` and `pause_async` are their only clocks.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import requests

Task = dict[str, Any]

ENDS = ("completed", "failed", "cancelled")
pause: Callable[[float], None] = time.sleep
pause_async = asyncio.sleep


class TaskFailed(Exception):
    """It failed or was cancelled."""


def ask(base: str, task_id: str) -> Task:
    answer = requests.get(f"{base}/api/v1/tasks/{task_id}", timeout=10)
    answer.raise_for_status()
    found: Task = answer.json()
    return found


def follow_simply(base: str, task_id: str, *, give_up_after: float = 300) -> dict[str, Any]:
    """Every five seconds; the result, or an exception with the error."""
    until = time.monotonic() + give_up_after
    while time.monotonic() < until:
        task = ask(base, task_id)
        if task["status"] == "completed":
            result: dict[str, Any] = task["result"]
            return result
        if task["status"] == "failed":
            raise TaskFailed(f"failed: {task['error']}")
        if task["status"] == "cancelled":
            raise TaskFailed("cancelled")
        pause(5)
    raise TimeoutError


def follow_with_backoff(base: str, task_id: str, *, most_seconds: float = 600) -> Task:
    """Two seconds at first, half as long again each time, thirty at most."""
    waited, interval = 0.0, 2.0
    while waited < most_seconds:
        task = ask(base, task_id)
        if task["status"] in ENDS:
            return task
        pause(interval)
        waited += interval
        interval = min(interval * 1.5, 30.0)
    raise TimeoutError


def follow_by_progress(base: str, task_id: str, *, most_seconds: float = 600) -> tuple[Task, int]:
    """Often at the beginning and near the end; the task, and in how many questions nothing had moved."""
    waited, last, still = 0.0, 0, 0
    while waited < most_seconds:
        task = ask(base, task_id)
        if task["status"] in ENDS:
            return task, still
        progress: int = task["progress"]
        still = still + 1 if progress == last else 0
        last = progress
        interval = 3 if progress < 20 else 5 if progress < 80 else 2
        pause(interval)
        waited += interval
    raise TimeoutError


async def follow_many(base: str, task_ids: list[str], headers: dict[str, str]) -> list[Any]:
    """All at once over one client; what a task raised stands in its place."""

    async def follow(client: httpx.AsyncClient, task_id: str) -> Task:
        while True:
            answer = await client.get(f"{base}/api/v1/tasks/{task_id}")
            task: Task = answer.json()
            if task["status"] in ENDS:
                return task
            await pause_async(5)

    async with httpx.AsyncClient(headers=headers, timeout=10) as client:
        return await asyncio.gather(*(follow(client, one) for one in task_ids), return_exceptions=True)


def submit_with_retry(base: str, path: str, body: dict[str, Any], *, tries: int = 3) -> dict[str, Any]:
    """Submit and follow; a server's fault is tried again after 1, 2, 4 … seconds, anything else rises."""
    for attempt in range(tries):
        answer = requests.post(f"{base}{path}", json=body, timeout=10)
        if answer.status_code >= 500 and attempt < tries - 1:
            pause(2**attempt)
            continue
        answer.raise_for_status()
        return follow_simply(base, answer.json()["task_id"])
    raise AssertionError("unreachable")


def words_for(error: Exception) -> str:
    """What a client tells its user about an error, by its text alone."""
    text = str(error).lower()
    if "content_policy" in text:
        return "change the input"
    if "rate_limit" in text:
        return "wait and try again"
    return "unexpected"
