"""The tasks of the demo service: taken, queued, rendered two at a time, cancelled, kept over a restart."""

import json
import logging
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.generation.orders import PARSERS, Order
from demo.generation.render import Cancelled, render_image, render_video

logger = logging.getLogger(__name__)

AT_ONCE = 2
KEPT_SECONDS = 24 * 3600
FRAME_SECONDS = 0.08
"""Shortest time for a frame: a clip of 5 s at 24 frames takes ten seconds, and the cores rest between two."""
BAND_SECONDS = 0.15

_PREFIX = {"video": "vid", "image": "img", "workflow": "quick_workflow"}
_REFUSED_WORDS = ("nsfw", "gore", "forbidden")
_OPEN = ("pending", "processing")
_MESSAGES = {
    "pending": "Task is waiting to start",
    "processing": "Task processing started",
    "completed": "Task completed successfully",
    "failed": "Task failed",
    "cancelled": "Task was cancelled",
}


@dataclass
class Task:
    """One task; `body` is the order as it came, so that a restart can render it again."""

    task_id: str
    path: str
    body: Mapping[str, Any]
    created_at: str
    updated_at: str
    status: str = "pending"
    progress: int = 0
    completed_at: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN

    @property
    def message(self) -> str:
        if self.error:
            return str(self.error["message"])
        return _MESSAGES[self.status]

    def as_object(self) -> dict[str, Any]:
        names = (
            "task_id",
            "status",
            "progress",
            "created_at",
            "updated_at",
            "completed_at",
            "result",
            "error",
        )
        return {name: getattr(self, name) for name in names}

    def as_row(self) -> dict[str, Any]:
        names = ("task_id", "status", "progress", "created_at", "updated_at", "message")
        return {name: getattr(self, name) for name in names}


class Studio:
    """Safe for many threads. `time_scale` multiplies the shortest time of a frame; 0 renders as fast as it can."""

    def __init__(self, state_dir: Path, *, time_scale: float = 1.0) -> None:
        self._dir = state_dir
        self._scale = time_scale
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stopping = threading.Event()
        self.files = state_dir / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self._load()
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(AT_ONCE)]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Renderings stop between two frames and begin anew at the next start."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for worker in self._workers:
            worker.join(3.0)

    def submit(self, path: str, body: Mapping[str, Any]) -> Task:
        """Take an order. Raises InvalidOrder."""
        order = PARSERS[path](body)
        at = _now()
        task = Task(f"{_PREFIX[order.kind]}_{secrets.token_hex(6)}", path, body, at, at)
        with self._changed:
            self._tasks[task.task_id] = task
            self._save()
            self._changed.notify()
        return task

    def get(self, task_id: str) -> Task | None:
        with self._lock:
            return self._tasks.get(task_id)

    def rows(self) -> list[dict[str, Any]]:
        """Of all tasks, oldest first."""
        with self._lock:
            return [task.as_row() for task in self._tasks.values()]

    def cancel(self, task_id: str) -> bool:
        """False when it has ended already."""
        with self._lock:
            task = self._tasks.get(task_id)
            if task is None or not task.is_open:
                return False
            task.cancelled.set()
            self._end(task, "cancelled")
        return True

    def _work(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                task = next((t for t in self._tasks.values() if t.status == "pending"), None)
                if task is None:
                    self._changed.wait(1.0)
                    self._forget()
                    continue
                task.status, task.updated_at = "processing", _now()
            self._render(task)

    def _render(self, task: Task) -> None:
        began = time.monotonic()
        try:
            order = PARSERS[task.path](task.body)
            self._refuse(order)
            name, facts = self._draw(task, order)
        except Cancelled:
            if self._stopping.is_set():
                with self._lock:
                    task.status, task.progress = "pending", 0
            return
        except Exception as error:
            logger.info("rendering failed task=%s error=%s", task.task_id, error)
            with self._lock:
                self._end(task, "failed", error={"type": "VideoGenerationError", "message": str(error)})
            return
        result = {
            "service": "demo-studio",
            "result": {**facts, ("image_url" if order.kind == "image" else "video_url"): f"/files/{name}"},
            "duration": round(time.monotonic() - began, 1),
        }
        with self._lock:
            if task.is_open:
                self._end(task, "completed", result=result)

    def _refuse(self, order: Order) -> None:
        """Like a provider whose rules are checked by the model and not by the form."""
        for clip in order.clips:
            if any(word in clip.prompt.lower() for word in _REFUSED_WORDS):
                raise ValueError("Content policy violation")

    def _draw(self, task: Task, order: Order) -> tuple[str, dict[str, object]]:
        pause = (BAND_SECONDS if order.kind == "image" else FRAME_SECONDS) * self._scale
        next_at = time.monotonic()

        def tick(done: int, total: int) -> None:
            nonlocal next_at
            next_at += pause
            task.cancelled.wait(max(0.0, next_at - time.monotonic()))
            if task.cancelled.is_set() or self._stopping.is_set():
                raise Cancelled
            percent = done * 100 // total
            if percent != task.progress:
                with self._lock:
                    if task.is_open:
                        task.progress, task.updated_at = min(99, percent), _now()

        if order.kind == "image":
            name = f"{task.task_id}.png"
            clip = order.clips[0]
            facts = render_image(
                self.files / name, clip.prompt, width=order.width, height=order.height, tick=tick
            )
        else:
            name = f"{task.task_id}.mp4"
            facts = render_video(
                self.files / name,
                order.clips,
                width=order.width,
                height=order.height,
                fps=order.fps,
                tick=tick,
            )
            facts["seconds"] = order.seconds
        return name, facts

    def _end(self, task: Task, status: str, **values: Any) -> None:
        """The caller holds the lock."""
        task.status = status
        task.updated_at = _now()
        if status == "completed":
            task.progress, task.completed_at = 100, task.updated_at
        for name, value in values.items():
            setattr(task, name, value)
        self._save()

    def _forget(self) -> None:
        """What is older than a day goes, with its file. The caller holds the lock."""
        oldest = _now(-KEPT_SECONDS)
        old = [t for t in self._tasks.values() if not t.is_open and t.updated_at < oldest]
        for task in old:
            del self._tasks[task.task_id]
            for file in self.files.glob(f"{task.task_id}.*"):
                file.unlink(missing_ok=True)
        if old:
            self._save()

    @property
    def _file(self) -> Path:
        return self._dir / "tasks.json"

    def _save(self) -> None:
        rows = [
            {**task.as_object(), "path": task.path, "body": dict(task.body)} for task in self._tasks.values()
        ]
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(rows), encoding="utf-8")
        fresh.replace(self._file)

    def _load(self) -> None:
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))
            tasks = [Task(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return
        for task in tasks:
            if task.is_open:
                task.status, task.progress = "pending", 0
            self._tasks[task.task_id] = task


def _now(offset_seconds: float = 0.0) -> str:
    at = datetime.fromtimestamp(time.time() + offset_seconds, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
