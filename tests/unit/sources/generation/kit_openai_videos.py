"""OpenAI-style videos for the contract suite: the dialect itself and its three relatives."""

from typing import Any, ClassVar

from tasks_app.sources.generation.base import Upload
from tasks_app.states import State
from tests.unit.sources.generation.contract import KEY, PNG, FakeTask, Kit
from tests.unit.sources.generation.replay import Say, Seen

PICTURE = Upload("kite.png", "image/png", PNG)


class VideosKit(Kit):
    """What the four share. `words`: the dialect's word for each state it can show."""

    kind = "openai_videos"
    collection: ClassVar[str] = "/v1/videos"
    words: ClassVar[dict[State, str]] = {
        State.PENDING: "queued",
        State.PROCESSING: "in_progress",
        State.COMPLETED: "completed",
        State.FAILED: "failed",
        State.CANCELLED: "cancelled",
    }
    id_prefix = "video_"

    def is_submit(self, seen: Seen) -> bool:
        return seen.method == "POST"

    def is_cancel(self, seen: Seen) -> bool:
        return seen.method == "DELETE"

    def answer(self, seen: Seen) -> Say | None:
        if self.is_submit(seen):
            return self.submitted(self.add())
        if seen.path == self.collection:
            return self.listed()
        task_id, _, rest = seen.path.removeprefix(self.collection + "/").partition("/")
        task = self.tasks.get(task_id)
        if task is None:
            return Say(404, {"error": {"message": f"Video {task_id} not found", "type": "not_found"}})
        if self.is_cancel(seen):
            return self.deleted(task)
        if rest == "content":
            has_key = KEY in seen.headers.get("authorization", "")
            content = b"bytes of " + task.asset_path.encode()
            return Say(200, content, {"Content-Type": "video/mp4"}) if has_key else Say(401)
        return Say(200, self.shown(task))

    def submitted(self, task: FakeTask) -> Say:
        return Say(200, self.shown(task))

    def listed(self) -> Say | None:
        return None

    def deleted(self, task: FakeTask) -> Say:
        return Say(405)

    def shown(self, task: FakeTask) -> dict[str, Any]:
        is_failed = task.state is State.FAILED
        return {
            "id": task.id,
            "object": "video",
            "model": "sora-2",
            "status": task.word or self.words[task.state],
            "progress": task.progress,
            "created_at": int(task.created_at.timestamp()),
            "completed_at": int(task.changed_at.timestamp()) if task.state is State.COMPLETED else None,
            "expires_at": None,
            "prompt": "a red kite",
            "size": "1280x720",
            "seconds": "4",
            "error": {"code": "video_generation_failed", "message": task.message} if is_failed else None,
        }


class PlainKit(VideosKit):
    name = "openai_videos-plain"
    parameters = {"prompt": "a red kite", "seconds": "4", "size": "1280x720"}
    uploads = {"input_reference": PICTURE}

    def listed(self) -> Say:
        rows = [self.shown(task) for task in reversed(self.tasks.values())]
        ids = [row["id"] for row in rows]
        return Say(
            200, {"object": "list", "data": rows, "last_id": ids[-1] if ids else None, "has_more": False}
        )

    def deleted(self, task: FakeTask) -> Say:
        del self.tasks[task.id]
        return Say(200, {"id": task.id, "object": "video.deleted", "deleted": True})


class VllmOmniKit(PlainKit):
    """Its DELETE aborts a running job, and forgets any."""

    name = "openai_videos-vllm_omni"
    settings = {"profile": "vllm_omni"}
    parameters = {"prompt": "a red kite", "num_frames": 80, "fps": 16}
    uploads = {}

    def deleted(self, task: FakeTask) -> Say:
        if self.obeys_cancel:
            del self.tasks[task.id]
        return Say(200, {"id": task.id, "object": "video.deleted", "deleted": True})


class OpenRouterKit(VideosKit):
    name = "openai_videos-openrouter"
    settings = {"profile": "openrouter", "models": ["bytedance/seedance-2.0"]}
    parameters = {"prompt": "a red kite", "model": "bytedance/seedance-2.0"}
    uploads = {"first_frame": PICTURE}
    collection = "/api/v1/videos"
    words = {**VideosKit.words, State.PENDING: "pending"}
    has_progress = False

    def answer(self, seen: Seen) -> Say | None:
        if seen.path == "/api/v1/key":
            return Say(200, {"data": {"label": "test"}})
        return super().answer(seen)

    def submitted(self, task: FakeTask) -> Say:
        return Say(
            202,
            {"id": task.id, "polling_url": f"{self.origin}{self.collection}/{task.id}", "status": "pending"},
        )

    def shown(self, task: FakeTask) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": task.id, "status": task.word or self.words[task.state]}
        if task.state is State.COMPLETED:
            shown["unsigned_urls"] = [f"{self.origin}{self.collection}/{task.id}/content?index=0"]
            shown["usage"] = {"cost": 0.12}
        if task.state is State.FAILED:
            shown["error"] = task.message
        return shown


class XaiKit(VideosKit):
    """Waiting and working have one word; progress tells them apart."""

    name = "openai_videos-xai"
    settings = {"profile": "xai"}
    parameters = {"prompt": "a red kite", "model": "grok-imagine-video", "duration": 6}
    uploads = {"image": PICTURE}
    words = {
        State.PENDING: "pending",
        State.PROCESSING: "pending",
        State.COMPLETED: "done",
        State.FAILED: "failed",
    }
    states = frozenset(words)

    def answer(self, seen: Seen) -> Say | None:
        if seen.path == "/v1/api-key":
            return Say(200, {"name": "test"})
        return super().answer(seen)

    def submitted(self, task: FakeTask) -> Say:
        return Say(200, {"request_id": task.id})

    def shown(self, task: FakeTask) -> dict[str, Any]:
        shown: dict[str, Any] = {"request_id": task.id, "status": task.word or self.words[task.state]}
        shown["progress"] = max(1, task.progress) if task.state is State.PROCESSING else task.progress
        if task.state is State.COMPLETED:
            shown["video"] = {"url": f"{self.origin}{task.asset_path}", "duration": 6}
        if task.state is State.FAILED:
            shown |= {"code": "internal", "error": task.message}
        return shown


KITS = [PlainKit, VllmOmniKit, OpenRouterKit, XaiKit]
