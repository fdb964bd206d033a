"""Every adapter, one suite: what a caller may rely on whatever the dialect is. Kits: see `contract.py`."""

import importlib
import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.generation.base import (
    CancelAnswer,
    GenerationObservation,
    GenerationSource,
    Offer,
    WebhookRefused,
)
from tasks_app.sources.generation.parameters import parse_parameters
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.generation.registry import DIALECTS, open_source
from tasks_app.states import FINAL_STATES, State
from tests.unit.sources.generation.contract import KEY, WEBHOOK_SECRET, FakeTask, Kit
from tests.unit.sources.generation.replay import DROP, Remote, Say, Seen

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("kit_*.py"))
KITS: list[type[Kit]] = [
    kit for module in MODULES for kit in importlib.import_module(f"{__package__}.{module}").KITS
]
NOT_THE_SHAPE = {
    "null": None,
    "number": 17,
    "text": "completed",
    "list": [1, [2], None],
    "other names": {"a": {"b": 1}},
    "wrong types": {
        **{name: {"a": 1} for name in ("id", "task_id", "request_id", "prompt_id")},
        **{name: [[]] for name in ("status", "state", "outputs", "data", "error", "urls")},
    },
}
HOSTILE_BODIES = {
    "half a JSON": b'{"task_id": "vid',
    "HTML": b"<!DOCTYPE html><html><title>It works</title><script>alert(1)</script></html>",
    "nothing": b"",
    "not UTF-8": b"\xff\xfe\x00{",
    "too deep": b"[" * 200_000,
    "too many digits": b'{"status": ' + b"9" * 5000 + b"}",
}


class Play:
    """One test's stage: the kit, its server, and the adapter that talks to it."""

    def __init__(self, kit: Kit, remote: Remote, source: GenerationSource) -> None:
        self.kit, self.remote, self.source = kit, remote, source

    def submitted(self) -> tuple[FakeTask, Mapping[str, Any]]:
        """A task the adapter has ordered, and its handle as it comes back from the database."""
        accepted = self.source.submit(self.kit.order())
        return self.kit.tasks[accepted.remote_id], json.loads(json.dumps(dict(accepted.handle)))

    def seen_as(self, **fields: Any) -> GenerationObservation:
        """What the adapter says about its task once the remote has changed it so."""
        task, handle = self.submitted()
        for name, value in fields.items():
            setattr(task, name, value)
        return self.source.fetch(handle)

    def offer(self) -> Offer:
        return next(offer for offer in self.source.offers if offer.key == self.kit.offer)


@pytest.fixture(params=KITS, ids=lambda kit: kit.name)
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    kit: Kit = request.param()

    def answer(seen: Seen) -> Say | None:
        if seen.method == "GET" and seen.path in {task.asset_path for task in kit.tasks.values()}:
            return Say(200, b"bytes of " + seen.path.encode(), {"Content-Type": "video/mp4"})
        return kit.answer(seen)

    with Remote(answer) as remote:
        kit.origin = remote.url
        source = open_source(kit.kind, kit.connection(remote.url))
        yield Play(kit, remote, source)
        source.close()


def needs(play: Play, *states: State) -> None:
    if missing := set(states) - play.kit.states:
        pytest.skip(f"this dialect cannot show {', '.join(sorted(missing))}")


def assert_keeps_secrets(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert KEY not in text and WEBHOOK_SECRET not in text


def test_every_dialect_has_a_kit():
    assert {kit.kind for kit in KITS} == set(DIALECTS)


# what it declares


def test_offers_are_unique_and_the_kits_own_input_fits(play: Play):
    offers = play.source.offers
    assert len({offer.key for offer in offers}) == len(offers) > 0
    offer = play.offer()
    names = [parameter.name for parameter in offer.parameters]
    assert len(set(names)) == len(names)
    assert offer.prompt in names
    assert set(play.kit.parameters) | set(play.kit.uploads) <= set(names)
    parse_parameters(offer, play.kit.parameters, uploads=play.kit.uploads.keys())
    assert play.remote.log == [], "offers are declared without asking"


def test_secrets_are_in_no_repr(play: Play):
    for thing in (play.source, play.kit.connection(play.remote.url), play.source.capabilities):
        assert KEY not in repr(thing) and WEBHOOK_SECRET not in repr(thing)


def test_a_check_is_harmless_and_says_something(play: Play):
    probe = play.source.check()
    assert probe.text
    assert play.kit.tasks == {}
    assert not [seen for seen in play.remote.log if play.kit.is_submit(seen) or play.kit.is_cancel(seen)]
    assert play.source.latency_seconds is not None and play.source.latency_seconds >= 0


# submitting


def test_an_order_is_sent_once_and_gives_id_state_and_a_small_handle(play: Play):
    accepted = play.source.submit(play.kit.order())
    assert sum(play.kit.is_submit(seen) for seen in play.remote.log) == 1
    assert list(play.kit.tasks) == [accepted.remote_id]
    assert accepted.observation.state in (State.PENDING, State.PROCESSING)
    text = json.dumps(dict(accepted.handle), allow_nan=False)
    assert len(text) < 4000 and KEY not in text
    assert accepted.handle["id"] == accepted.remote_id


def test_the_prompt_arrives(play: Play):
    play.submitted()
    (seen,) = [seen for seen in play.remote.log if play.kit.is_submit(seen)]
    assert b"a red kite" in seen.body


def test_strange_text_in_a_prompt_is_sent_as_it_is(play: Play):
    order = replace(
        play.kit.order(), parameters={**play.kit.parameters, play.offer().prompt: '"}\\\n{{x}} %s ü🎬'}
    )
    accepted = play.source.submit(order)
    assert accepted.remote_id in play.kit.tasks


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
def test_an_order_that_is_answered_with_noise_has_an_unknown_outcome(play: Play, body: bytes):
    play.remote.fault(Say(200, body), play.kit.is_submit)
    with pytest.raises(OutcomeUnknown):
        play.source.submit(play.kit.order())


@pytest.mark.parametrize("shape", NOT_THE_SHAPE.values(), ids=NOT_THE_SHAPE.keys())
def test_an_order_that_is_answered_without_an_id_has_an_unknown_outcome(play: Play, shape: Any):
    if play.source.capabilities.own_id and isinstance(shape, dict):
        pytest.skip("the id is ours")
    play.remote.fault(Say(200, shape), play.kit.is_submit)
    with pytest.raises(OutcomeUnknown):
        play.source.submit(play.kit.order())


def test_a_lost_answer_leaves_the_outcome_unknown_and_nothing_is_sent_twice(play: Play):
    play.remote.fault(DROP, play.kit.is_submit)
    with pytest.raises(OutcomeUnknown) as caught:
        play.source.submit(play.kit.order())
    assert sum(play.kit.is_submit(seen) for seen in play.remote.log) == 1
    assert_keeps_secrets(caught.value)


def test_a_server_error_leaves_the_outcome_unknown(play: Play):
    play.remote.fault(Say(500, {"error": {"message": "boom"}}), play.kit.is_submit)
    with pytest.raises(OutcomeUnknown):
        play.source.submit(play.kit.order())


@pytest.mark.parametrize("status", [429, 503])
def test_an_order_that_is_asked_to_wait_was_not_taken(play: Play, status: int):
    busy = Say(status, {"error": {"message": "Too many requests"}}, {"Retry-After": "7"})
    play.remote.fault(busy, play.kit.is_submit)
    with pytest.raises(SourceUnavailable) as caught:
        play.source.submit(play.kit.order())
    assert not isinstance(caught.value, OutcomeUnknown)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request"), (402, "no_credit"), (422, "invalid_request")]
)
def test_a_refused_order_says_why(play: Play, status: int, kind: str):
    play.remote.fault(Say(status, {"error": {"message": "the seconds are wrong"}}), play.kit.is_submit)
    with pytest.raises(SourceRefused) as caught:
        play.source.submit(play.kit.order())
    assert caught.value.kind == kind and "the seconds are wrong" in str(caught.value)


def test_an_order_to_a_closed_port_was_certainly_not_sent(play: Play):
    with Remote() as gone:
        url = gone.url
    source = open_source(play.kit.kind, play.kit.connection(url))
    with pytest.raises(SourceUnavailable) as caught:
        source.submit(play.kit.order())
    assert not isinstance(caught.value, OutcomeUnknown)
    source.close()


def test_an_unknown_offer_is_refused_without_a_call(play: Play):
    with pytest.raises(SourceRefused) as caught:
        play.source.submit(replace(play.kit.order(), offer="no such offer"))
    assert caught.value.kind == "invalid_request"
    assert not any(play.kit.is_submit(seen) for seen in play.remote.log)


# what became of an order


def test_an_order_that_arrived_is_found_or_the_outcome_stays_unknown(play: Play):
    order = replace(play.kit.order(), asked_at=datetime.now(UTC) - timedelta(minutes=5))
    accepted = play.source.submit(order)
    try:
        found = play.source.find(order)
    except OutcomeUnknown:
        assert not play.source.capabilities.own_id
        return
    assert found is not None and found.remote_id == accepted.remote_id


def test_an_order_whose_look_up_fails_is_not_proven_absent(play: Play):
    play.remote.fault(DROP)
    with pytest.raises(SourceUnavailable):
        play.source.find(play.kit.order())


# following


@pytest.mark.parametrize("state", sorted({*State} - {State.LOST}))
def test_each_state_is_read(play: Play, state: State):
    needs(play, state)
    seen = play.seen_as(state=state)
    assert seen.state is state
    assert (seen.problem is not None) == (state is State.FAILED)
    assert bool(seen.assets) == (state is State.COMPLETED)
    assert not seen.is_partial


def test_a_word_nobody_knows_keeps_the_state_open_and_is_told(play: Play):
    if not play.kit.has_words:
        pytest.skip("this dialect has no status words")
    seen = play.seen_as(word="dozing")
    assert (seen.state, seen.word) == (None, "dozing")


def test_progress_is_a_percentage(play: Play):
    if not play.kit.has_progress:
        pytest.skip("this dialect gives no progress")
    assert play.seen_as(state=State.PROCESSING, progress=45).progress == 45


def test_a_failed_task_is_an_answer_not_an_error(play: Play):
    needs(play, State.FAILED)
    problem = play.seen_as(state=State.FAILED, message="Content policy violation").problem
    assert problem is not None
    assert (problem.kind, problem.retryable) == (Kind.CONTENT_POLICY, False)
    assert "Content policy violation" in problem.text
    assert "Traceback" not in problem.text and ".py" not in problem.text


def test_any_other_failure_is_the_providers(play: Play):
    needs(play, State.FAILED)
    problem = play.seen_as(state=State.FAILED, message="upstream exploded").problem
    assert problem is not None and problem.kind == Kind.PROVIDER and "upstream exploded" in problem.text


def test_a_failure_without_words_still_has_a_text(play: Play):
    needs(play, State.FAILED)
    problem = play.seen_as(state=State.FAILED, message="").problem
    assert problem is not None and problem.text


def test_times_are_aware_utc(play: Play):
    seen = play.seen_as(state=State.COMPLETED)
    times = [seen.created_at, seen.started_at, seen.finished_at, seen.updated_at]
    assert all(time is None or time.utcoffset() == timedelta(0) for time in times)
    if seen.created_at:
        assert abs((seen.created_at - datetime.now(UTC)).total_seconds()) < 60


def test_a_forgotten_task_is_not_found(play: Play):
    task, handle = play.submitted()
    del play.kit.tasks[task.id]
    with pytest.raises(SourceRefused) as caught:
        play.source.fetch(handle)
    assert caught.value.kind == "not_found"


def test_an_id_is_a_handle_where_the_dialect_says_so(play: Play):
    task, _ = play.submitted()
    try:
        handle = play.source.handle_of(task.id)
    except (SourceRefused, ValueError):
        assert not play.source.capabilities.lists
        return
    assert play.source.fetch(handle).remote_id == task.id


def test_an_observation_fits_into_json_and_holds_no_key(play: Play):
    seen = play.seen_as(state=State.COMPLETED)
    text = json.dumps([dict(seen.raw), dict(seen.metadata), [dict(asset.ref) for asset in seen.assets]])
    assert KEY not in text


# reading when things go wrong


@pytest.mark.parametrize("status", [429, 503])
def test_a_read_that_must_wait_says_how_long(play: Play, status: int):
    _, handle = play.submitted()
    play.remote.fault(Say(status, {"detail": "slow down"}, {"Retry-After": "7"}))
    with pytest.raises(SourceUnavailable) as caught:
        play.source.fetch(handle)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(DROP, id="dropped"),
        pytest.param(Say(200, {"a": "b" * 5000}, cut=4000), id="cut short"),
        pytest.param(Say(500, "Internal Server Error"), id="500"),
        pytest.param(Say(502, "<html><h1>Bad gateway</h1></html>"), id="502"),
        pytest.param(Say(200, b'{"pad": "' + b" " * 33 * 1024 * 1024 + b'"}'), id="huge"),
        *(pytest.param(Say(200, body), id=name) for name, body in HOSTILE_BODIES.items()),
    ],
)
def test_a_broken_read_says_nothing_about_the_task(play: Play, answer: Say):
    _, handle = play.submitted()
    play.remote.fault(answer)
    with pytest.raises(SourceUnavailable) as caught:
        play.source.fetch(handle)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert "<" not in str(caught.value)
    assert_keeps_secrets(caught.value)
    play.remote.heal()
    assert play.source.fetch(handle).state is not None


@pytest.mark.parametrize("shape", NOT_THE_SHAPE.values(), ids=NOT_THE_SHAPE.keys())
def test_json_of_another_shape_is_a_source_error_or_an_open_task(play: Play, shape: Any):
    _, handle = play.submitted()
    play.remote.fault(Say(200, shape))
    try:
        state = play.source.fetch(handle).state
    except OutcomeUnknown:
        pytest.fail("a read changes nothing")
    except SourceError:
        state = None
    assert state not in FINAL_STATES


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_need_a_person(play: Play, status: int):
    _, handle = play.submitted()
    play.remote.fault(Say(status, {"error": {"message": f"Invalid key {KEY} given"}}))
    with pytest.raises(SourceNeedsPerson) as caught:
        play.source.fetch(handle)
    assert_keeps_secrets(caught.value)
    with pytest.raises(SourceNeedsPerson) as caught:
        play.source.submit(play.kit.order())
    assert_keeps_secrets(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_never_travels_to_another_origin(play: Play, status: int):
    _, handle = play.submitted()
    with Remote(lambda _seen: Say(200, {})) as other:
        play.remote.fault(Say(status, None, {"Location": other.url + "/steal"}))
        calls = [lambda: play.source.fetch(handle), lambda: play.source.submit(play.kit.order())]
        if play.source.capabilities.cancel_queued:
            calls.append(lambda: play.source.cancel(handle))
        for ask in calls:
            with pytest.raises(SourceError) as caught:
                ask()
            assert_keeps_secrets(caught.value)
        assert other.log == []


# cancelling


def test_an_open_task_is_cancelled_where_the_dialect_can(play: Play):
    task, handle = play.submitted()
    answer = play.source.cancel(handle)
    if not play.source.capabilities.cancel_queued:
        assert answer is CancelAnswer.UNSUPPORTED and not any(map(play.kit.is_cancel, play.remote.log))
        return
    assert answer is CancelAnswer.REQUESTED
    assert sum(play.kit.is_cancel(seen) for seen in play.remote.log) == 1
    assert task.state is State.CANCELLED or task.id not in play.kit.tasks


def test_a_running_task_is_cancelled_where_the_dialect_can(play: Play):
    task, handle = play.submitted()
    task.state = State.PROCESSING
    answer = play.source.cancel(handle)
    if play.source.capabilities.cancel_running:
        assert answer is CancelAnswer.REQUESTED
        assert task.state is State.CANCELLED or task.id not in play.kit.tasks
    else:
        assert answer is CancelAnswer.UNSUPPORTED


def test_a_cancel_is_a_wish(play: Play):
    if not play.source.capabilities.cancel_queued:
        pytest.skip("this dialect cannot cancel")
    play.kit.obeys_cancel = False
    task, handle = play.submitted()
    assert play.source.cancel(handle) is CancelAnswer.REQUESTED
    task.state = State.COMPLETED
    assert play.source.fetch(handle).state is State.COMPLETED


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
def test_cancelling_a_finished_task_destroys_nothing(play: Play, state: State):
    needs(play, state)
    task, handle = play.submitted()
    task.state = state
    answer = play.source.cancel(handle)
    assert answer in (CancelAnswer.ALREADY_FINISHED, CancelAnswer.UNSUPPORTED)
    assert play.kit.tasks[task.id].state is state
    if play.source.capabilities.cancel_deletes:
        assert not any(play.kit.is_cancel(seen) for seen in play.remote.log)


def test_cancelling_a_forgotten_task_finds_none(play: Play):
    if not play.source.capabilities.cancel_queued:
        pytest.skip("this dialect cannot cancel")
    task, handle = play.submitted()
    del play.kit.tasks[task.id]
    assert play.source.cancel(handle) is CancelAnswer.NOT_FOUND


def test_a_lost_answer_to_a_cancel_is_an_error_to_try_again(play: Play):
    if not play.source.capabilities.cancel_queued:
        pytest.skip("this dialect cannot cancel")
    _, handle = play.submitted()
    play.remote.fault(DROP)
    with pytest.raises(SourceUnavailable):
        play.source.cancel(handle)


# listing


def test_a_list_shows_every_task_with_its_state(play: Play):
    if not play.source.capabilities.lists:
        pytest.skip("this dialect has no list")
    tasks = [play.submitted()[0] for _ in range(3)]
    tasks[1].state, tasks[2].state = State.PROCESSING, State.COMPLETED
    page = play.source.list_recent()
    assert {row.remote_id: row.state for row in page.observations} == {task.id: task.state for task in tasks}
    times = [row.created_at for row in page.observations if row.created_at]
    assert all(time.utcoffset() == timedelta(0) for time in times)


def test_an_empty_list_is_a_list(play: Play):
    if not play.source.capabilities.lists:
        pytest.skip("this dialect has no list")
    assert play.source.list_recent().observations == ()


@pytest.mark.parametrize("shape", NOT_THE_SHAPE.values(), ids=NOT_THE_SHAPE.keys())
def test_a_list_of_another_shape_is_never_a_whole_empty_one(play: Play, shape: Any):
    if not play.source.capabilities.lists:
        pytest.skip("this dialect has no list")
    play.remote.fault(Say(200, shape))
    try:
        page = play.source.list_recent()
    except SourceUnavailable:
        return
    assert page.observations == () and not page.is_whole


# results


def test_a_result_can_be_fetched_from_what_is_kept_about_it(play: Play):
    seen = play.seen_as(state=State.COMPLETED)
    (asset,) = seen.assets
    assert asset.name and "/" not in asset.name
    if asset.data is not None:
        assert asset.data
        return
    ref = json.loads(json.dumps(dict(asset.ref)))
    with play.source.open_asset(asset.url, ref, needs_auth=asset.needs_auth) as download:
        assert b"".join(download.chunks).startswith(b"bytes of /files/")
    has_key = any(KEY in value for value in play.remote.log[-1].headers.values())
    assert has_key is asset.needs_auth


# events


def test_an_event_nobody_signed_is_refused(play: Play):
    task, _ = play.submitted()
    body = json.dumps({"id": task.id, "request_id": task.id, "status": "succeeded"}).encode()
    with pytest.raises(WebhookRefused):
        play.source.parse_event({"content-type": "application/json"}, body, now=datetime.now(UTC))
