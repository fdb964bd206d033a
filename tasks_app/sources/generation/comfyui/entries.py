"""Entries of ComfyUI's queue and history as observations; pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import GenerationObservation, OfferKind, Problem, RemoteAsset
from tasks_app.sources.generation.comfyui.workflows import MARK, own_id_in
from tasks_app.sources.generation.problems import classify, is_retryable
from tasks_app.sources.generation.reading import (
    id_of,
    items_of,
    members_of,
    number_of,
    small_json,
    text_of,
    time_of,
)
from tasks_app.states import State

MAX_ASSETS = 200
MAX_DETAIL = 20_000
VIDEO_ENDINGS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v")


def id_in(handle: Mapping[str, Any]) -> str:
    """The id of a handle, safe in a path. Raises SourceRefused."""
    if not (remote_id := id_of(handle.get("id"))):
        raise SourceRefused("The task has no id that the source could know.", kind="not_found")
    return remote_id


def id_in_queue(entry: Any) -> str:
    """The prompt's id of `[number, id, …]`, "" for anything else."""
    return id_of(entry[1]) if isinstance(entry, list) and len(entry) > 1 else ""


def queued(running: Sequence[Any], pending: Sequence[Any]) -> Iterator[GenerationObservation]:
    """What runs, then what waits in the order in which it will run; the next one has place 1."""
    for entry in running:
        if remote_id := id_in_queue(entry):
            yield _waiting(remote_id, entry, State.PROCESSING, "running", None)
    # the server keeps a heap, so only the numbers tell the order
    known = sorted((entry for entry in pending if id_in_queue(entry)), key=_number)
    for place, entry in enumerate(known, 1):
        yield _waiting(id_in_queue(entry), entry, State.PENDING, "pending", place)


def ended(remote_id: str, entry: Any, base: str) -> GenerationObservation:
    """One entry of the history; `base` is the server's address, where its files are."""
    entry = members_of(entry)
    status = members_of(entry.get("status"))
    word = text_of(status.get("status_str"), 60)
    messages = dict(_messages(status))
    outputs = members_of(entry.get("outputs"))
    prompt = items_of(entry.get("prompt"))
    assets = tuple(_assets(outputs, base))
    state, message, problem = _end(word, messages, has_outputs=bool(outputs))
    finished = next((messages[name] for name in _FINAL if name in messages), {})
    return GenerationObservation(
        remote_id,
        state,
        word=word,
        message=message,
        created_at=_created_at(prompt),
        started_at=_time(messages.get("execution_start")),
        finished_at=_time(finished),
        problem=problem,
        assets=assets if state is State.COMPLETED else (),
        metadata=_metadata(prompt),
        kind=_kind(assets),
        raw={"status": status, "outputs": outputs, **_mark(prompt)},
    )


def mark_of(seen: GenerationObservation) -> str:
    """Our own id that went along with the prompt, "" for one of somebody else."""
    return text_of(seen.raw.get(MARK))


_FINAL = ("execution_success", "execution_error", "execution_interrupted")


def _end(
    word: str, messages: Mapping[str, dict[str, Any]], *, has_outputs: bool
) -> tuple[State | None, str, Problem | None]:
    """(state, message, problem). Only the messages tell an interruption from a failure."""
    if "execution_interrupted" in messages:
        return State.CANCELLED, f"Interrupted{_at_node(messages['execution_interrupted'])}.", None
    if word == "error" or "execution_error" in messages:
        return State.FAILED, "", _problem(messages.get("execution_error", {}))
    if word == "success" or (not word and has_outputs):  # servers of 2023 tell no status
        return State.COMPLETED, "", None
    return None, "", None


def _problem(error: Mapping[str, Any]) -> Problem:
    code = text_of(error.get("exception_type"), 100)
    said = text_of(error.get("exception_message")) or "The workflow failed."
    kind = classify(code, said)
    return Problem(
        kind=kind,
        text=f"{said.rstrip('.')}{_at_node(error)}.",
        code=code,
        retryable=is_retryable(kind),
        detail=json.dumps(small_json(error, depth=5, characters=MAX_DETAIL), indent=1)[:MAX_DETAIL]
        if error
        else "",
    )


def _at_node(message: Mapping[str, Any]) -> str:
    node, kind = text_of(message.get("node_id"), 40), text_of(message.get("node_type"), 100)
    return f" at node {node}{f' ({kind})' if kind else ''}" if node else ""


def _waiting(
    remote_id: str, entry: list[Any], state: State, word: str, place: int | None
) -> GenerationObservation:
    return GenerationObservation(
        remote_id,
        state,
        word=word,
        queue_position=place,
        created_at=_created_at(entry),
        metadata=_metadata(entry),
        raw={"number": entry[0] if isinstance(entry[0], int | float) else None, **_mark(entry)},
    )


def _number(entry: list[Any]) -> float:
    number = number_of(entry[0])
    return float("inf") if number is None else number


def _messages(status: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`[[name, {…}], …]`; the last of a name wins."""
    for message in items_of(status.get("messages"), 2000):
        if isinstance(message, list) and message and isinstance(message[0], str):
            yield message[0], members_of(message[1]) if len(message) > 1 else {}


def _time(message: Mapping[str, Any] | None) -> datetime | None:
    """Its timestamp, which is in milliseconds."""
    stamp = number_of((message or {}).get("timestamp"))
    return None if stamp is None else time_of(stamp / 1000)


def _created_at(prompt: list[Any]) -> datetime | None:
    """Newer servers keep when the prompt was queued, in milliseconds."""
    extra = members_of(prompt[3]) if len(prompt) > 3 else {}
    stamp = number_of(extra.get("create_time"))
    return None if stamp is None else time_of(stamp / 1000)


def _metadata(prompt: list[Any]) -> dict[str, Any]:
    graph = members_of(prompt[2]) if len(prompt) > 2 else {}
    return {"nodes": len(graph)} if graph else {}


def _mark(prompt: list[Any]) -> dict[str, str]:
    """Our own id, from the extra data or the graph; nothing for the prompt of somebody else."""
    extra = members_of(prompt[3]) if len(prompt) > 3 else {}
    mark = text_of(extra.get(MARK), 60) or own_id_in(prompt[2] if len(prompt) > 2 else None)[:60]
    return {MARK: mark} if mark else {}


def _assets(outputs: Mapping[str, Any], base: str) -> Iterator[RemoteAsset]:
    """Whatever a node calls its list (images, gifs, videos, audio, …): each file in it, real outputs first."""
    found = []
    for node in list(outputs.values())[:MAX_ASSETS]:
        for files in members_of(node).values():
            found += [file for file in items_of(files, MAX_ASSETS) if _is_file(file)]
    found.sort(key=lambda file: file.get("type") != "output")
    for file in found[:MAX_ASSETS]:
        name = text_of(file["filename"], 300)
        ref = {
            "filename": name,
            "subfolder": text_of(file.get("subfolder"), 500),
            "type": text_of(file.get("type"), 20) or "output",
        }
        # every file is behind the server, and where a gateway wants the key, behind that too
        yield RemoteAsset(
            name[:200], url=f"{base}/view?{urlencode(ref, errors='replace')}", ref=ref, needs_auth=True
        )


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and bool(text_of(file.get("filename")))
        and text_of(file.get("filename")) != "."
    )


def _kind(assets: Sequence[RemoteAsset]) -> OfferKind | None:
    """Of a task that somebody else started: by what came of it."""
    if not assets:
        return None
    return "video" if any(asset.name.lower().endswith(VIDEO_ENDINGS) for asset in assets) else "image"
