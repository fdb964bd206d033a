"""What the profiles of OpenAI-style videos share: orders, reads, downloads. A profile fills in where it differs."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation import configured, reading
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
    Probe,
    RemoteAsset,
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, Reply, message_of, refusal
from tasks_app.sources.generation.offers import declared_offers
from tasks_app.sources.generation.openai_videos.video import Reader, job_id_of, job_of
from tasks_app.sources.generation.problems import classify
from tasks_app.sources.http import is_same_origin
from tasks_app.states import State

_WAS_CANCELLED = re.compile(r"\bwas cancell?ed\b", re.IGNORECASE)


class VideosSource(ABC):
    """One remote. Paths are absolute within its origin, whatever the base address was."""

    label: ClassVar[str]
    usual_root: ClassVar[str] = "/v1"

    def __init__(self, connection: GenerationConnection) -> None:
        settings = connection.settings
        parts = urlsplit(connection.url)
        key = {"Authorization": f"Bearer {connection.key}"} if connection.key else {}
        root = parts.path.rstrip("/") or self.usual_root
        self.collection = "/" + configured.text(settings, "path", f"{root}/videos").strip("/")
        self.root = self.collection.rpartition("/")[0]
        self.caller = JsonCaller(
            replace(connection, url=f"{parts.scheme}://{parts.netloc}"),
            headers={**configured.extra_headers(settings), **key},
        )
        self.reader = Reader(self.caller.origin, configured.extra_words(settings))
        self._key_headers = key
        self._trust = connection.trust
        declared = declared_offers(settings)
        self._offers = tuple(offer for offer, _ in declared)
        self._fixed = {offer.key: configured.fixed_values(entry) for offer, entry in declared}
        self._model = configured.text(settings, "model")
        if not self._offers:
            self._offers = (self.usual_offer(configured.texts(settings, "models")),)

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    @property
    def latency_seconds(self) -> float | None:
        return self.caller.latency_seconds

    def close(self) -> None:
        self.caller.close()

    # where profiles differ

    @abstractmethod
    def usual_offer(self, models: list[str]) -> Offer:
        """What is offered when the settings declare nothing."""

    @abstractmethod
    def assets_of(self, job: Mapping[str, Any], remote_id: str) -> tuple[RemoteAsset, ...]: ...

    @abstractmethod
    def encode(self, order: Order, values: dict[str, Any]) -> dict[str, Any]:
        """Options of the request that carries `values` and the order's uploads."""

    @abstractmethod
    def check_paths(self) -> tuple[str, ...]:
        """Harmless reads that need the key; the first that the remote knows decides."""

    def submit_path(self) -> str:
        return self.collection

    def handle_from(self, job: Mapping[str, Any], remote_id: str) -> dict[str, Any]:
        return {"id": remote_id}

    def path_of(self, handle: Mapping[str, Any]) -> str:
        remote_id = reading.id_of(handle.get("id"))
        if not remote_id:
            raise SourceRefused("The task has no id at the source.", kind="not_found")
        return f"{self.collection}/{remote_id}"

    def cost_of(self, job: Mapping[str, Any]) -> str:
        return ""

    def observe(
        self, job: Mapping[str, Any], remote_id: str, *, wait_seconds: float | None = None
    ) -> GenerationObservation:
        return self.reader.observe(
            job,
            remote_id,
            assets=self.assets_of(job, remote_id),
            wait_seconds=wait_seconds,
            cost=self.cost_of(job),
        )

    # the calls

    def check(self) -> Probe:
        for path in self.check_paths():
            reply = self.caller.call("GET", path)
            if reply.status in (404, 405):
                continue
            if not reply.is_success:
                raise refusal(reply)
            if not reply.is_json:
                raise SourceUnavailable("The answer is not JSON.", kind="garbage", status=reply.status)
            return Probe(self.label)
        raise SourceRefused("The address answers, but there is no videos API below it.", kind="not_found")

    def submit(self, order: Order) -> Accepted:
        if all(offer.key != order.offer for offer in self._offers):
            raise SourceRefused("The source no longer offers this.", kind="invalid_request")
        reply = self.caller.order(self.submit_path(), **self.encode(order, self.values_of(order)))
        job = job_of(reply.data)
        remote_id = job_id_of(job)
        if not remote_id:
            if message_of(reading.members_of(reply.data).get("error")):
                kind = classify(reply.code, reply.words)
                raise SourceRefused(reply.words, kind=kind, status=reply.status)
            raise OutcomeUnknown("The order was taken, but the answer names no id.", kind="garbage")
        if not isinstance(job.get("status"), str):
            job = {**job, "status": "pending"}
        observation = self.observe(job, remote_id, wait_seconds=reply.retry_after_seconds)
        return Accepted(observation, self.handle_from(job, remote_id))

    def values_of(self, order: Order) -> dict[str, Any]:
        """Fixed values below what the person chose; what was left empty is not sent."""
        model = {"model": self._model} if self._model else {}
        values = {**model, **self._fixed.get(order.offer, {}), **order.parameters}
        return {name: value for name, value in values.items() if value is not None and value != ""}

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        raise OutcomeUnknown(f"{self.label} keeps no list in which the order could be looked for.")

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        reply = self.caller.call("GET", self.path_of(handle))
        remote_id = reading.id_of(handle.get("id"))
        if reply.status in (410, 500) and _WAS_CANCELLED.search(reply.words):
            return GenerationObservation(remote_id, State.CANCELLED, "cancelled", raw={})
        job = self.job_in(reply)
        return self.observe(job, remote_id, wait_seconds=reply.retry_after_seconds)

    def job_in(self, reply: Reply) -> dict[str, Any]:
        """The job of a read. Raises what the status means, and SourceUnavailable for what is no job."""
        if not reply.is_success:
            raise refusal(reply)
        job = job_of(reply.data)
        if not isinstance(job.get("status"), str):
            raise SourceUnavailable(
                "The answer is not JSON." if not reply.is_json else "The answer shows no job.",
                kind="garbage",
                status=reply.status,
            )
        return job

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        """Where the only call removes finished jobs with their results, nothing is sent."""
        return CancelAnswer.UNSUPPORTED

    def list_recent(self, cursor: str = "") -> ListPage:
        raise SourceRefused(f"{self.label} has no list.", kind="not_implemented")

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        return {"id": remote_id}

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        key_headers = self._key_headers if needs_auth else {}
        return open_download(url, own_url=self.caller.origin, trust=self._trust, key_headers=key_headers)

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise WebhookRefused("This source sends no events.")

    def is_own(self, url: str) -> bool:
        return is_same_origin(url, self.caller.origin)
