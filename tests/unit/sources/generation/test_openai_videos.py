"""OpenAI-style videos: orders, settings and reads beyond the contract, by recorded answers where there are some."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any

import pytest

from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import CancelAnswer
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State
from tests.unit.sources.generation.contract import KEY, PNG
from tests.unit.sources.generation.openai_stage import JOB, PICTURE, open_at, order
from tests.unit.sources.generation.replay import Remote, Say, Seen, load


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


def form_of(seen: Seen) -> dict[str, Any]:
    """Fields of a multipart body: text, or (file name, media type, bytes)."""
    head = f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode()
    fields: dict[str, Any] = {}
    for part in BytesParser().parsebytes(head + seen.body).walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            file = part.get_filename()
            fields[name] = (file, part.get_content_type(), content) if file else content.decode()
    return fields


# orders


def test_an_order_without_a_picture_is_json_with_the_seconds_as_text(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, JOB))
    source = open_at(remote, model="sora-2")
    source.submit(order(source, prompt="a cat", seconds=4.0, size="1280x720", seed=None, style=""))
    sent = remote.log[0]
    assert sent.json == {"model": "sora-2", "prompt": "a cat", "seconds": "4", "size": "1280x720"}
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    # exactly the order that the vendor's own description accepted, and not the one it refused
    assert sent.json == load("prism-openai-videos", 1)["request"]["body"]
    assert load("prism-openai-videos", 3)["request"]["body"]["seconds"] == 5


def test_an_order_with_a_picture_is_a_form(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, JOB))
    source = open_at(remote)
    source.submit(order(source, prompt="ü🎬", seconds="8", input_reference=PICTURE))
    assert form_of(remote.log[0]) == {
        "prompt": "ü🎬",
        "seconds": "8",
        "input_reference": ("kite.png", "image/png", PNG),
    }


def test_a_remote_that_takes_json_alone_gets_the_picture_inside(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, JOB))
    source = open_at(remote, encoding="json")
    source.submit(order(source, prompt="a cat", input_reference=PICTURE))
    assert remote.log[0].json["input_reference"].startswith("data:image/png;base64,")


def test_vllm_takes_a_form_even_without_a_picture(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, JOB))
    source = open_at(remote, profile="vllm_omni")
    source.submit(order(source, prompt="a cat", num_frames=80, enhance=True, lora={"name": "x"}))
    assert form_of(remote.log[0]) == {
        "prompt": "a cat",
        "num_frames": "80",
        "enhance": "true",
        "lora": '{"name": "x"}',
    }


def test_fixed_values_of_an_offer_are_sent_and_what_was_chosen_counts_more(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, JOB))
    offer = {"key": "hd", "kind": "video", "label": "HD", "fixed": {"model": "sora-2-pro", "size": "1x1"}}
    source = open_at(remote, offers=[offer], model="unused")
    source.submit(order(source, prompt="a cat", size="2x2"))
    assert remote.log[0].json == {"model": "sora-2-pro", "size": "2x2", "prompt": "a cat"}


@pytest.mark.parametrize(
    ("base", "settings", "expected"),
    [
        ("", {}, "/v1/videos"),
        ("/openai/v1/", {}, "/openai/v1/videos"),
        ("", {"collection": "/videos"}, "/videos"),
        ("", {"profile": "openrouter"}, "/api/v1/videos"),
        ("/gateway", {"profile": "openrouter"}, "/gateway/videos"),
        ("", {"profile": "xai"}, "/v1/videos/generations"),
    ],
)
def test_where_orders_go(remote: Remote, base: str, settings: dict[str, Any], expected: str):
    remote.on("POST", expected, Say(200, JOB))
    source = open_at(remote, base=base, **settings)
    source.submit(order(source, prompt="a"))
    assert remote.calls() == [f"POST {expected}"]


def test_an_error_in_a_successful_answer_is_a_refusal(remote: Remote):
    remote.on("POST", "/v1/videos", Say(200, {"error": {"code": "insufficient_quota", "message": "Top up"}}))
    source = open_at(remote)
    with pytest.raises(SourceRefused, match="Top up") as caught:
        source.submit(order(source, prompt="a"))
    assert caught.value.kind == Kind.NO_CREDIT


# settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"profile": "sora"}, '"profile" is one of'),
        ({"encoding": "xml"}, '"encoding" is one of'),
        ({"words": {"dozing": "asleep"}}, '"dozing" means one of'),
        ({"words": {"gone": "lost"}}, '"gone" means one of'),
        ({"headers": {"Authorization": "Bearer x"}}, '"Authorization" cannot be set'),
        ({"headers": {"X-Title": "a\r\nb"}}, "no plain text"),
        ({"models": "sora"}, '"models" is a list'),
        ({"collection": 7}, '"path" is a short text'),
        ({"offers": [{"key": "a", "kind": "video", "fixed": []}, 1]}, "Offer 2 is not an object"),
        ({"offers": [{"key": "a", "kind": "video", "fixed": [1]}]}, '"fixed" is an object'),
    ],
)
def test_settings_that_make_no_sense_are_named(remote: Remote, settings: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        open_at(remote, **settings)


def test_words_and_headers_of_the_settings_are_used(remote: Remote):
    remote.on("GET", "/v1/videos/v1", Say(200, {**JOB, "status": "DOZING"}))
    source = open_at(remote, words={"dozing": "pending"}, headers={"X-Title": "Portal"})
    assert source.fetch({"id": "v1"}).state is State.PENDING
    assert remote.log[0].headers["x-title"] == "Portal"


def test_models_of_the_settings_are_a_choice(remote: Remote):
    (model,) = [
        parameter
        for parameter in open_at(remote, profile="xai", models=["a", "b"]).offers[0].parameters
        if parameter.name == "model"
    ]
    assert model.default == "a" and [value for value, _ in model.choices] == ["a", "b"]


# reads


@pytest.mark.parametrize(
    ("number", "state"),
    [(1, State.COMPLETED), (3, State.PROCESSING), (5, State.FAILED)],
    ids=["done", "stuck", "failed"],
)
def test_recorded_orders_may_be_further_than_queued(remote: Remote, number: int, state: State):
    remote.replay("aimock-openai-videos", number, number + 1)
    source = open_at(remote)
    accepted = source.submit(order(source, prompt="x"))
    assert accepted.observation.state is state
    assert source.fetch(accepted.handle).state is state


def test_an_address_in_the_job_is_the_result_and_gets_no_key_elsewhere(remote: Remote):
    remote.replay("aimock-openai-videos", 2)
    (asset,) = open_at(remote).fetch({"id": "video_sora_1"}).assets
    assert (asset.url, asset.needs_auth) == ("http://127.0.0.1:18999/files/x.mp4", False)


def test_a_job_without_an_address_has_its_content_behind_the_key(remote: Remote):
    expires_at = datetime(2026, 11, 21, tzinfo=UTC)
    done = {**JOB, "status": "completed", "expires_at": int(expires_at.timestamp())}
    remote.on("GET", "/v1/videos/v1", Say(200, done))
    (asset,) = open_at(remote).fetch({"id": "v1"}).assets
    assert (asset.url, asset.needs_auth) == (f"{remote.url}/v1/videos/v1/content", True)
    assert asset.expires_at == expires_at


def test_the_vendors_own_answers_are_read_however_random(remote: Remote):
    remote.replay("prism-openai-videos", 8)
    seen = open_at(remote, collection="/videos").fetch({"id": "video_123"})
    assert (seen.state, seen.progress, seen.remote_id) == (State.PROCESSING, 100.0, "video_123")
    assert seen.created_at == datetime.fromtimestamp(35181030, UTC) and seen.finished_at is None
    json.dumps(dict(seen.metadata), allow_nan=False)


def test_expired_is_a_failure_that_took_too_long(remote: Remote):
    remote.on("GET", "/v1/videos/v1", Say(200, {**JOB, "status": "expired"}))
    seen = open_at(remote).fetch({"id": "v1"})
    assert seen.state is State.FAILED and seen.problem is not None
    assert (seen.problem.kind, seen.word) == (Kind.TIMED_OUT, "expired")


def test_the_providers_wish_when_to_ask_again_is_heard(remote: Remote):
    remote.on("GET", "/v1/videos/v1", Say(200, JOB, {"openai-poll-after-ms": "4500"}))
    assert open_at(remote).fetch({"id": "v1"}).ask_again_seconds == 4.5


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("submitted", State.PENDING),
        ("pending", State.PENDING),
        ("processing", State.PROCESSING),
        ("QUEUED", State.PENDING),
        ("canceled", State.CANCELLED),
    ],
)
def test_words_of_resellers(remote: Remote, word: str, state: State):
    remote.on("GET", "/v1/videos/v1", Say(200, {"code": 0, "data": {"task_id": "v1", "status": word}}))
    assert open_at(remote).fetch({"id": "v1"}).state is state


# the twin in the task API's own server


def test_the_twins_words_and_times_are_read(remote: Remote):
    remote.replay("seed", 27, 31)
    source = open_at(remote, encoding="json")
    done = source.fetch({"id": "vid_52535c757134"})
    assert (done.state, done.progress) == (State.COMPLETED, 100)
    assert done.created_at == datetime.fromtimestamp(1795161503, UTC)
    assert done.assets[0].url == "http://127.0.0.1:18999/files/video_43ea4f3e5edd.mp4"
    failed = source.fetch({"id": "vid_ff9be608edb6"})
    assert failed.state is State.FAILED and failed.problem is not None
    assert failed.problem.kind == Kind.PROVIDER and failed.problem.text


def test_the_twins_redirect_keeps_order_and_key(remote: Remote):
    remote.replay("seed", 43)
    assert load("seed", 42)["response"]["headers"]["location"].endswith("/v1/videos/")
    remote.on("POST", "/v1/videos", Say(307, headers={"Location": f"{remote.url}/v1/videos/"}))
    source = open_at(remote, encoding="json")
    accepted = source.submit(order(source, prompt="slow", seconds=5, input_reference=PICTURE))
    assert (accepted.remote_id, accepted.observation.state) == ("vid_3987f9a885f4", State.PENDING)
    assert remote.calls() == ["POST /v1/videos", "POST /v1/videos/"]
    assert remote.log[1].body == remote.log[0].body


def test_the_twin_tells_a_cancel_by_a_server_error(remote: Remote):
    remote.replay("seed", 23)
    assert open_at(remote).fetch({"id": "vid_a7fbf0d3697b"}).state is State.CANCELLED


# cancelling


def test_plain_never_sends_a_delete(remote: Remote):
    assert open_at(remote).cancel({"id": "v1"}) is CancelAnswer.UNSUPPORTED
    assert remote.log == []


def test_vllm_reads_before_it_deletes(remote: Remote):
    remote.on("GET", "/v1/videos/v1", Say(200, {**JOB, "status": "in_progress"}))
    remote.on("DELETE", "/v1/videos/v1", Say(200, {"id": "v1", "deleted": True}))
    assert open_at(remote, profile="vllm_omni").cancel({"id": "v1"}) is CancelAnswer.REQUESTED
    assert remote.calls() == ["GET /v1/videos/v1", "DELETE /v1/videos/v1"]


def test_vllm_does_not_delete_what_shows_a_word_nobody_knows(remote: Remote):
    remote.on("GET", "/v1/videos/v1", Say(200, {**JOB, "status": "archived"}))
    with pytest.raises(SourceUnavailable):
        open_at(remote, profile="vllm_omni").cancel({"id": "v1"})
    assert remote.calls("DELETE") == []


# checking


def test_a_check_goes_on_where_there_is_no_list(remote: Remote):
    remote.on("GET", "/v1/models", Say(200, {"data": []}))
    assert open_at(remote).check().text == "OpenAI-style videos"


def test_a_check_of_some_other_server_says_so(remote: Remote):
    with pytest.raises(SourceRefused, match="no videos API"):
        open_at(remote).check()
