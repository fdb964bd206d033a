"""The task API adapter and the demo's service, which really renders, over HTTP."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demo.generation.server import GenerationServer
from portal.supervisor.studio import SETTINGS
from tasks_app.sources.errors import SourceNeedsPerson, SourceRefused
from tasks_app.sources.generation.base import CancelAnswer, GenerationObservation, Order, Upload
from tasks_app.sources.generation.base import GenerationConnection as Connection
from tasks_app.sources.generation.parameters import parse_parameters
from tasks_app.sources.generation.task_api import TaskApi
from tasks_app.sources.tls import Trust
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import PNG

KEY = "open-sesame-1234"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GenerationServer]:
    server = GenerationServer(("127.0.0.1", 0), tmp_path, key=KEY, time_scale=0.2).start()
    yield server
    server.stop()


@pytest.fixture
def source(server: GenerationServer) -> Iterator[TaskApi]:
    source = TaskApi(Connection("demo", server.url, Trust(), key=KEY, settings=SETTINGS))
    yield source
    source.close()


def order(source: TaskApi, offer: str, uploads: dict[str, Upload] | None = None, **raw: Any) -> Order:
    found = next(found for found in source.offers if found.key == offer)
    values = parse_parameters(found, raw, uploads=(uploads or {}).keys())
    return Order(offer, values, "own-1", "key-1", uploads or {}, asked_at=datetime.now(UTC))


def follow(source: TaskApi, handle: Any, seconds: float = 40) -> list[GenerationObservation]:
    seen = [source.fetch(handle)]
    deadline = time.monotonic() + seconds
    while seen[-1].state not in FINAL_STATES:
        assert time.monotonic() < deadline, seen[-1]
        time.sleep(0.05)
        seen.append(source.fetch(handle))
    return seen


@pytest.mark.parametrize(
    ("offer", "raw", "uploads", "beginning"),
    [
        ("video", {"duration": "1", "resolution": "640x360"}, {}, b"ftyp"),
        (
            "video",
            {"duration": "1", "resolution": "640x360"},
            {"image": Upload("a.png", "image/png", PNG)},
            b"ftyp",
        ),
        ("image", {"size": "1024x1024"}, {}, b"\x89PNG"),
    ],
    ids=["video", "video from a picture", "image"],
)
def test_what_is_ordered_is_rendered_and_fetched(
    source: TaskApi, offer: str, raw: dict[str, str], uploads: dict[str, Upload], beginning: bytes
):
    accepted = source.submit(order(source, offer, uploads, prompt="a lighthouse in the fog", **raw))
    assert accepted.observation.state is State.PENDING
    seen = follow(source, accepted.handle)
    assert (seen[-1].state, seen[-1].progress, seen[-1].kind) == (State.COMPLETED, 100, offer)
    percents = [one.progress for one in seen if one.progress is not None]
    assert percents == sorted(percents)
    (asset,) = seen[-1].assets
    with source.open_asset(asset.url, asset.ref, needs_auth=asset.needs_auth) as download:
        content = b"".join(download.chunks)
    assert beginning in content[:16] and len(content) > 500
    page = source.list_recent()
    assert page.is_whole and [row.remote_id for row in page.observations] == [accepted.remote_id]


def test_an_order_is_found_again_by_its_time(source: TaskApi):
    wish = order(source, "image", prompt="a harbour")
    accepted = source.submit(wish)
    found = source.find(wish)
    assert found is not None and found.remote_id == accepted.remote_id


def test_a_cancel_ends_it_and_a_second_one_finds_it_ended(source: TaskApi):
    accepted = source.submit(order(source, "video", prompt="a long film", duration="10"))
    assert source.cancel(accepted.handle) is CancelAnswer.REQUESTED
    assert follow(source, accepted.handle)[-1].state is State.CANCELLED
    assert source.cancel(accepted.handle) is CancelAnswer.ALREADY_FINISHED
    assert source.cancel({"id": "vid_unknown"}) is CancelAnswer.NOT_FOUND


def test_its_refusals_and_failures_have_words(source: TaskApi, server: GenerationServer):
    with pytest.raises(SourceRefused) as caught:
        source.submit(Order("image", {"size": "huge", "prompt": "x"}, "o", "k"))
    assert "size" in caught.value.fields
    wrong = TaskApi(Connection("demo", server.url, Trust(), key="wrong", settings=SETTINGS))
    with pytest.raises(SourceNeedsPerson):
        wrong.check()
    wrong.close()
    accepted = source.submit(order(source, "image", prompt="something nsfw"))
    problem = follow(source, accepted.handle)[-1].problem
    assert problem is not None and problem.kind == "content_policy" and problem.retryable is False


def test_a_check_names_it(source: TaskApi):
    assert source.check().text.startswith("demo-studio")
