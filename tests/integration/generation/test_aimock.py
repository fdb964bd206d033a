"""The adapters against somebody else's fake of fal, OpenAI-style videos, OpenRouter and xAI, over real HTTP."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import (
    Accepted,
    CancelAnswer,
    GenerationConnection,
    GenerationObservation,
    GenerationSource,
    Order,
)
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.generation.registry import open_source
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.integration.generation.aimock import (
    POLLS_UNTIL_DONE,
    POLLS_UNTIL_RUNNING,
    Aimock,
    running_aimock,
)

KLING = "fal-ai/kling-video/v1/standard/text-to-video"
FLUX = "fal-ai/flux/dev"


@dataclass(frozen=True)
class Dialect:
    """How a source at aimock is set up, and what a good order is."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    offer: str = "video"
    path: str = ""
    model: str = ""

    def open(self, aimock: Aimock) -> GenerationSource:
        connection = GenerationConnection(
            self.name, aimock.url + self.path, Trust(), key="test", settings=dict(self.settings)
        )
        return open_source(self.kind, connection)

    def order(self, prompt: str = "a red kite") -> Order:
        model = {"model": self.model} if self.model else {}
        return Order(self.offer, {"prompt": prompt, **model}, "own", "own", asked_at=datetime.now(UTC))


FAL = Dialect("fal", "fal", {"headers": {"x-fal-target-host": "queue.fal.run"}}, offer=KLING, path="/fal")
PLAIN = Dialect("plain", "openai_videos", {"model": "sora-2"})
OPENROUTER = Dialect("openrouter", "openai_videos", {"profile": "openrouter"}, model="bytedance/seedance-2.0")
XAI = Dialect("xai", "openai_videos", {"profile": "xai"}, model="grok-imagine-video")
ALL = [FAL, PLAIN, OPENROUTER, XAI]
STAGED = [FAL, OPENROUTER, XAI]


@pytest.fixture(scope="module")
def aimock() -> Iterator[Aimock]:
    with running_aimock() as aimock:
        yield aimock


Open = Callable[[Dialect], GenerationSource]


@pytest.fixture
def open_at(aimock: Aimock) -> Iterator[Open]:
    opened: list[GenerationSource] = []

    def open_(dialect: Dialect) -> GenerationSource:
        opened.append(dialect.open(aimock))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


def follow(source: GenerationSource, accepted: Accepted) -> list[GenerationObservation]:
    """What each question sees, up to the end."""
    seen: list[GenerationObservation] = []
    while len(seen) < 10 and (not seen or seen[-1].state in (State.PENDING, State.PROCESSING)):
        seen.append(source.fetch(accepted.handle))
    return seen


named = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
staged = pytest.mark.parametrize("dialect", STAGED, ids=lambda dialect: dialect.name)


@named
def test_a_check_succeeds(open_at: Open, dialect: Dialect):
    assert open_at(dialect).check().text


@staged
def test_an_order_goes_from_pending_over_processing_to_completed(open_at: Open, dialect: Dialect):
    source = open_at(dialect)
    accepted = source.submit(dialect.order())
    assert accepted.observation.state is State.PENDING
    seen = follow(source, accepted)
    states = [observation.state for observation in seen]
    assert states[-1] is State.COMPLETED
    assert states == sorted(states, key=[State.PENDING, State.PROCESSING, State.COMPLETED].index)
    assert State.PROCESSING in states and len(states) <= POLLS_UNTIL_DONE
    assert {observation.remote_id for observation in seen} == {accepted.remote_id}
    (asset,) = seen[-1].assets
    assert asset.name.endswith(".mp4")


def test_fal_tells_place_and_log_on_the_way(open_at: Open):
    source = open_at(FAL)
    accepted = source.submit(FAL.order())
    assert accepted.observation.queue_position == POLLS_UNTIL_RUNNING
    seen = follow(source, accepted)
    assert seen[0].queue_position == POLLS_UNTIL_RUNNING - 1
    lengths = [len(observation.log_lines or ()) for observation in seen]
    assert lengths == sorted(lengths) and lengths[-1] == 3


def test_a_picture_of_fal_is_found_in_its_own_json(open_at: Open):
    source = open_at(FAL)
    accepted = source.submit(Order(FLUX, {"prompt": "a red kite"}, "own", "own"))
    (asset,) = follow(source, accepted)[-1].assets
    assert (asset.name, asset.media_type) == ("kite.png", "image/png")


def test_xai_tells_its_progress(open_at: Open):
    source = open_at(XAI)
    progress = [seen.progress for seen in follow(source, source.submit(XAI.order()))]
    assert progress[-1] == 100 and progress == sorted(progress, key=lambda number: number or 0)
    assert any(number and 0 < number < 100 for number in progress)


@pytest.mark.parametrize(
    ("prompt", "state"),
    [("a red kite", State.COMPLETED), ("a slow kite", State.PROCESSING), ("a bad kite", State.FAILED)],
    ids=["completed", "processing", "failed"],
)
def test_openai_style_jobs_are_read_in_each_state(open_at: Open, prompt: str, state: State):
    source = open_at(PLAIN)
    accepted = source.submit(PLAIN.order(prompt))
    assert source.fetch(accepted.handle).state is state


@pytest.mark.parametrize("dialect", [OPENROUTER, XAI], ids=lambda dialect: dialect.name)
def test_a_failure_has_its_reason(open_at: Open, dialect: Dialect):
    source = open_at(dialect)
    end = follow(source, source.submit(dialect.order("a bad kite")))[-1]
    assert end.state is State.FAILED and end.problem is not None
    assert end.problem.kind == Kind.CONTENT_POLICY


@named
def test_an_order_nobody_can_fill_is_refused(open_at: Open, dialect: Dialect):
    with pytest.raises(SourceRefused):
        open_at(dialect).submit(
            dialect.order("something else")
            if dialect is not FAL
            else Order("fal-ai/unknown", {"prompt": "x"}, "own", "own")
        )


@named
def test_a_task_it_does_not_know_is_not_found(open_at: Open, dialect: Dialect):
    with pytest.raises(SourceRefused) as caught:
        open_at(dialect).fetch({"id": "00000000-0000-4000-8000-000000000000", "app": KLING})
    assert caught.value.kind == "not_found"


# results


def test_a_result_behind_the_key_is_downloaded(open_at: Open):
    source = open_at(OPENROUTER)
    (asset,) = follow(source, source.submit(OPENROUTER.order()))[-1].assets
    assert asset.needs_auth
    with source.open_asset(asset.url, asset.ref, needs_auth=True) as download:
        assert b"".join(download.chunks)[4:8] == b"ftyp"
        assert download.media_type == "video/mp4"


@pytest.mark.parametrize("dialect", [FAL, PLAIN, XAI], ids=lambda dialect: dialect.name)
def test_a_result_on_a_private_address_elsewhere_is_not_fetched(open_at: Open, dialect: Dialect):
    source = open_at(dialect)
    (asset,) = follow(source, source.submit(dialect.order()))[-1].assets
    assert not asset.needs_auth
    with (
        pytest.raises(SourceRefused) as caught,
        source.open_asset(asset.url, asset.ref, needs_auth=asset.needs_auth),
    ):
        pass
    assert caught.value.kind == "address"


# cancelling


def test_a_waiting_request_at_fal_is_cancelled(open_at: Open):
    source = open_at(FAL)
    accepted = source.submit(FAL.order())
    assert source.cancel(accepted.handle) is CancelAnswer.REQUESTED
    assert source.fetch(accepted.handle).state is State.CANCELLED


def test_a_running_request_at_fal_is_cancelled(open_at: Open):
    source = open_at(FAL)
    accepted = source.submit(FAL.order())
    while source.fetch(accepted.handle).state is State.PENDING:
        pass
    assert source.cancel(accepted.handle) is CancelAnswer.REQUESTED
    assert source.fetch(accepted.handle).state is State.CANCELLED


def test_a_finished_request_at_fal_keeps_its_result(open_at: Open):
    source = open_at(FAL)
    accepted = source.submit(FAL.order())
    follow(source, accepted)
    assert source.cancel(accepted.handle) is CancelAnswer.ALREADY_FINISHED
    assert source.fetch(accepted.handle).assets


def test_a_request_fal_does_not_know_cannot_be_cancelled(open_at: Open):
    handle = {"id": "00000000-0000-4000-8000-000000000000", "app": KLING}
    assert open_at(FAL).cancel(handle) is CancelAnswer.NOT_FOUND


# faults while it runs

BROKEN = {"connection": {"disconnectRate": 1}, "garbage": {"malformedRate": 1}, "server": {"dropRate": 1}}


@named
def test_an_order_that_is_asked_to_wait_was_not_taken(aimock: Aimock, open_at: Open, dialect: Dialect):
    source = open_at(dialect)
    with aimock.chaos(rateLimitRate=1), pytest.raises(SourceUnavailable) as caught:
        source.submit(dialect.order())
    assert not isinstance(caught.value, OutcomeUnknown)
    assert caught.value.kind == "rate_limited" and caught.value.retry_after
    assert source.submit(dialect.order()).remote_id


@named
@pytest.mark.parametrize("fault", BROKEN)
def test_an_order_without_a_whole_answer_has_an_unknown_outcome_and_is_sent_once(
    aimock: Aimock, open_at: Open, dialect: Dialect, fault: str
):
    source = open_at(dialect)
    before = len(aimock.journal())
    with aimock.chaos(**BROKEN[fault]), pytest.raises(OutcomeUnknown):
        source.submit(dialect.order())
    assert len(aimock.journal()) <= before + 1
    with pytest.raises(SourceUnavailable):
        source.find(dialect.order())


@named
@pytest.mark.parametrize("fault", [*BROKEN, "wait"])
def test_a_question_that_goes_wrong_changes_nothing_about_the_task(
    aimock: Aimock, open_at: Open, dialect: Dialect, fault: str
):
    source = open_at(dialect)
    accepted = source.submit(dialect.order())
    with (
        aimock.chaos(**BROKEN.get(fault, {"rateLimitRate": 1})),
        pytest.raises(SourceUnavailable) as caught,
    ):
        source.fetch(accepted.handle)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert bool(caught.value.retry_after) == (fault == "wait")
    assert follow(source, accepted)[-1].state is State.COMPLETED


@named
def test_a_slow_answer_is_waited_for_and_measured(aimock: Aimock, open_at: Open, dialect: Dialect):
    source = open_at(dialect)
    with aimock.chaos(latencyMs=300):
        assert source.submit(dialect.order()).remote_id
    assert source.latency_seconds is not None and source.latency_seconds >= 0.3
