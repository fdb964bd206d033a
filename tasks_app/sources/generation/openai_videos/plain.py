"""The dialect itself, as resellers speak it, and vLLM-Omni, which adds fields and a DELETE that aborts."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation import configured, reading
from tasks_app.sources.generation.base import (
    CancelAnswer,
    Capabilities,
    GenerationConnection,
    GenerationObservation,
    ListPage,
    Offer,
    Order,
    RemoteAsset,
)
from tasks_app.sources.generation.calls import refusal
from tasks_app.sources.generation.openai_videos import usual
from tasks_app.sources.generation.openai_videos.source import VideosSource
from tasks_app.sources.generation.openai_videos.video import first_time, job_id_of, video_asset
from tasks_app.sources.generation.stragglers import wait_for_stragglers
from tasks_app.states import FINAL_STATES

PAGE_ROWS = 100
MAX_FIND_PAGES = 10
"""Of a hundred jobs each: a busy account of a few minutes."""
SETTLE_SECONDS = 60.0
"""So long after the call an order may still be on its way: longer than the answer to it is waited for."""
CLOCK_SLACK = timedelta(minutes=2)
"""A job that seems to be so much older than the order may still be its own: times are rounded, clocks corrected."""
ENCODINGS = ("auto", "json", "multipart")


class PlainVideos(VideosSource):
    """Cancelling is not possible: DELETE removes finished jobs, so it is never sent."""

    label = "OpenAI-style videos"
    usual_encoding: ClassVar[str] = "auto"
    deletes_running: ClassVar[bool] = False

    def __init__(self, connection: GenerationConnection) -> None:
        self._encoding = configured.text(connection.settings, "encoding", self.usual_encoding)
        if self._encoding not in ENCODINGS:
            raise ValueError(f'"encoding" is one of {", ".join(ENCODINGS)}.')
        self._has_list = connection.settings.get("lists") is not False
        super().__init__(connection)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(lists=self._has_list, progress=True, asset_auth=True)

    def usual_offer(self, models: list[str]) -> Offer:
        return usual.plain_offer(models)

    def check_paths(self) -> tuple[str, ...]:
        listing = (f"{self.collection}?limit=1",) if self._has_list else ()
        return (*listing, f"{self.root}/models")

    def encode(self, order: Order, values: dict[str, Any]) -> dict[str, Any]:
        """A form when there is a picture (or when the settings say so), else JSON. `seconds` is a text in both."""
        if "seconds" in values:
            values["seconds"] = _whole_text(values["seconds"])
        if self._encoding == "json" or (self._encoding == "auto" and not order.uploads):
            pictures = {name: reading.as_data_url(upload) for name, upload in order.uploads.items()}
            return {"json": {**values, **pictures}}
        # fields without a file name, so that a form without a picture is one too
        files: dict[str, Any] = {name: (None, reading.as_form_text(value)) for name, value in values.items()}
        for name, upload in order.uploads.items():
            files[name] = (upload.name, upload.content, upload.media_type)
        return {"files": files}

    def assets_of(self, job: Mapping[str, Any], remote_id: str) -> tuple[RemoteAsset, ...]:
        """The address in the job when it names one (resellers), else its content, which needs the key."""
        expires_at = first_time(job, "expires_at")
        for name in ("video_url", "url"):
            if url := reading.url_of(job.get(name), self.caller.origin):
                expiry = expires_at or reading.expiry_of(url)
                return (video_asset(url, remote_id, needs_auth=self.is_own(url), expires_at=expiry),)
        content = f"{self.caller.origin}{self.collection}/{remote_id}/content"
        return (video_asset(content, remote_id, needs_auth=True, expires_at=expires_at),)

    def list_recent(self, cursor: str = "") -> ListPage:
        """Newest first. Where the remote turns out to have no list: SourceRefused (not_implemented)."""
        page = self._page(cursor)
        observations = tuple(
            self.reader.observe(row, remote_id, assets=self.assets_of(row, remote_id), is_row=True)
            for remote_id, row in page.jobs()
        )
        is_whole = not cursor and page.has_more is False
        return ListPage(observations, page.next_cursor, is_whole)

    def _page(self, cursor: str) -> "_Page":
        params: dict[str, str | int] = {"limit": PAGE_ROWS, "order": "desc"}
        if cursor:
            params["after"] = cursor
        reply = self.caller.call("GET", self.collection, params=params)
        if reply.status in (404, 405, 501):
            raise SourceRefused("The source has no list of its jobs.", kind="not_implemented")
        if not reply.is_success:
            raise refusal(reply)
        listing = reading.members_of(reply.data)
        if not isinstance(listing.get("data"), list):
            raise SourceUnavailable("The answer is no list of jobs.", kind="garbage", status=reply.status)
        return _Page(listing, cursor, timedelta(seconds=reply.clock_skew_seconds))

    def find(self, order: Order, known: Collection[str] = ()) -> GenerationObservation | None:
        """By time, prompt and model. Two jobs that fit, or one of which too little is told, prove nothing."""
        if order.asked_at is None or not self._has_list:
            raise OutcomeUnknown("The source has no list in which the order could be looked for.")
        try:
            search = self._search(order, order.asked_at, frozenset(known))
        except SourceRefused as error:
            raise OutcomeUnknown(str(error), kind=error.kind, status=error.status) from None
        if len(search.sure) == 1:
            [(remote_id, job)] = search.sure.items()
            return self.observe(job, remote_id)
        if search.sure or search.unsure:
            raise OutcomeUnknown("Several jobs of the source could be this order.")
        wait_for_stragglers(order, SETTLE_SECONDS)
        if not search.is_exhaustive:
            raise OutcomeUnknown("The source did not show all of its jobs.")
        return None

    def _search(self, order: Order, since: datetime, known: frozenset[str]) -> "_Search":
        values = self.values_of(order)
        search = _Search(
            since - CLOCK_SLACK, reading.text_of(values.get("prompt"), 100_000), str(values.get("model", ""))
        )
        cursor = ""
        for _ in range(MAX_FIND_PAGES):
            page = self._page(cursor)
            search.since = since + page.clock_skew - CLOCK_SLACK
            for remote_id, job in page.jobs():
                search.look_at(remote_id, job, is_other=remote_id in known)
            if search.is_past or page.has_more is False:
                search.is_exhaustive = True
                break
            cursor = page.next_cursor
            if not cursor:
                break
        return search


class VllmOmniVideos(PlainVideos):
    """A server of one's own. Its DELETE aborts a running job, and destroys the result of a finished one."""

    label = "vLLM-Omni videos"
    usual_encoding = "multipart"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            cancel_queued=True,
            cancel_running=True,
            cancel_deletes=True,
            lists=self._has_list,
            progress=True,
            asset_auth=True,
            forgets=True,
        )

    def usual_offer(self, models: list[str]) -> Offer:
        return usual.vllm_offer(models)

    def cancel(self, handle: Mapping[str, Any]) -> CancelAnswer:
        """Reads first, so that no result is destroyed. After the DELETE the job is gone: a read gives 404."""
        try:
            seen = self.fetch(handle)
        except SourceRefused as error:
            if error.kind == "not_found":
                return CancelAnswer.NOT_FOUND
            raise
        if seen.state in FINAL_STATES:
            return CancelAnswer.ALREADY_FINISHED
        if seen.state is None:
            raise SourceUnavailable("The source shows a state that nobody knows; it may have finished.")
        reply = self.caller.call("DELETE", self.path_of(handle))
        if reply.status in (404, 410):
            return CancelAnswer.NOT_FOUND
        if reply.status == 409:
            return CancelAnswer.ALREADY_FINISHED
        if not reply.is_success:
            raise refusal(reply)
        return CancelAnswer.REQUESTED


@dataclass(frozen=True, slots=True)
class _Page:
    """One answer of the list. `has_more` None: not told, so perhaps. `clock_skew`: how far its clock is ahead."""

    listing: Mapping[str, Any]
    cursor: str
    clock_skew: timedelta

    def jobs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in reading.items_of(self.listing.get("data")):
            if isinstance(row, dict) and (remote_id := job_id_of(row)):
                yield remote_id, row

    @property
    def has_more(self) -> bool | None:
        value = self.listing.get("has_more")
        return value if isinstance(value, bool) else None

    @property
    def next_cursor(self) -> str:
        """ "" when there is nothing after it, or when the remote leads in a circle."""
        last = reading.id_of(self.listing.get("last_id"))
        return last if self.has_more and last != self.cursor else ""


@dataclass(slots=True)
class _Search:
    """Which jobs since `since` could be an order. `is_past`: newest first so far, and older ones have begun."""

    since: datetime
    prompt: str
    model: str
    sure: dict[str, dict[str, Any]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    is_past: bool = False
    is_exhaustive: bool = False
    _is_sorted: bool = True
    _previous: datetime | None = None

    def look_at(self, remote_id: str, job: dict[str, Any], *, is_other: bool) -> None:
        created_at = first_time(job, "created_at", "created")
        if created_at is not None:
            self._is_sorted = self._is_sorted and (self._previous is None or created_at <= self._previous)
            self._previous = created_at
            self.is_past = self._is_sorted and created_at < self.since
            if created_at < self.since:
                return
        if is_other:
            return
        prompt = job.get("prompt")
        if not isinstance(prompt, str):
            self.unsure.add(remote_id)
        elif prompt.strip() == self.prompt:
            model = reading.text_of(job.get("model"))
            if created_at is not None and (not self.model or not model or model == self.model):
                self.sure[remote_id] = job
            else:
                self.unsure.add(remote_id)


def _whole_text(value: Any) -> str:
    """4, 4.0 and "4" are "4": the vendor's schema lists texts."""
    whole = reading.whole_of(value)
    return reading.as_form_text(value) if whole is None else str(whole)
