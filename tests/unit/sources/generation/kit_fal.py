"""fal's queue for the contract suite."""

from typing import Any

from tasks_app.sources.generation.base import Upload
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import PNG, FakeTask, Kit
from tests.unit.sources.generation.replay import Say, Seen

APP = "fal-ai/kling-video/v1/standard/image-to-video"
REQUESTS = "/fal-ai/kling-video/requests/"
WORDS = {
    State.PENDING: "IN_QUEUE",
    State.PROCESSING: "IN_PROGRESS",
    State.COMPLETED: "COMPLETED",
    State.FAILED: "COMPLETED",
    State.CANCELLED: "CANCELLED",
}


class FalKit(Kit):
    """Requests live below owner and app; a model that failed is COMPLETED, and its result is an error."""

    name = "fal"
    kind = "fal"
    offer = "kling"
    settings = {
        "offers": [
            {
                "key": "kling",
                "kind": "video",
                "label": "Kling",
                "app": APP,
                "parameters": [
                    {"name": "prompt", "type": "long_text", "required": True},
                    {"name": "image_url", "type": "image"},
                ],
            }
        ]
    }
    uploads = {"image_url": Upload("kite.png", "image/png", PNG)}
    has_progress = False
    id_prefix = "ca7acbd8-f607-4554-a273-6ec80a3d"

    def is_submit(self, seen: Seen) -> bool:
        return seen.method == "POST"

    def is_cancel(self, seen: Seen) -> bool:
        return seen.method == "PUT"

    def answer(self, seen: Seen) -> Say | None:
        if self.is_submit(seen):
            return self._submitted() if seen.path == f"/{APP}" else None
        task_id, _, action = seen.path.removeprefix(REQUESTS).partition("/")
        task = self.tasks.get(task_id)
        if task is None:
            if self.is_cancel(seen):
                return Say(404, {"status": "NOT_FOUND"})
            return Say(404, {"error": {"message": f"Request {task_id} not found", "type": "not_found"}})
        if action == "cancel":
            return self._cancelled(task)
        return self._status(task) if action == "status" else self._result(task)

    def _submitted(self) -> Say:
        task = self.add()
        elsewhere = f"https://queue.fal.run/{APP}/requests/{task.id}"
        addresses = {"response_url": elsewhere, "status_url": f"{elsewhere}/status"}
        return Say(
            200,
            {"request_id": task.id, "cancel_url": f"{elsewhere}/cancel", "queue_position": 1, **addresses},
        )

    def _cancelled(self, task: FakeTask) -> Say:
        if task.state in FINAL_STATES:
            return Say(400, {"status": "ALREADY_COMPLETED"})
        if self.obeys_cancel:
            task.state = State.CANCELLED
        return Say(202, {"status": "CANCELLATION_REQUESTED"})

    def _status(self, task: FakeTask) -> Say:
        shown: dict[str, Any] = {"status": task.word or WORDS[task.state], "request_id": task.id}
        shown["logs"] = [
            {"timestamp": "2026-11-20T08:00:47.357Z", "level": "INFO", "message": "Job enqueued."}
        ]
        return Say(202 if task.state not in FINAL_STATES else 200, shown)

    def _result(self, task: FakeTask) -> Say:
        if task.state is State.FAILED and "policy" in task.message:
            refused = {"loc": ["body", "prompt"], "msg": task.message, "type": "content_policy_violation"}
            return Say(422, {"detail": [refused]})
        if task.state is State.FAILED:
            return Say(500, {"detail": task.message}, {"X-Fal-Error-Type": "internal_server_error"})
        if task.state is not State.COMPLETED:
            return self._status(task)
        return Say(
            200,
            {
                "video": {
                    "url": f"{self.origin}{task.asset_path}",
                    "content_type": "video/mp4",
                    "file_name": "output.mp4",
                    "file_size": 0,
                }
            },
        )


KITS = [FalKit]
