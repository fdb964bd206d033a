"""Answers of a task API become observations: state, progress, times, the error, the results. Pure."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from tasks_app.sources.generation.base import GenerationObservation, OfferKind, Problem, RemoteAsset
from tasks_app.sources.generation.problems import Kind, classify, is_retryable
from tasks_app.sources.generation.reading import (
    MAX_DATA_URL,
    from_data_url,
    id_of,
    number_of,
    percent_of,
    small_json,
    text_of,
    time_of,
    url_of,
    whole_of,
)
from tasks_app.sources.generation.task_api_settings import Dialect
from tasks_app.sources.generation.values import first, look_all, strip_traceback
from tasks_app.sources.http import is_same_origin
from tasks_app.states import FINAL_STATES, State

MAX_ASSETS = 60
MAX_DETAIL = 60_000
NO_REASON = "The server gave no reason."

_SAYS_NOTHING = re.compile(
    r"(?:[\w-]+ ){0,4}task (?:submitted\b|"
    r"(?:queued|is waiting to start|(?:processing )?started|completed successfully|was cancell?ed)\W*$)",
    re.IGNORECASE,
)
"""The documentation's own messages: the state in other words, and that one should poll."""
_UNSAFE = re.compile(r"[^\w .()+-]+")
_SUFFIX = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}


class Reader:
    """Reads answers of one source. `own_url` is its address: relative results lie there, and need the key if any."""

    def __init__(self, dialect: Dialect, own_url: str, *, has_key: bool) -> None:
        self._dialect, self._own_url, self._has_key = dialect, own_url, has_key

    def id_in(self, data: Any, *, is_row: bool = False) -> str:
        """The task's id; "" when there is none that could stand in a path."""
        return id_of(first(data, self._paths("id", is_row=is_row)))

    def word_in(self, data: Any, *, is_row: bool = False) -> str:
        """The status word as the server writes it; "" when there is none."""
        word = first(data, self._paths("status", is_row=is_row))
        return word.strip()[:60] if isinstance(word, str) else ""

    def is_gone(self, word: str) -> bool:
        return word.lower() in self._dialect.gone_words

    def observe(
        self,
        data: Mapping[str, Any],
        remote_id: str,
        *,
        kind: OfferKind | None = None,
        is_row: bool = False,
        without_word: State | None = None,
    ) -> GenerationObservation:
        """The task as `data` shows it, a row of a list with `is_row`. `without_word`: the state if it names none.

        A progress of 0 says nothing for kinds that stay at 0 until they are done (videos, at the task API's own
        server); for the others (workflows), and above 0, it is a number.
        """
        kind = kind or self._dialect.kind_of(remote_id)
        word = self.word_in(data, is_row=is_row)
        state = self._dialect.words.get(word.lower()) if word else without_word
        updated_at = self._time(data, "updated_at", is_row)
        finished_at = self._time(data, "finished_at", is_row)
        is_failed = state is State.FAILED and not is_row
        return GenerationObservation(
            remote_id=remote_id,
            state=state,
            word=word,
            progress=self._progress(data, kind, is_row),
            queue_position=whole_of(self._value(data, "queue_position", is_row)),
            message=self._told(data, is_row),
            created_at=self._time(data, "created_at", is_row),
            started_at=self._time(data, "started_at", is_row),
            finished_at=finished_at or (updated_at if state in FINAL_STATES else None),
            updated_at=updated_at,
            problem=problem_of(self._value(data, "error", is_row), self._message(data))
            if is_failed
            else None,
            assets=tuple(self._assets(data, remote_id)) if state is State.COMPLETED and not is_row else (),
            metadata=_facts(self._value(data, "result", is_row)),
            cost=text_of(self._value(data, "cost", is_row), 60),
            is_partial=is_row,
            kind=kind,
            raw=_without_stacks(small_json(data)),
        )

    def _paths(self, name: str, *, is_row: bool) -> tuple[str, ...]:
        return (self._dialect.row_fields if is_row else self._dialect.fields)[name]

    def _value(self, data: Any, name: str, is_row: bool) -> Any:
        return first(data, self._paths(name, is_row=is_row))

    def _time(self, data: Any, name: str, is_row: bool) -> datetime | None:
        return time_of(self._value(data, name, is_row))

    def _message(self, data: Any) -> str:
        return text_of(self._value(data, "message", False))

    def _told(self, data: Any, is_row: bool) -> str:
        """What the message says beside the state; "" for one that only repeats it, or tells clients to poll."""
        words = strip_traceback(text_of(self._value(data, "message", is_row)))
        return "" if _SAYS_NOTHING.match(words) else words

    def _progress(self, data: Any, kind: OfferKind | None, is_row: bool) -> float | None:
        number = number_of(self._value(data, "progress", is_row))
        if number is None or (number <= 0 and kind not in self._dialect.zero_kinds):
            return None
        return percent_of(number)

    def _assets(self, data: Any, remote_id: str) -> Iterator[RemoteAsset]:
        seen: set[str] = set()
        for path in self._dialect.fields["assets"]:
            for value in look_all(data, path):
                asset = self._asset(value, f"{remote_id}-{len(seen) + 1}")
                mark = "" if asset is None else asset.url or str(hash(asset.data))
                if asset is None or mark in seen:
                    continue
                seen.add(mark)
                yield asset
                if len(seen) >= MAX_ASSETS:
                    return

    def _asset(self, value: Any, fallback: str) -> RemoteAsset | None:
        entry = value if isinstance(value, dict) else {"url": value}
        claimed = text_of(entry.get("content_type") or entry.get("type"), 100)
        media_type = claimed.lower() if "/" in claimed else ""
        given = text_of(entry.get("filename") or entry.get("name"), 200)
        if decoded := from_data_url(entry.get("url")) or _decoded(entry.get("b64_json")):
            media_type = decoded[0] or media_type
            name = safe_name(given) or f"{fallback}{_SUFFIX.get(media_type, '')}"
            return RemoteAsset(name, media_type=media_type, size=len(decoded[1]), data=decoded[1])
        url = url_of(entry.get("url"), self._own_url)
        if not url:
            return None
        return RemoteAsset(
            safe_name(given) or safe_name(unquote(urlsplit(url).path.rpartition("/")[2])) or fallback,
            url=url,
            media_type=media_type,
            size=whole_of(entry.get("size_bytes"), highest=2**53),
            expires_at=time_of(entry.get("expires_at")),
            needs_auth=self._has_key and is_same_origin(url, self._own_url),
        )


def problem_of(error: Any, message: str = "") -> Problem:
    """Why a task failed. `error` is a text or an object in the words of whoever wrote it; `message` the task's own.

    The message tells more than codes and `retryable`, which wrappers around the real provider fill as they like.
    """
    given = error if isinstance(error, dict) else {"message": error}
    said = [text_of(given.get(name)) for name in ("message", "detail", "msg", "original_error")]
    codes = [text_of(given.get(name), 100) for name in ("error_code", "code", "error_type", "type")]
    words = next(filter(None, map(strip_traceback, [*said, message])), "")
    code = next(filter(None, codes), "")
    kind = classify("", " ".join(filter(None, [*map(strip_traceback, said), message])))
    if kind is Kind.PROVIDER:
        kind = next((k for k in map(classify, codes) if k is not Kind.PROVIDER), kind)
    return Problem(
        kind=kind,
        text=words or code or NO_REASON,
        code=code,
        retryable=is_retryable(kind, given.get("retryable")),
        detail=_detail(error),
    )


def safe_name(name: str) -> str:
    """A file name without folders and odd characters; "" when nothing is left."""
    return _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip(" ._")[:120]


def _detail(error: Any) -> str:
    if isinstance(error, str) or error is None:
        return (error or "")[:MAX_DETAIL]
    cut = small_json(error, characters=MAX_DETAIL)
    stack = cut.pop("traceback", "") if isinstance(cut, dict) else ""
    text = json.dumps(cut, indent=1, ensure_ascii=False)
    return f"{text}\n{stack}".strip()[:MAX_DETAIL] if isinstance(stack, str) else text[:MAX_DETAIL]


def _decoded(text: Any) -> tuple[str, bytes] | None:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_DATA_URL:
        return None
    try:
        return "", base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _facts(result: Any, depth: int = 3) -> dict[str, Any]:
    """What a result says besides its files: numbers and short words, from its inner objects too.

    Around an inner result `duration` is how long the server took, which the task's own times tell.
    """
    facts: dict[str, Any] = {}
    if not isinstance(result, dict) or not depth:
        return facts
    left_out = {"id", "status", "b64_json"} | (
        {"duration"} if isinstance(result.get("result"), dict) else set()
    )
    for name in ("result", "metadata"):
        facts |= _facts(result.get(name), depth - 1)
    for name, value in list(result.items())[:40]:
        is_short = isinstance(value, int | float) or (isinstance(value, str) and 0 < len(value) <= 200)
        if is_short and not name.endswith(("url", "path")) and name not in left_out:
            facts[str(name)[:60]] = small_json(value)
    return facts


def _without_stacks(raw: Any) -> dict[str, Any]:
    """Everybody who sees the task may see its answer; the stack of a server is in the problem's detail, for staff."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cut(item) for name, item in value.items() if name != "traceback"}
        if isinstance(value, list):
            return [cut(item) for item in value]
        return strip_traceback(value) if isinstance(value, str) else value

    kept = cut(raw)
    return kept if isinstance(kept, dict) else {}
