"""OpenRouter and xAI: what they say differently from the dialect they are close to."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State
from tests.unit.sources.generation.openai_stage import PICTURE, open_at, order
from tests.unit.sources.generation.replay import Remote, Say


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


def test_openrouter_is_followed_from_order_to_result(remote: Remote):
    remote.replay("aimock-openrouter", 1, 2, 5, origin=remote.url)
    source = open_at(remote, profile="openrouter")
    accepted = source.submit(order(source, prompt="router done", model="bytedance/seedance-2.0"))
    assert accepted.observation.state is State.PENDING
    assert source.fetch(accepted.handle).state is State.PROCESSING
    done = source.fetch(accepted.handle)
    assert (done.state, done.cost) == (State.COMPLETED, "0.12 USD")
    (asset,) = done.assets
    assert asset.url == f"{remote.url}/api/v1/videos/{accepted.remote_id}/content?index=0"
    assert asset.needs_auth
    assert source.capabilities.floor_seconds == 10


def test_openrouters_failure_has_its_reason(remote: Remote):
    remote.replay("aimock-openrouter", 10)
    seen = open_at(remote, profile="openrouter").fetch({"id": "1ba7bbd8-41c6-4277-8dd9-9296512aa449"})
    assert seen.problem is not None and seen.problem.kind == Kind.CONTENT_POLICY


@pytest.mark.parametrize(
    ("polling_url", "path"),
    [
        ("{own}/elsewhere/j1?part=2", "/elsewhere/j1?part=2"),
        ("/api/v1/jobs/j1", "/api/v1/jobs/j1"),
        ("https://evil.example/api/v1/videos/j1", "/api/v1/videos/j1"),
        ("{own}@evil.example/j1", "/api/v1/videos/j1"),
        (7, "/api/v1/videos/j1"),
    ],
)
def test_a_polling_address_is_followed_only_on_the_own_origin(remote: Remote, polling_url: Any, path: str):
    said = polling_url.format(own=remote.url) if isinstance(polling_url, str) else polling_url
    remote.on("POST", "/api/v1/videos", Say(202, {"id": "j1", "status": "pending", "polling_url": said}))
    remote.on("GET", path, Say(200, {"id": "j1", "status": "in_progress"}))
    source = open_at(remote, profile="openrouter")
    accepted = source.submit(order(source, prompt="a", model="m"))
    assert source.fetch(accepted.handle).state is State.PROCESSING


def test_signed_addresses_are_taken_where_the_others_lead_elsewhere(remote: Remote):
    signed = "https://bucket.example/x.mp4?X-Amz-Date=20261120T110000Z&X-Amz-Expires=3600"
    job = {"id": "j1", "status": "completed", "urls": [signed], "unsigned_urls": ["https://other.example/x"]}
    remote.on("GET", "/api/v1/videos/j1", Say(200, job))
    (asset,) = open_at(remote, profile="openrouter").fetch({"id": "j1"}).assets
    assert (asset.url, asset.needs_auth) == (signed, False)
    assert asset.expires_at == datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_several_results_have_several_names(remote: Remote):
    urls = [f"/api/v1/videos/j1/content?index={number}" for number in range(3)]
    remote.on(
        "GET", "/api/v1/videos/j1", Say(200, {"id": "j1", "status": "completed", "unsigned_urls": urls})
    )
    assets = open_at(remote, profile="openrouter").fetch({"id": "j1"}).assets
    assert [asset.name for asset in assets] == ["j1-1.mp4", "j1-2.mp4", "j1-3.mp4"]


# xAI


def test_xai_is_followed_from_order_to_result(remote: Remote):
    remote.replay("aimock-grok", 1, 2, 4)
    source = open_at(remote, profile="xai")
    accepted = source.submit(order(source, prompt="grok done", model="grok-imagine-video"))
    assert accepted.observation.state is State.PENDING
    running = source.fetch(accepted.handle)
    assert (running.state, running.word, running.progress) == (State.PROCESSING, "pending", 33)
    done = source.fetch(accepted.handle)
    assert (done.state, done.cost) == (State.COMPLETED, "0.12 USD")
    assert (done.assets[0].url, done.assets[0].needs_auth) == ("http://127.0.0.1:18999/files/x.mp4", False)


def test_xai_waits_while_its_progress_is_nothing(remote: Remote):
    remote.on("GET", "/v1/videos/r1", Say(202, {"status": "pending", "progress": 0}))
    assert open_at(remote, profile="xai").fetch({"id": "r1"}).state is State.PENDING


def test_a_video_that_moderation_withheld_is_a_failure(remote: Remote):
    remote.on(
        "GET",
        "/v1/videos/r1",
        Say(200, {"status": "done", "video": {"url": "", "respect_moderation": False}}),
    )
    seen = open_at(remote, profile="xai").fetch({"id": "r1"})
    assert seen.state is State.FAILED and seen.problem is not None
    assert seen.problem.kind == Kind.CONTENT_POLICY


@pytest.mark.parametrize("profile", ["openrouter", "xai"])
def test_without_a_list_a_lost_answer_stays_unknown(remote: Remote, profile: str):
    source = open_at(remote, profile=profile)
    with pytest.raises(OutcomeUnknown):
        source.find(order(source, prompt="a"))
    assert remote.log == []


def test_openrouter_gets_frames_and_references_apart(remote: Remote):
    remote.on("POST", "/api/v1/videos", Say(202, {"id": "j1", "status": "pending"}))
    source = open_at(remote, profile="openrouter")
    source.submit(order(source, prompt="a", model="m", first_frame=PICTURE, style=PICTURE))
    body = remote.log[0].json
    assert [(frame["type"], frame["frame_type"]) for frame in body["frame_images"]] == [
        ("image_url", "first_frame")
    ]
    assert body["frame_images"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [set(reference) for reference in body["input_references"]] == [{"type", "image_url"}]
