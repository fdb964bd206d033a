"""Comfy API v2 (`/api/v2/jobs`), as Comfy's cloud and comfy-api-proxy speak it.

A key for repeats is used up by its first use; after a lost answer the job is looked for in the list, by our own id in
its graph. What a file is tells its `content_type` alone: a video's `type` has been seen to say image.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceUnavailable
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    Capabilities,
    Download,
    GenerationConnection,
    GenerationObservation,
    ListPage,
    Offer,
    OfferKind,
    Order,
    Probe,
    Problem,
    RemoteAsset,
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, refusal, taken
from tasks_app.sources.generation.comfyui import workflows
from tasks_app.sources.generation.comfyui.entries import MAX_ASSETS, MAX_DETAIL, id_in
from tasks_app.sources.generation.comfyui.faults import refused_nodes
from tasks_app.sources.generation.problems import classify, is_retryable
from tasks_app.sources.generation.reading import (
    id_of,
    items_of,
    members_of,
    number_of,
    percent_of,
    small_json,
    text_of,
    time_of,
    url_of,
    whole_of,
)
from tasks_app.sources.generation.stragglers import wait_for_stragglers
from tasks_app.states import FINAL_STATES, State

JOBS = "/api/v2/jobs"
LIST_ITEMS = 100
SETTLE_SECONDS = 10.0
WINDOW = timedelta(hours=1)
"""How far the two clocks may be apart when a job is looked for by its time."""
STATES = {
    "queued": State.PENDING,
    "running": State.PROCESSING,
    "canceling": State.PROCESSING,
    "succeeded": State.COMPLETED,
    "failed": State.FAILED,
    "expired": State.FAILED,
    "canceled": State.CANCELLED,
}


class ComfyV2:
    """One server that speaks Comfy API v2."""

    capabilities = Capabilities(
        cancel_queued=True,
        cancel_running=True,
        lists=True,
        progress=True,
        queue_position=True,
        idempotency_key=True,
        asset_auth=True,
    )

    def __init__(self, connection: GenerationConnection) -> None:
        self._recipes = workflows.recipes_of(connection.settings)
        self._connection = connection
        headers = {"Authorization": f"Bearer {connection.key}"} if connection.key else {}
        self._caller = JsonCaller(connection, headers=headers)

    def __repr__(self) -> str:
        return f"ComfyV2({self._connection.name})"

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(recipe.offer for recipe in self._recipes.values())

    @property
    def latency_seconds(self) -> float | None:
        return self._caller.latency_seconds

    def close(self) -> None:
        self._caller.close()

    def check(self) -> Probe:
        """A job that cannot exist: only the right key is told so."""
        reply = self._caller.call("GET", f"{JOBS}/00000000-0000-4000-8000-000000000000")
        if reply.status == 404 and reply.code == "not_found":
            return Probe("Comfy API v2")
        if reply.is_success or reply.status in (404, 405):
            raise SourceUnavailable("The answer is not of Comfy API v2.", kind="garbage", status=reply.status)
        raise refusal(reply)

    # submitting

    def submit(self, order: Order) -> Accepted:
        recipe = workflows.recipe_for(self._recipes, order)
        graph = recipe.fill(order, self._upload(order))
        headers = {"Idempotency-Key": order.idempotency_key or order.own_id}
        reply = self._caller.call("POST", JOBS, json={"workflow": graph}, headers=headers)
        if reply.status == 422:
            if reply.code == "idempotency_key_reuse":
                return self._taken_before(order)
            details = members_of(members_of(members_of(reply.data).get("error")).get("details"))
            raise refused_nodes(details.get("node_errors"), reply.words, recipe, status=422)
        seen = self._seen(taken(reply).data)
        if seen is None:
            raise OutcomeUnknown("The order was taken, but the answer names no job.", kind="garbage")
        return Accepted(seen, self.handle_of(seen.remote_id))

    def _taken_before(self, order: Order) -> Accepted:
        """The key is used up, so an earlier call of this order arrived."""
        seen = self._look_for(order, ())
        if seen is None:
            raise OutcomeUnknown("The order was taken before, but its job is not in the list.", kind="lost")
        return Accepted(seen, self.handle_of(seen.remote_id))

    def _upload(self, order: Order) -> dict[str, Any]:
        """Stores the pictures; a reference to each, by parameter."""
        references = {}
        for parameter, upload in order.uploads.items():
            name = workflows.upload_name(order, parameter, upload)
            try:
                reply = self._caller.ask(
                    "POST",
                    "/api/v2/assets",
                    files={"file": (name, upload.content, upload.media_type)},
                    data={"content_type": upload.media_type, "file_path": name},
                )
            except OutcomeUnknown as error:
                # a picture without a job makes nothing
                raise SourceUnavailable(str(error), kind=error.kind, status=error.status) from None
            asset_id = text_of(members_of(reply.data).get("id"), 1000)
            if not asset_id:
                raise SourceUnavailable("The answer to a picture names no asset.", kind="garbage")
            references[parameter] = {"__type": "core/ASSET", "info": {"id": asset_id}}
        return references

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        seen = self._look_for(order, known)
        if seen is None:
            wait_for_stragglers(order, SETTLE_SECONDS)
        return seen

    def _look_for(self, order: Order, known: Collection[str]) -> GenerationObservation | None:
        """By our own id in the graphs of the jobs of that time. Raises OutcomeUnknown when they cannot be read."""
        reply = self._caller.call("GET", JOBS, params={"limit": LIST_ITEMS})
        if reply.status in (404, 405):
            raise OutcomeUnknown("The server has no list of its jobs.", kind="no_list")
        page = self._page(reply.data if reply.is_success else _raise(refusal(reply)))
        earliest = (order.asked_at - WINDOW) if order.asked_at else datetime.min.replace(tzinfo=UTC)
        young = [seen for seen in page.observations if not seen.created_at or seen.created_at >= earliest]
        for seen in young:
            if seen.remote_id not in known and self._is_ours(seen.remote_id, order):
                return seen
        if not page.is_whole and len(young) == len(page.observations):
            raise OutcomeUnknown("The list does not reach back to the order.", kind="short_list")
        return None

    def _is_ours(self, remote_id: str, order: Order) -> bool:
        reply = self._caller.call("GET", f"{JOBS}/{remote_id}/workflow")
        if reply.status in (404, 405):
            raise OutcomeUnknown("The server does not tell what its jobs make.", kind="no_graph")
        data = reply.data if reply.is_success else _raise(refusal(reply))
        return workflows.own_id_in(members_of(data).get("workflow")) == order.own_id

    # following

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        seen = self._seen(self._caller.ask("GET", f"{JOBS}/{id_in(handle)}").data)
        if seen is None:
            raise SourceUnavailable("The answer is no job.", kind="garbage")
        return seen

    def list_recent(self, cursor: str = "") -> ListPage:
        return self._page(self._caller.ask("GET", JOBS, params={"limit": LIST_ITEMS}).data)

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        """An id is enough: the job's own links lead to the same paths, below whatever address a gateway has."""
        return {"id": remote_id}

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        return open_download(
            url,
            own_url=self._connection.url,
            trust=self._connection.trust,
            key_headers=self._caller.key_headers if needs_auth else None,
        )

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise WebhookRefused("Comfy API v2 sends no webhooks.")

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        """Harmless for a finished job; a wish for a running one."""
        reply = self._caller.call("POST", f"{JOBS}/{id_in(handle)}/cancel", json={})
        if reply.status == 404:
            return CancelAnswer.NOT_FOUND
        seen = self._seen(taken(reply).data)
        if seen and seen.state in FINAL_STATES and seen.state is not State.CANCELLED:
            return CancelAnswer.ALREADY_FINISHED
        return CancelAnswer.REQUESTED

    # reading

    def _page(self, data: Any) -> ListPage:
        jobs = members_of(data).get("jobs")
        if not isinstance(jobs, list):
            raise SourceUnavailable("The answer is no list of jobs.", kind="garbage")
        seen = tuple(filter(None, map(self._seen, jobs[: 2 * LIST_ITEMS])))
        is_whole = len(jobs) < LIST_ITEMS and members_of(data).get("truncated") is not True
        return ListPage(seen, is_whole=is_whole)

    def _seen(self, job: Any) -> GenerationObservation | None:
        """One job; None for what is none."""
        job = members_of(job)
        if not (remote_id := id_of(job.get("id"))):
            return None
        word = text_of(job.get("status"), 60)
        state = STATES.get(word)
        progress = members_of(job.get("progress"))
        value = number_of(progress.get("value"))
        assets = tuple(self._assets(job))
        return GenerationObservation(
            remote_id,
            state,
            word=word,
            progress=None if value is None else percent_of(value * 100),
            queue_position=whole_of(job.get("queue_position")),
            message=text_of(progress.get("message"), 300),
            created_at=time_of(job.get("created_at")),
            started_at=time_of(job.get("started_at")),
            finished_at=time_of(job.get("completed_at")),
            problem=_problem(word, members_of(job.get("error"))) if state is State.FAILED else None,
            assets=assets if state is State.COMPLETED else (),
            metadata=small_json(members_of(job.get("metrics"))),
            kind=_kind(assets),
            raw=small_json({name: value for name, value in job.items() if name != "outputs"}),
        )

    def _assets(self, job: Mapping[str, Any]) -> Iterator[RemoteAsset]:
        for output in items_of(job.get("outputs"), MAX_ASSETS):
            output = members_of(output)
            # relative addresses start at the origin, not at the base path
            if not (url := url_of(output.get("url"), self._caller.origin)):
                continue
            asset_id = text_of(output.get("id"), 1000)
            yield RemoteAsset(
                name=text_of(output.get("name"), 200) or asset_id[:60] or "result",
                url=url,
                ref={"id": asset_id},
                media_type=text_of(output.get("content_type"), 100),
                size=whole_of(output.get("size_bytes"), highest=2**50)
                or None,  # 0 has been seen for every size
                expires_at=time_of(output.get("url_expires_at")),
                needs_auth=True,
            )


def _problem(word: str, error: Mapping[str, Any]) -> Problem:
    code = text_of(error.get("code"), 100)
    said = text_of(error.get("message"))
    node, node_type = text_of(error.get("node_id"), 40), text_of(error.get("class_type"), 100)
    if not said:
        said = "The job expired." if word == "expired" else "The workflow failed."
    where = f" at node {node}{f' ({node_type})' if node_type else ''}" if node else ""
    kind = classify(code or word, said)
    return Problem(
        kind=kind,
        text=f"{said.rstrip('.')}{where}.",
        code=code,
        retryable=is_retryable(kind),
        detail=str(small_json(error, characters=MAX_DETAIL))[:MAX_DETAIL] if error else "",
    )


def _kind(assets: tuple[RemoteAsset, ...]) -> OfferKind | None:
    if not assets:
        return None
    return "video" if any(asset.media_type.startswith("video/") for asset in assets) else "image"


def _raise(error: Exception) -> Any:
    raise error
