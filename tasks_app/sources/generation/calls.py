"""JSON requests to a generation source: one place that turns statuses and broken bodies into typed errors."""

import json as jsonlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.generation.base import GenerationConnection
from tasks_app.sources.http import Answer, HttpClient

MAX_WORDS = 2000
"""Characters of a remote's message that are kept for people."""
LONGEST_WAIT_SECONDS = 300.0
"""A longer Retry-After is asked again after this."""

_RESETS_IN = re.compile(r"resets? in ~?(\d+(?:\.\d+)?)\s*s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer. `data` is the parsed JSON, None when the body is empty or none; `is_json` says which."""

    status: int
    headers: Mapping[str, str]
    data: Any
    is_json: bool
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after_seconds(self) -> float | None:
        """Retry-After (seconds or date), retry-after-ms, openai-poll-after-ms, or "resets in ~30s" in the body."""
        wait = _number(self.headers.get("retry-after-ms")) or _number(
            self.headers.get("openai-poll-after-ms")
        )
        if wait is not None:
            return _bounded(wait / 1000)
        text = self.headers.get("retry-after", "").strip()
        if (wait := _number(text)) is not None:
            return _bounded(wait)
        if text:
            try:
                return _bounded((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
            except (TypeError, ValueError, OverflowError):
                return None
        if self.status == 429 and (match := _RESETS_IN.search(self.words)):
            return _bounded(float(match[1]))
        return None

    @property
    def words(self) -> str:
        """The remote's message, wherever the dialects put it; else the start of the body. Never a traceback."""
        return message_of(self.data) or self.body[:MAX_WORDS].decode("utf-8", "replace").strip()

    @property
    def code(self) -> str:
        """The remote's error code, "" when it has none."""
        error = self.data.get("error") if isinstance(self.data, dict) else None
        places = [place for place in (error, self.data) if isinstance(place, dict)]
        for place in places:
            for name in ("code", "type", "error_type"):
                if isinstance(place.get(name), str | int):
                    return str(place[name])[:100]
        return self.headers.get("x-fal-error-type", "")[:100]


def message_of(data: Any) -> str:
    """The message in an error body of any of the dialects; "" when there is none."""
    if isinstance(data, str):
        return data.strip()[:MAX_WORDS]
    if isinstance(data, list):
        return "; ".join(filter(None, (message_of(item) for item in data[:5])))[:MAX_WORDS]
    if isinstance(data, dict):
        for name in ("message", "detail", "error", "msg", "title", "error_message"):
            if name in data and (text := message_of(data[name])):
                where = data.get("loc")
                field = where[-1] if isinstance(where, list) and where else ""
                return f"{field}: {text}" if field else text
    return ""


class JsonCaller:
    """Requests below the base address of `connection`, with `headers` (the key) on every one."""

    def __init__(
        self,
        connection: GenerationConnection,
        *,
        headers: Mapping[str, str] | None = None,
        total_seconds: float = 60.0,
    ) -> None:
        parts = urlsplit(connection.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/")
        self.latency_seconds: float | None = None
        self.key_headers = dict(headers or {})
        self._client = HttpClient(
            (self.origin,),
            trust=connection.trust,
            headers=self.key_headers,
            total_seconds=total_seconds,
            allow_http=True,
            follow_same_origin=True,
        )

    def close(self) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer, whatever its status. Raises SourceUnavailable, SourceNeedsPerson, and for anything but GET
        OutcomeUnknown when the answer was lost."""
        answer = self._client.request(
            method, self._base + path, params=params, json=json, data=data, files=files, headers=headers
        )
        self.latency_seconds = answer.elapsed_seconds
        return _reply(answer)

    def ask(self, method: str, path: str, **options: Any) -> Reply:
        """`call`, and anything but a JSON success raises. For reads, and for cancels that may be repeated."""
        reply = self.call(method, path, **options)
        if not reply.is_success:
            raise refusal(reply)
        if not reply.is_json:
            raise SourceUnavailable("The answer is not JSON.", kind="garbage", status=reply.status)
        return reply

    def order(self, path: str, *, method: str = "POST", **options: Any) -> Reply:
        """`call` for a submit: raises SourceRefused or SourceUnavailable only when certainly nothing was created."""
        return taken(self.call(method, path, **options))


def taken(reply: Reply) -> Reply:
    """The reply to a submit when the order was taken; else raises as `JsonCaller.order` does."""
    if reply.is_success:
        if not reply.is_json:
            raise OutcomeUnknown("The order was taken, but the answer is not JSON.", kind="garbage")
        return reply
    is_busy = reply.status == 429 or (reply.status == 503 and reply.retry_after_seconds is not None)
    if reply.status >= 500 and not is_busy:
        raise OutcomeUnknown(
            f"The source answered {reply.status} to the order: {reply.words[:300]}",
            kind="server_error",
            status=reply.status,
        )
    raise refusal(reply)


def refusal(reply: Reply) -> SourceError:
    """What a status that is no success means; the remote's words go along."""
    words, status = reply.words[:MAX_WORDS], reply.status
    if status in (401, 403) and not _is_about_content(reply):
        return SourceNeedsPerson(
            f"The source refuses the credentials ({status}): {words[:300]}",
            kind="unauthorized",
            status=status,
        )
    if status == 402:
        return SourceRefused(words or "The account has no credit.", kind="no_credit", status=status)
    if status in (404, 410):
        return SourceRefused(words or "The source does not know it.", kind="not_found", status=status)
    if status == 429 or (status == 503 and reply.retry_after_seconds is not None):
        return SourceUnavailable(
            words or "The source asks to wait.",
            kind="rate_limited",
            status=status,
            retry_after=reply.retry_after_seconds,
        )
    if status >= 500:
        return SourceUnavailable(
            f"The source answered {status}: {words[:300]}",
            kind="server_error",
            status=status,
            retry_after=reply.retry_after_seconds,
        )
    return SourceRefused(words or f"The source answered {status}.", kind="invalid_request", status=status)


def _is_about_content(reply: Reply) -> bool:
    """Stability and others refuse a prompt with 403."""
    text = f"{reply.code} {reply.words}".lower()
    return any(word in text for word in ("content_policy", "content policy", "moderat", "content_filtered"))


def _reply(answer: Answer) -> Reply:
    data, is_json = None, False
    if answer.body:
        try:
            data, is_json = jsonlib.loads(answer.body), True
        except (ValueError, RecursionError):
            is_json = False
    return Reply(answer.status, answer.headers, data, is_json, answer.body)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def _bounded(seconds: float) -> float:
    return min(LONGEST_WAIT_SECONDS, max(0.0, seconds))
