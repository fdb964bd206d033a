"""ComfyUI's own HTTP routes: `/prompt`, `/queue`, `/history`, `/view`.

The server tells no progress by HTTP, keeps everything in memory, and reports an interruption as an error. Its bare
`/interrupt` stops whatever runs, another person's work included, and is never sent.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from tasks_app.sources.download import open_download
from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
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
    WebhookEvent,
    WebhookRefused,
)
from tasks_app.sources.generation.calls import JsonCaller, refusal, taken
from tasks_app.sources.generation.comfyui import entries, workflows
from tasks_app.sources.generation.comfyui.faults import node_errors_text, refused_nodes
from tasks_app.sources.generation.reading import id_of, members_of, text_of
from tasks_app.sources.generation.stragglers import wait_for_stragglers
from tasks_app.states import State

HISTORY_ITEMS = 64
"""The newest of the history that a list call reads; each holds a whole graph, some tens of kilobytes."""
TARGETED_SINCE = (0, 3, 64)
"""The oldest version whose interrupt was seen to stop only the prompt it names; older ones may stop any."""
SETTLE_SECONDS = 10.0
"""A prompt whose answer was lost is in the queue by then: the server checks a graph in well under a second."""
CLIENT_ID = "task-portal"


class NativeComfyUi:
    """One ComfyUI server."""

    capabilities = Capabilities(
        cancel_queued=True,
        cancel_running=True,
        lists=True,
        queue_position=True,
        own_id=True,
        asset_auth=True,
        forgets=True,
    )

    def __init__(self, connection: GenerationConnection) -> None:
        self._recipes = workflows.recipes_of(connection.settings)
        self._connection = connection
        self._base = connection.url.rstrip("/")
        headers = {"Authorization": f"Bearer {connection.key}"} if connection.key else {}
        self._caller = JsonCaller(connection, headers=headers)

    def __repr__(self) -> str:
        return f"NativeComfyUi({self._connection.name})"

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(recipe.offer for recipe in self._recipes.values())

    @property
    def latency_seconds(self) -> float | None:
        return self._caller.latency_seconds

    def close(self) -> None:
        self._caller.close()

    def check(self) -> Probe:
        version = self._ask_version()
        self._queue()  # a server without version is one only when it has a queue
        return Probe(f"ComfyUI {version}".strip(), version)

    # submitting

    def submit(self, order: Order) -> Accepted:
        recipe = workflows.recipe_for(self._recipes, order)
        graph = recipe.fill(order, self._upload(order))
        reply = self._caller.call(
            "POST",
            "/prompt",
            json={
                "prompt": graph,
                "prompt_id": order.own_id,
                "client_id": CLIENT_ID,
                "extra_data": {workflows.MARK: order.own_id},
            },
        )
        if reply.status == 400:
            raise refused_nodes(
                members_of(reply.data).get("node_errors"), reply.words, recipe, status=reply.status
            )
        answer = members_of(taken(reply).data)
        if not (remote_id := id_of(answer.get("prompt_id"))):
            raise OutcomeUnknown("The order was taken, but the answer names no prompt.", kind="garbage")
        seen = GenerationObservation(
            remote_id,
            State.PENDING,
            word="queued",
            message=node_errors_text(answer.get("node_errors")),
            raw={"prompt_id": remote_id},
        )
        return Accepted(seen, {"id": remote_id})

    def _upload(self, order: Order) -> dict[str, str]:
        """Puts the pictures into the server's input folder; what its nodes call them, by parameter."""
        files = {}
        for parameter, upload in order.uploads.items():
            name = workflows.upload_name(order, parameter, upload)
            try:
                reply = self._caller.ask(
                    "POST",
                    "/upload/image",
                    files={"image": (name, upload.content, upload.media_type)},
                    data={"overwrite": "true", "type": "input"},
                )
            except OutcomeUnknown as error:
                # a picture without a prompt makes nothing, and the same name is simply written again
                raise SourceUnavailable(str(error), kind=error.kind, status=error.status) from None
            answer = members_of(reply.data)
            folder = text_of(answer.get("subfolder"))
            stored = text_of(answer.get("name")) or name
            files[parameter] = f"{folder}/{stored}" if folder else stored
        return files

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        """By our own id, which the server uses as its own; older ones only keep it in the prompt's extra data."""
        for seen in self.list_recent().observations:
            if order.own_id in (seen.remote_id, entries.mark_of(seen)):
                return seen
        if (seen_ended := self._ended(order.own_id)) is None:
            wait_for_stragglers(order, SETTLE_SECONDS)
        return seen_ended

    # following

    def fetch(self, handle: Mapping[str, Any]) -> GenerationObservation:
        """The queue first and the history then: a prompt goes from one to the other and never back."""
        remote_id = entries.id_in(handle)
        running, pending = self._queue()
        for seen in entries.queued(running, pending):
            if seen.remote_id == remote_id:
                return seen
        if (seen_ended := self._ended(remote_id)) is not None:
            return seen_ended
        raise SourceRefused("The server knows this prompt no longer.", kind="not_found")

    def list_recent(self, cursor: str = "") -> ListPage:
        running, pending = self._queue()
        history = self._history()
        rows = {seen.remote_id: seen for seen in entries.queued(running, pending)}
        for remote_id, entry in (history or {}).items():
            rows[remote_id] = entries.ended(remote_id, entry, self._base)
        is_whole = history is not None and len(history) < HISTORY_ITEMS
        return ListPage(tuple(rows.values()), is_whole=is_whole)

    def handle_of(self, remote_id: str) -> Mapping[str, Any]:
        return {"id": remote_id}

    def open_asset(
        self, url: str, ref: Mapping[str, Any], *, needs_auth: bool
    ) -> AbstractContextManager[Download]:
        return open_download(
            url,
            own_url=self._base,
            trust=self._connection.trust,
            key_headers=self._caller.key_headers if needs_auth else None,
        )

    def parse_event(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> WebhookEvent:
        raise WebhookRefused("ComfyUI sends no webhooks.")

    # cancelling

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        """Only ever this prompt: dequeued while it waits, else stopped by a call that names it."""
        remote_id = entries.id_in(handle)
        place = self._place(remote_id)
        if place == "pending":
            self._write("/queue", {"delete": [remote_id]})
            place = self._place(remote_id)  # it may have begun in between
            if not place and self._ended(remote_id) is None:
                return CancelAnswer.REQUESTED
        if place == "running":
            return self._stop(remote_id)
        if place == "pending":
            return CancelAnswer.REQUESTED
        return CancelAnswer.NOT_FOUND if self._ended(remote_id) is None else CancelAnswer.ALREADY_FINISHED

    def _stop(self, remote_id: str) -> CancelAnswer:
        reply = self._caller.call("POST", f"/api/jobs/{remote_id}/cancel")
        if reply.status not in (404, 405):  # a server without the route
            cancelled = members_of(taken(reply).data).get("cancelled")
            if cancelled is not False:
                return CancelAnswer.REQUESTED
            return CancelAnswer.ALREADY_FINISHED if self._ended(remote_id) else CancelAnswer.NOT_FOUND
        if not is_targeted(self._ask_version()):
            return CancelAnswer.UNSUPPORTED
        if self._place(remote_id) != "running":
            return CancelAnswer.ALREADY_FINISHED if self._ended(remote_id) else CancelAnswer.NOT_FOUND
        self._write("/interrupt", {"prompt_id": remote_id})
        return CancelAnswer.REQUESTED

    def _write(self, path: str, body: Mapping[str, Any]) -> None:
        """A write whose success has no body."""
        reply = self._caller.call("POST", path, json=body)
        if not reply.is_success:
            taken(reply)

    def _place(self, remote_id: str) -> str:
        """Where the queue has the prompt: running, pending, or "" for nowhere."""
        running, pending = self._queue()
        if remote_id in map(entries.id_in_queue, running):
            return "running"
        return "pending" if remote_id in map(entries.id_in_queue, pending) else ""

    # reading

    def _queue(self) -> tuple[list[Any], list[Any]]:
        """(running, pending), each entry `[number, id, graph, extra data, outputs]` or shorter."""
        data = members_of(self._caller.ask("GET", "/queue").data)
        running, pending = data.get("queue_running"), data.get("queue_pending")
        if not isinstance(running, list) or not isinstance(pending, list):
            raise SourceUnavailable("The answer is no queue of ComfyUI.", kind="garbage")
        return running, pending

    def _history(self) -> dict[str, Any] | None:
        """The newest entries by id; None where a gateway shows them only one by one."""
        reply = self._caller.call("GET", "/history", params={"max_items": HISTORY_ITEMS})
        if reply.status in (404, 405):
            return None
        if not reply.is_success:
            raise refusal(reply)
        if not isinstance(reply.data, dict):
            raise SourceUnavailable("The answer is no history of ComfyUI.", kind="garbage")
        return {remote_id: entry for remote_id, entry in reply.data.items() if id_of(remote_id)}

    def _ended(self, remote_id: str) -> GenerationObservation | None:
        data = members_of(self._caller.ask("GET", f"/history/{remote_id}").data)
        return entries.ended(remote_id, data[remote_id], self._base) if remote_id in data else None

    def _ask_version(self) -> str:
        """As the server tells it now; "" when it has no such route. A restart may have changed it."""
        reply = self._caller.call("GET", "/system_stats")
        if reply.status in (404, 405):
            return ""
        if not reply.is_success:
            raise refusal(reply)
        system = members_of(members_of(reply.data).get("system"))
        return text_of(system.get("comfyui_version"), 40)


def is_targeted(version: str) -> bool:
    """Whether an interrupt of this version stops only the prompt it names. An unknown version does not."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})", version)
    return match is not None and tuple(int(part) for part in match.groups()) >= TARGETED_SINCE
