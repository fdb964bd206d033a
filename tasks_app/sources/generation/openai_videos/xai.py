"""xAI's video jobs: `pending` until `done`, with a number for the progress in between."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks_app.sources.generation import reading
from tasks_app.sources.generation.base import (
    Capabilities,
    GenerationObservation,
    Offer,
    Order,
    Problem,
    RemoteAsset,
)
from tasks_app.sources.generation.openai_videos import usual
from tasks_app.sources.generation.openai_videos.source import VideosSource
from tasks_app.sources.generation.openai_videos.video import video_asset
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State

TICKS_PER_DOLLAR = 10_000_000_000


class XaiVideos(VideosSource):
    """No list and no cancel. Results lie elsewhere and need no key."""

    label = "xAI videos"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(progress=True)

    def usual_offer(self, models: list[str]) -> Offer:
        return usual.xai_offer(models)

    def check_paths(self) -> tuple[str, ...]:
        return f"{self.root}/api-key", f"{self.root}/models"

    def submit_path(self) -> str:
        return f"{self.collection}/generations"

    def encode(self, order: Order, values: dict[str, Any]) -> dict[str, Any]:
        pictures = {name: {"url": reading.as_data_url(upload)} for name, upload in order.uploads.items()}
        return {"json": {**values, **pictures}}

    def observe(
        self, job: Mapping[str, Any], remote_id: str, *, wait_seconds: float | None = None
    ) -> GenerationObservation:
        """The word for waiting and for working is the same; only progress above 0 tells them apart."""
        seen = super().observe(job, remote_id, wait_seconds=wait_seconds)
        if seen.state is State.PENDING and seen.progress:
            return replace(seen, state=State.PROCESSING)
        video = reading.members_of(job.get("video"))
        if seen.state is State.COMPLETED and not seen.assets and video.get("respect_moderation") is False:
            problem = Problem(Kind.CONTENT_POLICY, "The video was withheld by the provider's moderation.")
            return replace(seen, state=State.FAILED, problem=problem)
        return seen

    def assets_of(self, job: Mapping[str, Any], remote_id: str) -> tuple[RemoteAsset, ...]:
        url = reading.url_of(reading.members_of(job.get("video")).get("url"), self.caller.origin)
        if not url:
            return ()
        expires_at = reading.expiry_of(url)
        return (video_asset(url, remote_id, needs_auth=self.is_own(url), expires_at=expires_at),)

    def cost_of(self, job: Mapping[str, Any]) -> str:
        ticks = reading.number_of(reading.members_of(job.get("usage")).get("cost_in_usd_ticks"))
        return "" if ticks is None else f"{ticks / TICKS_PER_DOLLAR:g} USD"
