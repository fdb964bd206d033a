"""What the settings of a task API source may say: where its calls are, what its fields and words are called.

paths         {"task": "/api/v1/tasks/{id}", "cancel": the same, "list": "/api/v1/tasks", "health": "/health",
               "submit": {"video": "/api/v1/videos/generate", "workflow": "/api/v1/workflow/generate",
                          "quick": "/api/v1/workflow/quick-generate", "image": "/api/v1/images/generate"}}
              "list", "cancel" or "health" as "": there is none. A submit path belongs to an offer's key, or its kind.
cancel_method "DELETE", "POST" or "PUT"
fields        name → dotted path, or several of which the first with a value counts; see FIELDS
rows          {"at": path of the rows in a list answer, "" for a bare array, and fields that differ there}
words         status word → state, besides the five; gone_words: words for a task the server no longer has
kinds         beginning of an id → "video", "image" or "workflow"; the longest that fits counts
auth          {"header": "Authorization", "prefix": "Bearer "}
headers       sent with every request
image         "base64" or "data_url": how a picture stands in the body
image_tasks   true: POST to the image path gives a task (the task API's own server answers at once, with no task)
zero_progress kinds of which a progress of 0 is a number; default ["workflow"]
list_is_whole false: the list does not show every task the server knows
can           capabilities that differ: cancel_queued, cancel_running, cancel_deletes, forgets (true or false)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from tasks_app.sources.generation.base import OfferKind
from tasks_app.sources.generation.configured import extra_headers, extra_words, texts
from tasks_app.states import State

SUBMIT_PATHS = {
    "video": "/api/v1/videos/generate",
    "workflow": "/api/v1/workflow/generate",
    "quick": "/api/v1/workflow/quick-generate",
    "image": "/api/v1/images/generate",
}
PATHS = {"task": "/api/v1/tasks/{id}", "list": "/api/v1/tasks", "health": "/health"}
FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("task_id", "id"),
    "status": ("status",),
    "progress": ("progress",),
    "message": ("message",),
    "created_at": ("created_at",),
    "started_at": ("started_at",),
    "finished_at": ("completed_at",),
    "updated_at": ("updated_at",),
    "queue_position": ("queue_position",),
    "cost": ("cost", "result.cost"),
    "error": ("error",),
    "result": ("result",),
    "assets": (
        "result.result.video_url",
        "result.video_url",
        "video_url",
        "result.assets.final_video",
        "result.result.image_url",
        "result.image_url",
        "image_url",
        "result.url",
        "result.images.*",
        "result.image_urls.*",
        "result.result.images.*",
        "result.data.*",
        "result.assets.scene_videos.*",
        "result.assets.scene_images.*",
        "result.assets.character_references.*",
    ),
}
"""Each asset is an address, a data URL, or an object with `url` or `b64_json` and perhaps `filename`, `size_bytes`."""
WORDS = {
    "pending": State.PENDING,
    "processing": State.PROCESSING,
    "completed": State.COMPLETED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
    "canceled": State.CANCELLED,
}
KINDS: dict[str, OfferKind] = {
    "vid_": "video",
    "video_": "video",
    "img_": "image",
    "image_": "image",
    "workflow_": "workflow",
    "quick_workflow_": "workflow",
}
METHODS = ("DELETE", "POST", "PUT")
ENCODINGS = ("base64", "data_url")
ABILITIES = ("cancel_queued", "cancel_running", "cancel_deletes", "forgets")

_PATH = re.compile(r"/(?!/)[!-~]{0,499}")
_FIELD = re.compile(r"[\w*-]{1,60}(?:\.[\w*-]{1,60}){0,9}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
_PREFIX = re.compile(r"[\x20-\x7e]{0,60}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The settings, read and checked. `paths` has task, cancel, list and health; `submit` a path for a key or kind."""

    paths: Mapping[str, str]
    submit: Mapping[str, str]
    cancel_method: str
    fields: Mapping[str, tuple[str, ...]]
    rows_at: str
    row_fields: Mapping[str, tuple[str, ...]]
    words: Mapping[str, State]
    gone_words: frozenset[str]
    kinds: Mapping[str, OfferKind]
    auth_header: str
    auth_prefix: str
    headers: Mapping[str, str]
    encoding: str
    has_image_tasks: bool
    zero_kinds: frozenset[str]
    list_is_whole: bool
    can: Mapping[str, bool] = field(default_factory=dict)

    def kind_of(self, remote_id: str) -> OfferKind | None:
        """By how the id begins."""
        fitting = [prefix for prefix in self.kinds if remote_id.startswith(prefix)]
        return self.kinds[max(fitting, key=len)] if fitting else None


def read_dialect(settings: Mapping[str, Any]) -> Dialect:
    """Raises ValueError with a sentence for the person who wrote the settings."""
    paths = _object(settings, "paths")
    auth = _object(settings, "auth")
    rows = _object(settings, "rows")
    fields = {**FIELDS, **_fields(_object(settings, "fields"), "fields")}
    header, prefix = auth.get("header", "Authorization"), auth.get("prefix", "Bearer ")
    if not isinstance(header, str) or not _HEADER.fullmatch(header):
        raise ValueError('"auth": "header" is the name of a header.')
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ValueError('"auth": "prefix" is a short text.')
    return Dialect(
        paths=_paths({name: path for name, path in paths.items() if name != "submit"}),
        submit={**SUBMIT_PATHS, **_submit_paths(_object(paths, "submit"))},
        cancel_method=_one_of(settings, "cancel_method", METHODS),
        fields=fields,
        rows_at=_rows_at(rows),
        row_fields={**fields, **_fields({k: v for k, v in rows.items() if k != "at"}, "rows")},
        words={**WORDS, **extra_words(settings)},
        gone_words=frozenset(word.lower() for word in texts(settings, "gone_words")),
        kinds={**KINDS, **_kinds(settings)},
        auth_header=header,
        auth_prefix=prefix,
        headers=extra_headers(settings),
        encoding=_one_of(settings, "image", ENCODINGS),
        has_image_tasks=_flag(settings, "image_tasks", default=False),
        zero_kinds=frozenset(
            texts(settings, "zero_progress") if "zero_progress" in settings else ["workflow"]
        ),
        list_is_whole=_flag(settings, "list_is_whole", default=True),
        can=_abilities(settings),
    )


def checked_path(path: Any, where: str) -> str:
    """A path on the server. Raises ValueError."""
    if not isinstance(path, str) or not _PATH.fullmatch(path) or "/../" in path + "/":
        raise ValueError(f"{where}: a path begins with one slash and holds no spaces.")
    return path


def _paths(given: Mapping[str, Any]) -> dict[str, str]:
    paths = dict(PATHS)
    for name, path in given.items():
        if name not in ("task", "cancel", "list", "health"):
            raise ValueError(f'"paths": there is no "{name[:60]}".')
        paths[name] = "" if path == "" and name != "task" else checked_path(path, f'"paths", "{name}"')
    paths.setdefault("cancel", paths["task"])
    for name in ("task", "cancel"):
        if paths[name] and "{id}" not in paths[name]:
            raise ValueError(f'"paths", "{name}": {{id}} stands for the id of the task.')
    return paths


def _submit_paths(given: Mapping[str, Any]) -> dict[str, str]:
    return {key: checked_path(path, f'"paths", "submit", "{key[:60]}"') for key, path in given.items()}


def _fields(given: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    fields = {}
    for name, value in given.items():
        paths = [value] if isinstance(value, str) else value
        if name not in FIELDS:
            raise ValueError(f'"{where}": there is no "{name[:60]}".')
        if not isinstance(paths, list) or len(paths) > 40:
            raise ValueError(f'"{where}", "{name}" is a dotted path, or a list of them.')
        if not all(isinstance(path, str) and (not path or _FIELD.fullmatch(path)) for path in paths):
            raise ValueError(f'"{where}", "{name}" is a dotted path such as "output.task_id".')
        fields[name] = tuple(path for path in paths if path)
    return fields


def _rows_at(rows: Mapping[str, Any]) -> str:
    path = rows.get("at", "")
    if not isinstance(path, str) or (path and not _FIELD.fullmatch(path)):
        raise ValueError('"rows": "at" is a dotted path.')
    return path


def _kinds(settings: Mapping[str, Any]) -> dict[str, OfferKind]:
    kinds = _object(settings, "kinds")
    for prefix, kind in kinds.items():
        if not prefix or kind not in get_args(OfferKind):
            raise ValueError('"kinds": the beginning of an id, and one of video, image, workflow.')
    return dict(kinds)


def _abilities(settings: Mapping[str, Any]) -> dict[str, bool]:
    can = _object(settings, "can")
    for name, value in can.items():
        if name not in ABILITIES or not isinstance(value, bool):
            raise ValueError(f'"can" holds true or false for {", ".join(ABILITIES)}.')
    return dict(can)


def _object(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name) or {}
    if not isinstance(value, dict) or len(value) > 60:
        raise ValueError(f'"{name}" is an object.')
    return value


def _one_of(settings: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    word = settings.get(name, words[0])
    if word not in words:
        raise ValueError(f'"{name}" is one of {", ".join(words)}.')
    return str(word)


def _flag(settings: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = settings.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f'"{name}" is true or false.')
    return value
