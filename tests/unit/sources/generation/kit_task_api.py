"""The task API's own server for the contract suite, with the manners that section of its recordings shows."""

from typing import Any

from tasks_app.sources.generation.base import Upload
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import PNG, FakeTask, Kit
from tests.unit.sources.generation.replay import Say, Seen

TASKS = "/api/v1/tasks/"


class SeedKit(Kit):
    """A picture is needed, times are naive, the list stands behind a redirect, cancelled is 410, a refusal is 500."""

    name = "task_api"
    kind = "task_api"
    parameters = {"prompt": "a red kite", "duration": 5}
    uploads = {"image": Upload("kite.png", "image/png", PNG)}
    id_prefix = "vid_"

    def is_submit(self, seen: Seen) -> bool:
        return seen.method == "POST"

    def is_cancel(self, seen: Seen) -> bool:
        return seen.method == "DELETE"

    def answer(self, seen: Seen) -> Say | None:
        if self.is_submit(seen):
            task = self.add()
            text = "Video generation task submitted. Poll /api/v1/tasks/{task_id} for status."
            return Say(200, {"task_id": task.id, "status": "pending", "message": text})
        if seen.path == "/health":
            return Say(200, {"status": "healthy", "service": "AI Movie Agent API", "version": "1.0.0"})
        if seen.path == TASKS.rstrip("/"):
            return Say(307, headers={"Location": self.origin + TASKS})
        if seen.path == TASKS:
            return Say(200, [row_of(task) for task in self.tasks.values()])
        task = self.tasks.get(seen.path.removeprefix(TASKS))
        if self.is_cancel(seen):
            return self._cancel(seen.path.removeprefix(TASKS), task)
        if task is None:
            return error(404, f"Task not found: {seen.path.removeprefix(TASKS)}")
        if task.state is State.CANCELLED and not task.word:
            return error(410, f"Task was cancelled: {task.id}")
        return Say(200, self._whole(task))

    def _cancel(self, task_id: str, task: FakeTask | None) -> Say:
        if task is None or task.state in FINAL_STATES:
            why = f"Task {task_id} cannot be cancelled (not running or already completed)"
            return error(500, f"Internal server error: 400: {why}")
        if self.obeys_cancel:
            task.state = State.CANCELLED
        return Say(
            200, {"success": True, "message": f"Task {task_id} has been cancelled", "task_id": task_id}
        )

    def _whole(self, task: FakeTask) -> dict[str, Any]:
        is_done, is_failed = task.state is State.COMPLETED, task.state is State.FAILED
        url = self.origin + task.asset_path
        trace = (
            'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in run\nServiceException: no'
        )
        return {
            **{name: value for name, value in row_of(task).items() if name != "message"},
            "completed_at": task.changed_at.replace(tzinfo=None).isoformat() if is_done else None,
            "result": {"service": "veo3", "result": {"id": "x", "video_url": url}, "duration": 10.1}
            if is_done
            else None,
            "error": {
                "type": "ServiceException",
                "message": task.message,
                "traceback": trace,
                "service": "Veo3Service",
                "retryable": True,
                "error_code": "",
            }
            if is_failed
            else None,
        }


def row_of(task: FakeTask) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": task.word or task.state.value,
        "progress": 100 if task.state is State.COMPLETED else task.progress,
        "created_at": task.created_at.replace(tzinfo=None).isoformat(),
        "updated_at": task.changed_at.replace(tzinfo=None).isoformat(),
        "message": task.message or "Task processing started",
    }


def error(status: int, message: str) -> Say:
    return Say(status, {"error": {"code": "HTTP_ERROR", "message": message, "details": {}}})


KITS = [SeedKit]
