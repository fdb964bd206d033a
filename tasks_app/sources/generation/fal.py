"""fal's queue: any of its models by path, status with logs, results anywhere in the model's own JSON.

An order goes to `{address}/{owner}/{app}[/{path}]`, all later calls to `{address}/{owner}/{app}/requests/{id}`. The
addresses in its answers name the public host even behind a gateway, so none of them is followed.

Settings: `offers` (an offer's model is its `app`, else its key; `fixed` values go along) or, for models that need a
prompt alone, `models`, a list of such paths; `headers`.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation import configured, fal_results, reading
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    Capabilities,
    Download,
    GenerationConnection,
    GenerationObservation,
    ListPage,
    Offer,
    Order,
    Parameter,
    Probe,
    Problem,
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, Reply, message_of, refusal
from tasks_app.sources.generation.offers import declared_offers
from tasks_app.sources.generation.problems import classify, is_retryable
from tasks_app.sources.generation.values import strip_traceback
from tasks_app.states import State

WORDS: dict[str, State] = {
    "IN_QUEUE": State.PENDING,
    "IN_PROGRESS": State.PROCESSING,
    "COMPLETED": State.COMPLETED,
    "CANCELLED": State.CANCELLED,
    "CANCELED": State.CANCELLED,
    "FAILED": State.FAILED,
    "ERROR": State.FAILED,
}
NAMESPACES = ("workflows", "comfy")
"""Paths below these have one segment more before their owner."""
NO_REQUEST = "00000000-0000-0000-0000-000000000000"
MAX_LOG_LINES = 5000
_APP = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*){1,7}", re.ASCII)


class FalQueue:
    """One account at fal, or a gateway that speaks like it."""

    def __init__(self, connection: GenerationConnection) -> None:
        settings = connection.settings
        self._key_headers = {"Authorization": f"Key {connection.key}"} if connection.key else {}
        self._caller = JsonCaller(
            connection, headers={**configured.extra_headers(settings), **self._key_headers}
        )
        self._trust = connection.trust
        declared = declared_offers(settings)
        self._offers = tuple(offer for offer, _ in declared)
        self._apps = {offer.key: _app_of(entry.get("app") or offer.key) for offer, entry in declared}
        self._fixed = {offer.key: configured.fixed_values(entry) for offer, entry in declared}
        if not declared:
            models = configured.texts(settings, "models")
            self._apps = {app: _app_of(app) for app in models or [offer.key for offer in USUAL_OFFERS]}
            self._offers = tuple(prompt_offer(app) for app in models) or USUAL_OFFERS

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(cancel_queued=True, cancel_running=True, queue_position=True, logs=True)

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    @property
    def latency_seconds(self) -> float | None:
        return self._caller.latency_seconds

    def close(self) -> None:
        self._caller.close()

    def check(self) -> Probe:
        """Asks for a request that does not exist: with a good key the answer is that there is none."""
        app = next(iter(self._apps.values()))
        reply = self._caller.call("GET", _path({"id": NO_REQUEST, "app": app}, "/status"))
        if not reply.is_json and reply.status in (404, 405):
            raise SourceRefused("The address answers, but there is no fal queue below it.", kind="not_found")
        if not reply.is_success and reply.status not in (400, 404, 422):
            raise refusal(reply)
        if not reply.is_json:
            raise SourceUnavailable("The answer is not JSON.", kind="garbage", status=reply.status)
        return Probe("fal queue")

    def submit(self, order: Order) -> Accepted:
        if not (app := self._apps.get(order.offer)):
            raise SourceRefused("The source no longer offers this.", kind="invalid_request")
        values = {**self._fixed.get(order.offer, {}), **order.parameters}
        body = {name: value for name, value in values.items() if value is not None and value != ""}
        for name, upload in order.uploads.items():
            body[name] = reading.as_data_url(upload)
        reply = self._caller.order(f"/{app}", json=body)
        answer = reading.members_of(reply.data)
        remote_id = reading.id_of(answer.get("request_id"))
        if not remote_id:
            raise OutcomeUnknown("The order was taken, but the answer names no id.", kind="garbage")
        seen = self._observe({"status": "IN_QUEUE", **answer}, remote_id, reply)
        return Accepted(seen, {"id": remote_id, "app": app})

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        raise OutcomeUnknown("fal keeps no list in which the order could be looked for.")

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        """One call while the request waits or runs; one more for the result when it has completed."""
        reply = self._caller.call("GET", _path(handle, "/status"), params={"logs": 1})
        status = _members(reply)
        if not isinstance(status.get("status"), str):
            raise SourceUnavailable("The answer shows no status.", kind="garbage", status=reply.status)
        seen = self._observe(status, str(handle["id"]), reply)
        if seen.state is not State.COMPLETED:
            return seen
        return self._with_result(seen, self._caller.call("GET", _path(handle)))

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        reply = self._caller.call("PUT", _path(handle, "/cancel"))
        if reply.is_success:
            return CancelAnswer.REQUESTED
        word = reading.text_of(reading.members_of(reply.data).get("status"), 60).upper()
        if word == "ALREADY_COMPLETED" or reply.status == 409:
            return CancelAnswer.ALREADY_FINISHED
        if reply.status in (404, 410):
            return CancelAnswer.NOT_FOUND
        raise refusal(reply)

    def list_recent(self, cursor: str = "") -> ListPage:
        raise SourceRefused("fal has no list of requests.", kind="not_implemented")

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        """An id is not enough: a request is read below its model."""
        raise SourceRefused("A request at fal is found by its model and its id.", kind="not_implemented")

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        key_headers = self._key_headers if needs_auth else {}
        return open_download(url, own_url=self._caller.origin, trust=self._trust, key_headers=key_headers)

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise WebhookRefused("This source sends no events.")

    def _observe(self, status: Mapping[str, Any], remote_id: str, reply: Reply) -> GenerationObservation:
        word = reading.text_of(status.get("status"), 60)
        state = WORDS.get(word.upper())
        problem = None
        code = reading.text_of(status.get("error_type"), 100)
        if state in (State.COMPLETED, State.FAILED) and (
            status.get("error") or code or state is State.FAILED
        ):
            state = State.CANCELLED if "cancel" in code.lower() else State.FAILED
            problem = None if state is State.CANCELLED else _problem(code, message_of(status.get("error")))
        return GenerationObservation(
            remote_id=remote_id,
            state=state,
            word=word,
            queue_position=(
                reading.whole_of(status.get("queue_position")) if state is State.PENDING else None
            ),
            problem=problem,
            log_lines=_log_lines(status.get("logs")),
            metadata=_metrics(status.get("metrics")),
            ask_again_seconds=reply.retry_after_seconds,
            raw=status,
        )

    def _with_result(self, seen: GenerationObservation, reply: Reply) -> GenerationObservation:
        """The completed request with its files; failed when its model answered with an error of its own.

        Raises when the question for the result could not be answered: then nothing is known about the request.
        """
        if reply.status == 202:  # too early: the body is the status once more
            return replace(seen, state=State.PROCESSING)
        if not reply.is_success:
            if not _is_of_the_model(reply):
                raise refusal(reply)
            code = reply.headers.get("x-fal-error-type", "") or _detail_type(reply.data) or reply.code
            problem = _problem(code[:100], message_of(reply.data), status=reply.status, detail=reply.data)
            return replace(seen, state=State.FAILED, problem=problem)
        if not reply.is_json:
            raise SourceUnavailable("The result is not JSON.", kind="garbage", status=reply.status)
        found = fal_results.find_files(reply.data, self._caller.origin)
        units = reading.text_of(reply.headers.get("x-fal-billable-units", ""), 40)
        return replace(
            seen,
            assets=found.assets,
            metadata={**seen.metadata, **found.rest},
            cost=f"{units} billable units" if units else "",
            raw=reading.members_of(reply.data),
        )


def prompt_offer(app: str) -> Offer:
    """A model of which nothing is known but that it takes a prompt."""
    is_video = any(word in app for word in ("video", "veo", "seedance", "hailuo", "wan", "luma"))
    return Offer(app, "video" if is_video else "image", app, (_PROMPT,))


_PROMPT = Parameter("prompt", "Prompt", "long_text", required=True, max_length=5000)
_SIZES = ("square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9")
USUAL_OFFERS = (
    Offer(
        "fal-ai/flux/dev",
        "image",
        "Flux dev",
        (
            _PROMPT,
            Parameter(
                "image_size",
                "Size",
                "choice",
                default="landscape_4_3",
                choices=tuple((size, size.replace("_", " ")) for size in _SIZES),
            ),
            Parameter("num_images", "Pictures", "integer", default=1, minimum=1, maximum=4),
            Parameter("seed", "Seed", "integer", minimum=0, maximum=2**31 - 1),
        ),
    ),
    Offer(
        "fal-ai/kling-video/v1/standard/text-to-video",
        "video",
        "Kling, text to video",
        (
            _PROMPT,
            Parameter(
                "duration", "Duration", "choice", default="5", choices=(("5", "5"), ("10", "10")), unit="s"
            ),
            Parameter(
                "aspect_ratio",
                "Shape",
                "choice",
                default="16:9",
                choices=tuple((ratio, ratio) for ratio in ("16:9", "9:16", "1:1")),
            ),
        ),
    ),
)


def _app_of(value: Any) -> str:
    app = value.strip("/") if isinstance(value, str) else ""
    if not _APP.fullmatch(app) or len(app) > 200 or "/requests" in f"/{app}":
        raise ValueError(f'"{str(value)[:60]}" is no path of a model, such as "fal-ai/flux/dev".')
    return app


def _path(handle: Mapping[str, Any], action: str = "") -> str:
    """Where a request is read: below owner and app, without what followed in the path of the order."""
    remote_id = reading.id_of(handle.get("id"))
    app = handle.get("app")
    if not remote_id or not isinstance(app, str) or not _APP.fullmatch(app):
        raise SourceRefused("The task has no place at the source.", kind="not_found")
    segments = app.split("/")
    owner_and_app = segments[: 3 if segments[0] in NAMESPACES else 2]
    return f"/{'/'.join(owner_and_app)}/requests/{remote_id}{action}"


def _members(reply: Reply) -> dict[str, Any]:
    if not reply.is_success:
        raise refusal(reply)
    if not isinstance(reply.data, dict):
        raise SourceUnavailable("The answer is no JSON object.", kind="garbage", status=reply.status)
    return reply.data


def _is_of_the_model(reply: Reply) -> bool:
    """Whether an error to the question for a result is the result: it wears fal's header, or a `detail`."""
    if reply.headers.get("x-fal-error-type"):
        return True
    if reply.status in (401, 403, 404, 408, 410, 429) or not isinstance(reply.data, dict):
        return False
    return bool(reply.data.get("detail")) or reply.status in (400, 422)


def _detail_type(data: Any) -> str:
    """`type` of the first of the errors that a 422 lists."""
    for item in reading.items_of(reading.members_of(data).get("detail"), 1):
        return reading.text_of(reading.members_of(item).get("type"), 100)
    return ""


def _problem(code: str, words: str, *, status: int | None = None, detail: Any = None) -> Problem:
    kind = classify(code, words, status=status)
    text = strip_traceback(words) or "The model gives no reason."
    kept = words if detail is None else str(reading.small_json(detail, characters=4000))
    return Problem(kind, text, code, retryable=is_retryable(kind), detail=kept)


def _log_lines(logs: Any) -> tuple[str, ...] | None:
    """The whole log so far; None when the answer holds none."""
    if not isinstance(logs, list):
        return None
    lines: list[str] = []
    for entry in logs[-MAX_LOG_LINES:]:
        message = reading.members_of(entry).get("message") if isinstance(entry, dict) else entry
        lines.extend(line for line in reading.text_of(message).splitlines() if line.strip())
    return tuple(lines[-MAX_LOG_LINES:])


def _metrics(metrics: Any) -> dict[str, Any]:
    seconds = reading.number_of(reading.members_of(metrics).get("inference_time"))
    return {} if seconds is None else {"inference_time": seconds}
