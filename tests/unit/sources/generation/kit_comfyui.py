"""ComfyUI for the contract suite: the native server with its queue and history, and Comfy API v2."""

import json
import uuid
from typing import Any
from urllib.parse import quote

from tasks_app.sources.generation.base import Upload
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import KEY, PNG, FakeTask, Kit
from tests.unit.sources.generation.replay import Say, Seen

OFFERS = [
    {
        "key": "picture",
        "kind": "image",
        "label": "Picture",
        "workflow": {
            "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
        },
        "inputs": {"prompt": ["2", "text"], "image": [["1", "image"]]},
        "parameters": [{"name": "prompt", "type": "long_text"}, {"name": "image", "type": "image"}],
    }
]
UPLOADS = {"image": Upload("../../kite.png", "image/png", PNG)}


class NativeKit(Kit):
    """Version 0.3.64: the caller's id, targeted interrupt, no `/api/jobs`; an interruption reads as an error."""

    name = "comfyui"
    kind = "comfyui"
    settings = {"offers": OFFERS}
    offer = "picture"
    uploads = UPLOADS
    has_progress = False
    version = "0.3.64"

    def is_submit(self, seen: Seen) -> bool:
        return (seen.method, seen.path) == ("POST", "/prompt")

    def is_cancel(self, seen: Seen) -> bool:
        return seen.method == "POST" and seen.path in ("/queue", "/interrupt")

    def answer(self, seen: Seen) -> Say | None:
        match seen.method, seen.path:
            case "POST", "/prompt":
                prompt_id = seen.json.get("prompt_id")
                task = self.add(str(uuid.uuid4()) if prompt_id in self.tasks else prompt_id)
                return Say(200, {"prompt_id": task.id, "number": len(self.tasks), "node_errors": {}})
            case "POST", "/upload/image":
                return Say(200, {"name": "stored.png", "subfolder": "portal", "type": "input"})
            case "POST", "/queue":
                for task_id in seen.json["delete"]:
                    if (
                        task_id in self.tasks
                        and self.tasks[task_id].state is State.PENDING
                        and self.obeys_cancel
                    ):
                        del self.tasks[task_id]
                return Say(200)
            case "POST", "/interrupt":
                task = self.tasks[seen.json["prompt_id"]]
                task.state = State.CANCELLED if self.obeys_cancel else task.state
                return Say(200)
            case "GET", "/system_stats":
                return Say(200, {"system": {"comfyui_version": self.version}, "devices": []})
            case "GET", "/queue":
                return Say(
                    200,
                    {
                        "queue_running": self._queue(State.PROCESSING),
                        "queue_pending": self._queue(State.PENDING),
                    },
                )
            case "GET", "/view":
                return Say(
                    200, f"bytes of /files/{seen.query['filename']}".encode(), {"Content-Type": "video/mp4"}
                )
            case "GET", "/history":
                return Say(200, {task.id: entry(task) for task in self.tasks.values() if is_over(task)})
        task = self.tasks.get(seen.path.removeprefix("/history/"))
        if seen.path.startswith("/history/"):
            return Say(200, {task.id: entry(task)} if task and is_over(task) else {})
        return None

    def _queue(self, state: State) -> list[Any]:
        return [
            [number, task.id, {}, {}, []]
            for number, task in enumerate(self.tasks.values())
            if task.state is state and not task.word
        ]


def is_over(task: FakeTask) -> bool:
    return task.state in FINAL_STATES or bool(task.word)


def entry(task: FakeTask) -> dict[str, Any]:
    about: dict[str, Any] = {"prompt_id": task.id, "timestamp": int(task.changed_at.timestamp() * 1000)}
    status, last, outputs = task.word or "error", ["execution_start", about], {}
    if task.state is State.COMPLETED:
        status, last = "success", ["execution_success", about]
        file = {"filename": f"{task.id}.mp4", "subfolder": "", "type": "output"}
        outputs = {"3": {"images": [file], "animated": [True]}}
    elif task.state is State.CANCELLED:
        last = ["execution_interrupted", {**about, "node_id": "2", "node_type": "X", "executed": []}]
    elif task.state is State.FAILED:
        trace = ["Traceback (most recent call last):", '  File "/srv/execution.py", line 3']
        fault = {"exception_type": "RuntimeError", "exception_message": task.message, "traceback": trace}
        last = ["execution_error", {**about, "node_id": "2", "node_type": "X", **fault}]
    created = int(task.created_at.timestamp() * 1000)
    return {
        "prompt": [0, task.id, {}, {"create_time": created}, ["3"]],
        "outputs": outputs,
        "status": {"status_str": status, "completed": status == "success", "messages": [last]},
        "meta": {},
    }


WORDS = {
    State.PENDING: "queued",
    State.PROCESSING: "running",
    State.COMPLETED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "canceled",
}


class V2Kit(Kit):
    """comfy-api-proxy 0.1.6."""

    name = "comfyui-v2"
    kind = "comfyui"
    settings = {"profile": "v2", "offers": OFFERS}
    offer = "picture"
    uploads = UPLOADS

    def __init__(self) -> None:
        super().__init__()
        self.graphs: dict[str, Any] = {}

    def is_submit(self, seen: Seen) -> bool:
        return (seen.method, seen.path) == ("POST", "/api/v2/jobs")

    def is_cancel(self, seen: Seen) -> bool:
        return seen.path.endswith("/cancel")

    def answer(self, seen: Seen) -> Say | None:
        if seen.headers.get("authorization") != f"Bearer {KEY}":
            return fault(401, "unauthorized", "Invalid token.")
        if self.is_submit(seen):
            task = self.add()
            self.graphs[task.id] = seen.json["workflow"]
            return Say(201, self._job(task))
        if seen.path == "/api/v2/jobs":
            return Say(200, {"jobs": [self._job(task) for task in self.tasks.values()], "truncated": False})
        if (seen.method, seen.path) == ("POST", "/api/v2/assets"):
            return Say(201, {"id": "asset-1", "hash": None, "size_bytes": 0})
        task_id, _, what = seen.path.removeprefix("/api/v2/jobs/").partition("/")
        task = self.tasks.get(task_id)
        if task is None:
            return fault(404, "not_found", f"No job {task_id}.")
        if what == "workflow":
            return Say(200, {"workflow": self.graphs[task_id], "format": "api"})
        if what == "cancel" and task.state not in FINAL_STATES and self.obeys_cancel:
            task.state = State.CANCELLED
        return Say(200, self._job(task))

    def _job(self, task: FakeTask) -> dict[str, Any]:
        done, failed = task.state is State.COMPLETED, task.state is State.FAILED
        error = {"code": "node_execution_error", "message": task.message, "node_id": "1", "class_type": "X"}
        output = {
            "node_id": "3",
            "name": f"{task.id}.mp4",
            "type": "image",
            "content_type": "video/mp4",
            "size_bytes": 0,
            "id": "asset-9",
            "hash": None,
            "url": quote(task.asset_path),
        }
        return {
            "id": task.id,
            "status": task.word or WORDS[task.state],
            "created_at": task.created_at.isoformat(),
            "started_at": None,
            "completed_at": None,
            "queue_position": 1 if task.state is State.PENDING else None,
            "progress": {"value": task.progress / 100, "nodes_done": 0, "nodes_total": 3},
            "outputs": [output] if done else [],
            "error": {**error, "traceback": "Traceback\n x.py"} if failed else None,
            "urls": {"self": f"/api/v2/jobs/{task.id}"},
        }


def fault(status: int, code: str, message: str) -> Say:
    return Say(status, json.dumps({"error": {"code": code, "message": message, "details": None}}))


KITS = [NativeKit, V2Kit]
