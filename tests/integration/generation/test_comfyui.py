"""Both dialects of ComfyUI over real HTTP: comfy-api-proxy 0.1.6 and the stand-in for ComfyUI in its sources."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import (
    CancelAnswer,
    GenerationConnection,
    GenerationObservation,
    GenerationSource,
    Order,
    Upload,
)
from tasks_app.sources.generation.comfyui import open_comfyui
from tasks_app.sources.tls import Trust
from tasks_app.states import FINAL_STATES, State
from tests.integration.generation.servers import TOKEN, running_fake_comfyui, running_proxy

OFFER: dict[str, Any] = {
    "key": "x",
    "kind": "image",
    "label": "X",
    "workflow": {"9": {"class_type": "X", "inputs": {"complete_after_seconds": 0.2, "hang": False}}},
    "inputs": {
        "prompt": ["9", "text"],
        "seconds": ["9", "complete_after_seconds"],
        "hang": ["9", "hang"],
        "picture": ["9", "picture"],
    },
    "parameters": [
        {"name": "prompt"},
        {"name": "seconds", "type": "number"},
        {"name": "hang", "type": "boolean"},
        {"name": "picture", "type": "image"},
    ],
}


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with running_fake_comfyui() as url:
        yield url


@pytest.fixture(scope="module")
def proxy(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_proxy(engine, tmp_path_factory.mktemp("jobs")) as url:
        yield url


def opened(url: str, profile: str, key: str = TOKEN) -> GenerationSource:
    settings = {"profile": profile, "offers": [OFFER]}
    return open_comfyui(GenerationConnection("comfy", url, Trust(), key=key, settings=settings))


@pytest.fixture(params=["native", "v2"])
def source(request: pytest.FixtureRequest, engine: str, proxy: str) -> Iterator[GenerationSource]:
    source = opened(engine if request.param == "native" else proxy, request.param)
    yield source
    source.close()


@pytest.fixture
def v2(proxy: str) -> Iterator[GenerationSource]:
    source = opened(proxy, "v2")
    yield source
    source.close()


def make_order(**parameters: Any) -> Order:
    own_id = str(uuid4())
    asked_at = datetime.now(UTC) - timedelta(seconds=30)
    uploads = {"picture": parameters.pop("picture")} if "picture" in parameters else {}
    return Order("x", parameters, own_id, idempotency_key=own_id, asked_at=asked_at, uploads=uploads)


def seen_until(
    source: GenerationSource, handle: Any, wanted: Callable[[GenerationObservation], bool]
) -> list[GenerationObservation]:
    """Every observation until the wanted one, at most for ten seconds."""
    seen = [source.fetch(handle)]
    deadline = time.monotonic() + 10
    while not wanted(seen[-1]) and time.monotonic() < deadline:
        time.sleep(0.05)
        seen.append(source.fetch(handle))
    return seen


def is_final(seen: GenerationObservation) -> bool:
    return seen.state in FINAL_STATES


def test_a_check_is_answered(source: GenerationSource):
    assert "omfy" in source.check().text


def test_an_order_runs_and_its_picture_comes_home(source: GenerationSource):
    accepted = source.submit(make_order(prompt="a kite", seconds=0.6))
    seen = seen_until(source, accepted.handle, is_final)
    assert {State.PROCESSING, State.COMPLETED} <= {one.state for one in seen}
    (asset,) = seen[-1].assets
    with source.open_asset(asset.url, asset.ref, needs_auth=asset.needs_auth) as download:
        assert b"".join(download.chunks).startswith(b"\x89PNG")
        assert download.media_type == "image/png"


def test_a_running_order_is_cancelled_and_another_goes_on(source: GenerationSource):
    mine, other = source.submit(make_order(hang=True)), source.submit(make_order(hang=True))
    seen_until(source, mine.handle, lambda seen: seen.state is State.PROCESSING)
    assert source.cancel(mine.handle) is CancelAnswer.REQUESTED
    assert seen_until(source, mine.handle, is_final)[-1].state is State.CANCELLED
    assert source.fetch(other.handle).state is State.PROCESSING
    assert source.cancel(other.handle) is CancelAnswer.REQUESTED


def test_a_finished_order_is_left_alone(source: GenerationSource):
    accepted = source.submit(make_order())
    seen_until(source, accepted.handle, is_final)
    assert source.cancel(accepted.handle) is CancelAnswer.ALREADY_FINISHED
    assert source.fetch(accepted.handle).state is State.COMPLETED


def test_an_unknown_order_is_not_found(source: GenerationSource):
    handle = source.handle_of(str(uuid4()))
    with pytest.raises(SourceRefused) as caught:
        source.fetch(handle)
    assert caught.value.kind == "not_found"
    assert source.cancel(handle) is CancelAnswer.NOT_FOUND


def test_an_order_is_found_again_and_one_that_never_left_is_not(source: GenerationSource):
    order = make_order(prompt="the same words")
    accepted = source.submit(order)
    source.submit(make_order(prompt="the same words"))
    found = source.find(order)
    assert found is not None and found.remote_id == accepted.remote_id
    assert source.find(make_order(prompt="the same words")) is None


def test_a_list_shows_what_runs(source: GenerationSource):
    accepted = source.submit(make_order(hang=True))
    seen_until(source, accepted.handle, lambda seen: seen.state is State.PROCESSING)
    rows = {row.remote_id: row.state for row in source.list_recent().observations}
    assert rows[accepted.remote_id] is State.PROCESSING
    source.cancel(accepted.handle)


def test_a_picture_is_handed_over_under_a_name_of_ours(source: GenerationSource):
    order = make_order(picture=Upload("../../../etc/passwd", "image/png", b"\x89PNG..."))
    accepted = source.submit(order)
    assert seen_until(source, accepted.handle, is_final)[-1].state is State.COMPLETED


def test_the_graph_that_ran_names_the_stored_picture(v2: GenerationSource, proxy: str):
    # the proxy stores the same bytes once, under their first name
    order = make_order(picture=Upload("../../../etc/passwd", "image/png", b"\x89PNG other"))
    accepted = v2.submit(order)
    answer = requests.get(
        f"{proxy}/api/v2/jobs/{accepted.remote_id}/workflow",
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=10,
    )
    assert answer.json()["workflow"]["9"]["inputs"]["picture"] == f"{order.own_id}-picture.png"


def test_a_refused_order_says_why_in_the_servers_words(engine: str):
    source = opened(engine, "native")
    with pytest.raises(SourceRefused, match="must be a valid UUID") as caught:
        source.submit(replace(make_order(), own_id="no-uuid"))
    assert caught.value.kind == "invalid_request"
    source.close()


def test_the_same_order_twice_is_one_job(v2: GenerationSource):
    order = make_order()
    first = v2.submit(order)
    before = len(v2.list_recent().observations)
    assert v2.submit(order).remote_id == first.remote_id
    assert len(v2.list_recent().observations) == before


def test_the_same_key_for_another_order_is_never_a_second_job(v2: GenerationSource):
    order = make_order()
    v2.submit(order)
    with pytest.raises(OutcomeUnknown):
        v2.submit(replace(order, own_id=str(uuid4())))


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_wrong_key_needs_a_person(proxy: str, key: str):
    source = opened(proxy, "v2", key)
    for ask in (source.check, lambda: source.submit(make_order()), source.list_recent):
        with pytest.raises(SourceNeedsPerson) as caught:
            ask()
        assert caught.value.kind == "unauthorized"
    source.close()


def test_a_picture_needs_the_key(v2: GenerationSource):
    accepted = v2.submit(make_order())
    (asset,) = seen_until(v2, accepted.handle, is_final)[-1].assets
    assert asset.needs_auth
    with (
        pytest.raises((SourceRefused, SourceNeedsPerson)),
        v2.open_asset(asset.url, asset.ref, needs_auth=False),
    ):
        pass


def test_a_restarted_engine_has_forgotten_and_a_stopped_one_says_nothing(tmp_path: Path):
    with running_fake_comfyui() as engine:
        native = opened(engine, "native")
        accepted = native.submit(make_order(hang=True))
        with running_proxy(engine, tmp_path) as proxy:
            v2 = opened(proxy, "v2")
            job = v2.submit(make_order(hang=True))
        # the proxy keeps its jobs over a restart
        with running_proxy(engine, tmp_path) as proxy:
            v2 = opened(proxy, "v2")
            assert v2.fetch(job.handle).state is State.PROCESSING
            assert native.fetch(accepted.handle).state is State.PROCESSING
    with pytest.raises(SourceUnavailable):
        native.fetch(accepted.handle)
    with running_fake_comfyui() as engine:
        native = opened(engine, "native")
        with pytest.raises(SourceRefused) as caught:
            native.fetch(accepted.handle)
        assert caught.value.kind == "not_found"


def test_a_proxy_whose_engine_is_gone_says_nothing_about_its_jobs(tmp_path: Path):
    with running_fake_comfyui() as engine, running_proxy(engine, tmp_path) as url:
        job = opened(url, "v2").submit(make_order(hang=True))
    with running_proxy(engine, tmp_path) as url:
        v2 = opened(url, "v2")
        with pytest.raises(SourceUnavailable):
            v2.fetch(job.handle)
        with pytest.raises(OutcomeUnknown):
            v2.submit(make_order())
