"""Replicate for the contract suite, as the vendor's published examples show it."""

from typing import Any

from tasks_app.sources.generation.base import Upload
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import PNG, FakeTask, Kit
from tests.unit.sources.generation.replay import Say, Seen

PREDICTIONS = "/v1/predictions"
MODEL = "minimax/video-01"
WORDS = {
    State.PENDING: "starting",
    State.PROCESSING: "processing",
    State.COMPLETED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "canceled",
}


class ReplicateKit(Kit):
    """Progress stands in the log alone; a cancel of what has ended changes nothing and shows it."""

    name = "replicate"
    kind = "replicate"
    offer = "video-01"
    uploads = {"first_frame_image": Upload("kite.png", "image/png", PNG)}
    id_prefix = "gm3qorzdhgbfurvj"

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, Any] = {}

    def is_submit(self, seen: Seen) -> bool:
        return seen.method == "POST" and seen.path == f"/v1/models/{MODEL}/predictions"

    def is_cancel(self, seen: Seen) -> bool:
        return seen.path.endswith("/cancel")

    def answer(self, seen: Seen) -> Say | None:
        if self.is_submit(seen):
            task = self.add()
            self.inputs[task.id] = seen.json["input"]
            return Say(201, self._prediction(task))
        if seen.path == "/v1/account":
            return Say(200, {"type": "user", "username": "acme", "name": "Acme", "github_url": None})
        if seen.path == PREDICTIONS:
            rows = [self._prediction(task) for task in reversed(self.tasks.values())]
            return Say(200, {"next": None, "previous": None, "results": rows})
        task_id = seen.path.removeprefix(PREDICTIONS + "/").removesuffix("/cancel")
        if (task := self.tasks.get(task_id)) is None:
            said = {
                "detail": "The requested resource could not be found.",
                "status": 404,
                "title": "Not Found",
            }
            return Say(404, said)
        if self.is_cancel(seen) and task.state not in FINAL_STATES and self.obeys_cancel:
            task.state = State.CANCELLED
        return Say(200, self._prediction(task))

    def _prediction(self, task: FakeTask) -> dict[str, Any]:
        is_over = task.state in FINAL_STATES
        trace = f'Traceback (most recent call last):\n  File "/src/x.py", line 3\nValueError: {task.message}'
        return {
            "id": task.id,
            "model": MODEL,
            "version": "hidden",
            "input": self.inputs.get(task.id, {}),
            "logs": f"Using seed: 7\n {task.progress:>2}%|##   | 1/2 [00:01<00:01]\n",
            "output": self.origin + task.asset_path if task.state is State.COMPLETED else None,
            "data_removed": False,
            "error": (trace if task.message else "") if task.state is State.FAILED else None,
            "status": task.word or WORDS[task.state],
            "created_at": task.created_at.isoformat().replace("+00:00", "Z"),
            "started_at": None,
            "completed_at": task.changed_at.isoformat() if is_over else None,
            "urls": {"get": f"https://api.replicate.com{PREDICTIONS}/{task.id}"},
            "metrics": {"predict_time": 1.5} if is_over else {},
        }


KITS = [ReplicateKit]
