"""JSON requests to a generation source: one place that turns statuses and broken bodies into typed errors."""

import json as jsonlib
import re
from collections.abc import Collection, Mapping
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
from tasks_app.sources.generation.problems import Kind, classify
from tasks_app.sources.generation.values import strip_traceback
from tasks_app.sources.http import Answer, HttpClient

MAX_WORDS = 2000
"""Characters of a remote's message that are kept for people."""
MIN_SECRET = 8
"""A shorter key is no secret, and may be a word of the answer."""
LONGEST_WAIT_SECONDS = 300.0
"""A longer Retry-After is asked again after this."""

_TITLE = re.compile(r"<(?:title|h1)[^>]{0,100}>([^<]{1,200})<", re.IGNORECASE)
_RESETS_IN = re.compile(r"resets? in ~?(\d+(?:\.\d+)?)\s*s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer. `data` is the parsed JSON, None when the body is empty or none; `is_json` says which.

    `clock_skew_seconds`: by how much the remote's clock is ahead of ours, as far as its answer tells.
    """

    status: int
    headers: Mapping[str, str]
    data: Any
    is_json: bool
    body: bytes
    clock_skew_seconds: float = 0.0

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
        """The remote's message, wherever the dialects put it; else the start of the body. Never a server's stack."""
        text = message_of(self.data)
        if not text and not isinstance(self.data, dict | list):
            text = _text_of_body(self.body)
        return strip_traceback(text)[:MAX_WORDS]

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


def message_of(data: Any, depth: int = 6) -> str:
    """The message in an error body of any of the dialects; "" when there is none."""
    if isinstance(data, str):
        return data.strip()[:MAX_WORDS]
    if isinstance(data, list) and depth:
        return "; ".join(filter(None, (message_of(item, depth - 1) for item in data[:5])))[:MAX_WORDS]
    if isinstance(data, dict) and depth:
        for name in ("message", "detail", "error", "msg", "title", "error_message"):
            if name in data and (text := message_of(data[name], depth - 1)):
                where = data.get("loc")
                field = where[-1] if isinstance(where, list) and where else ""
                details = _details_of(data)
                return f"{field}: {text}" if field else f"{text} ({details})" if details else text
    return ""


def _details_of(data: dict[str, Any]) -> str:
    """What a validation error says about each field, beside its message."""
    details = data.get("details")
    named = (
        [item for item in details if isinstance(item, dict) and "loc" in item]
        if isinstance(details, list)
        else []
    )
    return message_of(named, 2)


def fields_of(data: Any) -> dict[str, str]:
    """The fields that a validation error names, with what is wrong; empty when it names none."""
    places = [data, data.get("error")] if isinstance(data, dict) else []
    fields: dict[str, str] = {}
    for place in places:
        for name in ("details", "detail"):
            details = place.get(name) if isinstance(place, dict) else None
            if isinstance(details, dict):
                fields |= {
                    str(key)[:60]: text[:300] for key, text in details.items() if isinstance(text, str)
                }
            for item in details[:20] if isinstance(details, list) else ():
                where = item.get("loc") if isinstance(item, dict) else None
                names = [step for step in where if step != "body"] if isinstance(where, list) else []
                if names and isinstance(item.get("msg"), str):
                    fields[str(names[0])[:60]] = item["msg"][:300]
    return dict(list(fields.items())[:20])


def _text_of_body(body: bytes) -> str:
    """The start of a body that is no JSON; of a page only its title."""
    text = body[:MAX_WORDS].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        title = _TITLE.search(text)
        return " ".join(title[1].split()) if title else ""
    return "" if text.startswith(("{", "[")) else text


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
        self._secrets = [
            secret.encode()
            for secret in (connection.key, connection.webhook_secret)
            if len(secret) >= MIN_SECRET
        ]
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
        return _reply(answer, self._secrets)

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
    if (reply.status >= 500 and not is_busy) or reply.status == 408:
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
    if status >= 500 or status in (408, 425):
        return SourceUnavailable(
            f"The source answered {status}: {words[:300]}",
            kind="server_error",
            status=status,
            retry_after=reply.retry_after_seconds,
        )
    kind = Kind.INVALID_REQUEST
    if classify(reply.code, words) is Kind.CONTENT_POLICY:
        kind = Kind.CONTENT_POLICY
    return SourceRefused(
        words or f"The source answered {status}.", kind=kind, status=status, fields=fields_of(reply.data)
    )


def _is_about_content(reply: Reply) -> bool:
    """Stability and others refuse a prompt with 403."""
    text = f"{reply.code} {reply.words}".lower()
    return any(word in text for word in ("content_policy", "content policy", "moderat", "content_filtered"))


def _reply(answer: Answer, secrets: Collection[bytes] = ()) -> Reply:
    """A server that repeats our key, in an error message or an echo of the order, does not get it shown or stored."""
    data, is_json, body = None, False, answer.body
    for secret in secrets:
        body = body.replace(secret, b"***")
    if body:
        try:
            data, is_json = jsonlib.loads(body), True
        except (ValueError, RecursionError):
            is_json = False
    return Reply(answer.status, answer.headers, data, is_json, body, answer.clock_skew_seconds or 0.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None


def _bounded(seconds: float) -> float:
    return min(LONGEST_WAIT_SECONDS, max(0.0, seconds))
