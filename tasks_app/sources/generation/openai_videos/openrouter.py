"""OpenRouter's video jobs: several makers behind one key, frames as pictures, results behind the key."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tasks_app.sources.generation import reading
from tasks_app.sources.generation.base import Capabilities, Offer, Order, RemoteAsset
from tasks_app.sources.generation.openai_videos import usual
from tasks_app.sources.generation.openai_videos.source import VideosSource
from tasks_app.sources.generation.openai_videos.video import video_asset

FRAMES = ("first_frame", "last_frame")
MAX_RESULTS = 20


class OpenRouterVideos(VideosSource):
    """No list and no cancel; asked at most every ten seconds, as the provider wishes."""

    label = "OpenRouter videos"
    usual_root = "/api/v1"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(asset_auth=True, floor_seconds=10.0)

    def usual_offer(self, models: list[str]) -> Offer:
        return usual.openrouter_offer(models)

    def check_paths(self) -> tuple[str, ...]:
        return f"{self.root}/key", f"{self.collection}/models"

    def encode(self, order: Order, values: dict[str, Any]) -> dict[str, Any]:
        """Uploads named as a frame are frames, all others references."""
        frames, references = [], []
        for name, upload in order.uploads.items():
            picture = {"type": "image_url", "image_url": {"url": reading.as_data_url(upload)}}
            if name in FRAMES:
                frames.append({**picture, "frame_type": name})
            else:
                references.append(picture)
        pictures = {"frame_images": frames, "input_references": references}
        return {"json": {**values, **{name: items for name, items in pictures.items() if items}}}

    def handle_from(self, job: Mapping[str, Any], remote_id: str) -> dict[str, Any]:
        """`path` is where the job asks to be read, kept only within our own origin: the key goes along."""
        url = reading.url_of(job.get("polling_url"), self.caller.origin)
        if not url or not self.is_own(url):
            return {"id": remote_id}
        parts = urlsplit(url)
        return {"id": remote_id, "path": parts.path + (f"?{parts.query}" if parts.query else "")}

    def path_of(self, handle: Mapping[str, Any]) -> str:
        path = handle.get("path")
        if isinstance(path, str) and path.startswith("/") and not path.startswith("//"):
            return path
        return super().path_of(handle)

    def assets_of(self, job: Mapping[str, Any], remote_id: str) -> tuple[RemoteAsset, ...]:
        """Behind the key where that is our own origin, for that address does not expire; else as signed."""
        unsigned = self._urls(job, "unsigned_urls")
        if unsigned and all(self.is_own(url) for url in unsigned):
            return self._assets(unsigned, remote_id, needs_auth=True)
        if signed := self._urls(job, "urls"):
            return self._assets(signed, remote_id, needs_auth=False)
        if unsigned:
            return self._assets(unsigned, remote_id, needs_auth=False)
        content = f"{self.caller.origin}{self.collection}/{remote_id}/content?index=0"
        return self._assets([content], remote_id, needs_auth=True)

    def _urls(self, job: Mapping[str, Any], name: str) -> list[str]:
        urls = (reading.url_of(item, self.caller.origin) for item in reading.items_of(job.get(name)))
        return [url for url in urls if url][:MAX_RESULTS]

    def _assets(self, urls: list[str], remote_id: str, *, needs_auth: bool) -> tuple[RemoteAsset, ...]:
        names = [remote_id] if len(urls) == 1 else [f"{remote_id}-{n}" for n in range(1, len(urls) + 1)]
        return tuple(
            video_asset(url, name, needs_auth=needs_auth, expires_at=reading.expiry_of(url))
            for url, name in zip(urls, names, strict=True)
        )

    def cost_of(self, job: Mapping[str, Any]) -> str:
        cost = reading.number_of(reading.members_of(job.get("usage")).get("cost"))
        return "" if cost is None else f"{cost:g} USD"
