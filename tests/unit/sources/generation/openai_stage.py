"""What the tests of OpenAI-style videos share: an adapter before a played remote, and an order for it."""

from datetime import UTC, datetime
from typing import Any

from tasks_app.sources.generation.base import GenerationConnection, GenerationSource, Order, Upload
from tasks_app.sources.generation.openai_videos import open_openai_videos
from tasks_app.sources.tls import Trust
from tests.unit.sources.generation.contract import KEY, PNG
from tests.unit.sources.generation.replay import Remote

PICTURE = Upload("kite.png", "image/png", PNG)
ASKED_AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
JOB = {"id": "v1", "object": "video", "status": "queued", "progress": 0, "created_at": 1795161647}


def open_at(remote: Remote, *, base: str = "", collection: Any = None, **settings: Any) -> GenerationSource:
    if collection is not None:
        settings["path"] = collection
    return open_openai_videos(
        GenerationConnection("test", remote.url + base, Trust(), key=KEY, settings=settings)
    )


def order(source: GenerationSource, **parameters: Any) -> Order:
    uploads = {name: value for name, value in parameters.items() if isinstance(value, Upload)}
    values = {name: value for name, value in parameters.items() if name not in uploads}
    return Order(source.offers[0].key, values, "own", "own", uploads, asked_at=ASKED_AT)
