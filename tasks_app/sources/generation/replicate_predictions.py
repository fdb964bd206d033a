"""Replicate's prediction object as an observation; pure."""

import mimetypes
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks_app.sources.generation.base import GenerationObservation, OfferKind, Problem, RemoteAsset
from tasks_app.sources.generation.problems import Kind, classify, is_retryable
from tasks_app.sources.generation.reading import (
    expiry_of,
    from_data_url,
    id_of,
    items_of,
    members_of,
    percent_of,
    small_json,
    text_of,
    time_of,
    url_of,
)
from tasks_app.sources.http import is_same_origin
from tasks_app.states import State

STATES = {
    "starting": State.PENDING,
    "processing": State.PROCESSING,
    "succeeded": State.COMPLETED,
    "failed": State.FAILED,
    "aborted": State.FAILED,  # its deadline came before it began
    "canceled": State.CANCELLED,
}
FILES_LIVE = timedelta(hours=1)
"""Replicate removes input and output of a prediction so long after its end."""
MAX_ASSETS = 200
MAX_LOG_LINES = 20_000
MAX_DETAIL = 20_000
FROM_LOG = "Progress is read from the provider's log."
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?%\|")  # as tqdm draws its bar
_STACK = re.compile(r'^\s*(?:Traceback \(most recent call last\):|File ".*", line \d+)', re.MULTILINE)
_VIDEO = (".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi")


def observation_of(data: Any, origin: str, *, is_partial: bool = False) -> GenerationObservation | None:
    """One prediction; None for what is none. `origin` is the API's own, whose files need the key."""
    row = members_of(data)
    if not (remote_id := id_of(row.get("id"))):
        return None
    word = text_of(row.get("status"), 60)
    state = STATES.get(word)
    finished_at = time_of(row.get("completed_at"))
    lines = _lines(row["logs"]) if isinstance(row.get("logs"), str) else None
    progress = progress_in(lines or ()) if state is State.PROCESSING else None
    assets = tuple(assets_in(row.get("output"), origin, finished_at)) if state is State.COMPLETED else ()
    given = row.get("input")
    return GenerationObservation(
        remote_id,
        state,
        word=word,
        progress=progress,
        message=FROM_LOG if progress is not None else "",
        created_at=time_of(row.get("created_at")),
        started_at=time_of(row.get("started_at")),
        finished_at=finished_at,
        problem=_problem(word, row.get("error")) if state is State.FAILED else None,
        assets=assets,
        log_lines=lines,
        metadata=_metadata(row, has_files=bool(assets)),
        is_partial=is_partial,
        input=small_json(given) if isinstance(given, dict) else None,
        kind=_kind(assets),
        raw=small_json({name: value for name, value in row.items() if name not in ("logs", "input", "urls")}),
    )


def progress_in(lines: tuple[str, ...] | list[str]) -> float | None:
    """The newest percentage that a progress bar wrote into the log."""
    for line in reversed(lines[-200:]):
        if found := _PERCENT.findall(line):
            return percent_of(found[-1])
    return None


def assets_in(output: Any, origin: str, finished_at: datetime | None) -> Iterator[RemoteAsset]:
    """Every file address in an output, which is a text, a list or an object of such, in any depth up to five."""
    names: set[str] = set()
    for number, (key, value) in enumerate(_leaves(output, "output", 5)):
        if number >= MAX_ASSETS:
            return
        if value.startswith("data:"):
            if (decoded := from_data_url(value)) is None:
                continue
            ending = mimetypes.guess_extension(decoded[0]) or ""
            yield RemoteAsset(_unique(key + ending, names), media_type=decoded[0], data=decoded[1])
        elif url := url_of(value, origin):
            yield RemoteAsset(
                _unique(_name_in(url) or key, names),
                url=url,
                expires_at=expiry_of(url) or (finished_at + FILES_LIVE if finished_at else None),
                needs_auth=is_same_origin(url, origin),
            )


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    """(name of the place, text) of each text that may be a file."""
    if isinstance(value, str):
        if value.startswith(("https://", "http://", "data:")):
            yield key, value
    elif isinstance(value, list) and depth:
        for item in items_of(value, MAX_ASSETS):
            yield from _leaves(item, key, depth - 1)
    elif isinstance(value, dict) and depth:
        for name, item in list(value.items())[:MAX_ASSETS]:
            yield from _leaves(item, re.sub(r"[^\w-]", "_", name)[:60] or key, depth - 1)


def _name_in(url: str) -> str:
    """The last part of the path, without what no file name may have."""
    last = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
    return re.sub(r"[\x00-\x1f/\\]", "_", last).strip(". ")[-200:]


def _unique(name: str, names: set[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    found, number = name, 1
    while found in names:
        number += 1
        found = f"{stem}-{number}.{ending}" if dot else f"{name}-{number}"
    names.add(found)
    return found


def _problem(word: str, said: Any) -> Problem:
    if word == "aborted":
        text = text_of(said) or "Its deadline passed before it began."
        return Problem(Kind.TIMED_OUT, text, code=word)
    whole = (
        said
        if isinstance(said, str)
        else text_of(members_of(said).get("message") or members_of(said).get("detail"))
    )
    text = _without_stack(whole)
    kind = classify("", text)
    return Problem(
        kind,
        text or "The model failed without a message.",
        retryable=is_retryable(kind),
        detail=whole.strip()[:MAX_DETAIL],
    )


def _without_stack(text: str) -> str:
    """The message alone: before a stack, or the line after it."""
    if (stack := _STACK.search(text)) is None:
        return text_of(text)
    before = text[: stack.start()].strip()
    lines = [line.strip() for line in text[stack.start() :].splitlines() if line.strip()]
    return text_of(before or (lines[-1] if not _STACK.match(lines[-1]) else ""))


def _lines(logs: str) -> tuple[str, ...]:
    """A progress bar that rewrites its line makes one line for each state of it."""
    lines = re.split(r"\r\n|\r|\n", logs)
    if lines and not lines[-1]:
        lines.pop()
    return tuple(lines[:MAX_LOG_LINES])


def _metadata(row: Mapping[str, Any], *, has_files: bool) -> dict[str, Any]:
    """What is worth showing: the model, its measures, and an output that is no file."""
    found = {"model": text_of(row.get("model"), 200), "version": text_of(row.get("version"), 100)}
    metrics = small_json(members_of(row.get("metrics")))
    output = None if has_files else small_json(row.get("output"))
    return {name: value for name, value in {**found, "metrics": metrics, "output": output}.items() if value}


def _kind(assets: tuple[RemoteAsset, ...]) -> OfferKind | None:
    if not assets:
        return None
    is_video = any(
        asset.media_type.startswith("video/") or asset.name.lower().endswith(_VIDEO) for asset in assets
    )
    return "video" if is_video else "image"
