"""Replicate against the vendor's published shapes and cog's recorded events."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import (
    CancelAnswer,
    GenerationConnection,
    Order,
    Upload,
)
from tasks_app.sources.generation.replicate import EVENTS, MAX_UPLOAD_BYTES, Replicate
from tasks_app.sources.generation.replicate_predictions import observation_of, progress_in
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.replay import Remote, Say

ORIGIN = "https://api.replicate.com"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
ASKED_AT = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)
PREDICTIONS = "/v1/predictions"
OFFER = {
    "key": "hello",
    "kind": "image",
    "label": "Hello",
    "version": VERSION,
    "input": {"safe": True},
    "parameters": [{"name": "text"}, {"name": "face", "type": "image"}],
}


def prediction(**changes: Any) -> dict[str, Any]:
    """As replicate.com documents it, running."""
    return {
        "id": "gm3qorzdhgbfurvjtvhg6dckhu",
        "model": "replicate/hello-world",
        "version": VERSION,
        "input": {"text": "Alice", "safe": True},
        "logs": "",
        "output": None,
        "error": None,
        "status": "processing",
        "created_at": "2026-11-20T08:00:01.765994Z",
        "started_at": "2026-11-20T08:00:02Z",
        "data_removed": False,
        "urls": {"get": f"{ORIGIN}/v1/predictions/x", "cancel": f"{ORIGIN}/v1/predictions/x/cancel"},
        **changes,
    }


def seen_as(**changes: Any) -> Any:
    seen = observation_of(prediction(**changes), ORIGIN)
    assert seen is not None
    return seen


def rows(*found: dict[str, Any], next: str | None = None) -> Say:
    return Say(200, {"next": next, "previous": None, "results": list(found)})


@contextmanager
def opened(url: str, offers: list[Any] | None = None, secret: str = "") -> Iterator[Replicate]:
    settings = {"offers": offers if offers is not None else [OFFER]}
    source = Replicate(
        GenerationConnection("r", url, Trust(), key="r8_x", webhook_secret=secret, settings=settings)
    )
    yield source
    source.close()


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


@pytest.fixture
def source(remote: Remote) -> Iterator[Replicate]:
    with opened(remote.url) as source:
        yield source


def make_order(**fields: Any) -> Order:
    fields = {"parameters": {"text": "Alice", "face": None}, "asked_at": ASKED_AT, **fields}
    return Order("hello", own_id="own-1", idempotency_key="k", **fields)


# submitting


@pytest.mark.parametrize(
    ("named", "path", "version"),
    [
        ({"version": VERSION}, PREDICTIONS, VERSION),
        ({"version": f"a/b:{VERSION}"}, PREDICTIONS, f"a/b:{VERSION}"),
        ({"version": None, "model": "acme/flux-2.1"}, "/v1/models/acme/flux-2.1/predictions", None),
        ({"version": None, "deployment": "acme/mine"}, "/v1/deployments/acme/mine/predictions", None),
    ],
    ids=["version", "full version", "model", "deployment"],
)
def test_an_order_goes_where_its_offer_says(
    remote: Remote, named: dict[str, Any], path: str, version: str | None
):
    remote.on("POST", path, Say(201, prediction(status="starting")))
    with opened(remote.url, [{**OFFER, **named}]) as source:
        accepted = source.submit(make_order())
    (sent,) = remote.log
    assert sent.json.get("version") == version
    assert sent.json["input"] == {"safe": True, "text": "Alice"}
    assert sent.headers["authorization"] == "Bearer r8_x"
    assert "webhook" not in sent.json
    assert accepted.observation.state is State.PENDING


@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_the_address_may_name_the_version_of_the_api(remote: Remote, base: str):
    remote.on("GET", f"{PREDICTIONS}/x", Say(200, prediction()))
    with opened(remote.url + base) as source:
        assert source.fetch({"id": "x"}).state is State.PROCESSING


def test_events_are_asked_for_when_there_is_an_address(remote: Remote, source: Replicate):
    remote.on("POST", PREDICTIONS, Say(201, prediction()))
    source.submit(make_order(webhook_url="https://portal.example/hooks/1/t/"))
    assert remote.log[-1].json["webhook"] == "https://portal.example/hooks/1/t/"
    assert remote.log[-1].json["webhook_events_filter"] == EVENTS


def test_a_picture_goes_along_as_a_data_url(remote: Remote, source: Replicate):
    remote.on("POST", PREDICTIONS, Say(201, prediction()))
    source.submit(make_order(uploads={"face": Upload("x.png", "image/png", b"PNG!")}))
    assert remote.log[-1].json["input"]["face"] == "data:image/png;base64,UE5HIQ=="


def test_pictures_that_are_too_large_are_refused_without_a_call(remote: Remote, source: Replicate):
    order = make_order(uploads={"face": Upload("x.png", "image/png", bytes(MAX_UPLOAD_BYTES + 1))})
    with pytest.raises(SourceRefused) as caught:
        source.submit(order)
    assert caught.value.kind == "invalid_request" and list(caught.value.fields) == ["face"]
    assert remote.log == []


def test_the_providers_own_words_say_how_long_to_wait(remote: Remote, source: Replicate):
    words = "Request was throttled. Your rate limit resets in ~30s."
    remote.on("POST", PREDICTIONS, Say(429, {"detail": words, "status": 429, "title": "Too many requests"}))
    with pytest.raises(SourceUnavailable) as caught:
        source.submit(make_order())
    assert (caught.value.kind, caught.value.retry_after) == ("rate_limited", 30)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"model": "a/b"},
        {"version": "latest"},
        {"version": None, "model": "../.."},
        {"version": None, "model": "a/b/../../account"},
        {"input": ["x"]},
    ],
    ids=range(6),
)
def test_an_offer_that_names_no_model_is_refused(changes: dict[str, Any]):
    with (
        pytest.raises(ValueError, match='Offer "hello"'),
        opened("http://127.0.0.1:1", [{**OFFER, **changes}]),
    ):
        pass


# what became of an order


def test_the_prediction_of_that_time_with_that_input_is_ours(remote: Remote, source: Replicate):
    other = prediction(id="b", input={"text": "Bob", "safe": True})
    old = prediction(id="old", created_at="2026-11-20T07:00:00Z")
    with_picture = prediction(id="ours", input={"text": "Alice", "safe": True, "face": "https://x.example/1"})
    remote.on("GET", PREDICTIONS, rows(other, with_picture, old))
    found = source.find(make_order())
    assert found is not None and found.remote_id == "ours"


def test_what_is_known_to_be_something_else_is_passed_over(remote: Remote, source: Replicate):
    remote.on("GET", PREDICTIONS, rows(prediction(id="mine"), prediction(id="earlier")))
    found = source.find(make_order(), known={"earlier"})
    assert found is not None and found.remote_id == "mine"


def test_another_version_or_model_is_not_ours(remote: Remote, source: Replicate):
    remote.on("GET", PREDICTIONS, rows(prediction(version="0" * 64)))
    assert source.find(make_order()) is None


def test_a_list_that_reaches_back_proves_that_there_is_none(remote: Remote, source: Replicate):
    remote.on(
        "GET", PREDICTIONS, rows(prediction(id="old", created_at="2026-11-20T06:00:00Z"), next="?cursor=2")
    )
    assert source.find(make_order()) is None
    assert len(remote.log) == 1


def test_an_order_of_a_moment_ago_may_still_be_on_its_way(remote: Remote, source: Replicate):
    remote.on("GET", PREDICTIONS, rows())
    with pytest.raises(SourceUnavailable) as caught:
        source.find(make_order(asked_at=datetime.now(UTC)))
    assert caught.value.kind == "too_early"


@pytest.mark.parametrize(
    "found",
    [
        [prediction(id="a"), prediction(id="b")],
        [prediction(input=None, data_removed=True)],
        [prediction(input={}, data_removed=True)],
    ],
    ids=["two of them", "without input", "removed"],
)
def test_without_proof_the_outcome_stays_unknown(remote: Remote, source: Replicate, found: list[Any]):
    remote.on("GET", PREDICTIONS, rows(*found))
    with pytest.raises(OutcomeUnknown):
        source.find(make_order())


def test_a_list_without_end_is_given_up(remote: Remote, source: Replicate):
    young = prediction(input={"text": "Bob"})
    remote.on("GET", PREDICTIONS, rows(young, next=f"{ORIGIN}{PREDICTIONS}?cursor=c1"))
    with pytest.raises(OutcomeUnknown):
        source.find(make_order())
    assert len(remote.log) == 5


# following


def test_pages_are_asked_by_cursor_whatever_host_the_address_names(remote: Remote, source: Replicate):
    url = "https://evil.example/v1/predictions?cursor=cD0y%3D"
    remote.on("GET", PREDICTIONS, rows(prediction(), next=url), rows())
    first = source.list_recent()
    second = source.list_recent(first.cursor)
    assert (first.cursor, first.is_whole, second.is_whole) == ("cD0y=", False, False)
    assert first.observations[0].is_partial
    assert remote.log[1].query == {"cursor": "cD0y="}


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("starting", State.PENDING),
        ("processing", State.PROCESSING),
        ("succeeded", State.COMPLETED),
        ("failed", State.FAILED),
        ("aborted", State.FAILED),
        ("canceled", State.CANCELLED),
        ("dreaming", None),
    ],
)
def test_words(word: str, state: State | None):
    assert seen_as(status=word).state is state


def test_a_deadline_before_the_start_took_too_long():
    problem = seen_as(status="aborted").problem
    assert (problem.kind, problem.code) == ("timed_out", "aborted") and problem.text


@pytest.mark.parametrize(
    ("logs", "percent"),
    [
        ("  0%|          | 0/50\n 42%|####2     | 21/50 [00:03<00:04]\n", 42),
        (" 10%|#  | 1/10\r 20%|## | 2/10\r 30%|###| 3/10", 30),
        ("99%|###\nStage 2\n 5%|#   | 1/20", 5),
        ("a 100% sure prompt\nstep 3/4\n", None),
        (" 250%|x", 100),
        ("", None),
    ],
    ids=["lines", "one line rewritten", "a second bar", "no bar", "absurd", "empty"],
)
def test_progress_is_the_newest_bar_in_the_log(logs: str, percent: float | None):
    seen = seen_as(logs=logs)
    assert seen.progress == percent
    assert bool(seen.message) == (percent is not None)
    assert seen.log_lines == tuple(logs.replace("\r", "\n").splitlines())


def test_a_log_that_was_not_told_is_not_an_empty_one():
    row = prediction()
    del row["logs"]
    seen = observation_of(row, ORIGIN)
    assert seen is not None and seen.log_lines is None
    assert progress_in(()) is None


FILE = "https://replicate.delivery/pbxt/abc/out.mp4"


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (FILE, ["out.mp4"]),
        ([FILE, FILE], ["out.mp4", "out-2.mp4"]),
        ({"video": FILE, "more": {"frames": [FILE]}, "text": "hello"}, ["out.mp4", "out-2.mp4"]),
        ("data:image/png;base64,aGk=", ["output.png"]),
        ({"../x": "data:image/png;base64,aGk="}, ["___x.png"]),
        (["https://x.example/..%2f..%2fetc", "https://x.example/%00a/"], ["_.._etc", "output"]),
        ("hello Alice", []),
        (["javascript:alert(1)", "data:broken", "ftp://x/y", "file:///etc/passwd", None, 3], []),
    ],
    ids=["text", "list", "object", "data", "odd key", "odd names", "no file", "no address"],
)
def test_files_are_found_wherever_the_output_has_them(output: Any, names: list[str]):
    assert [asset.name for asset in seen_as(status="succeeded", output=output).assets] == names


def test_an_output_without_files_is_shown_as_what_it_is():
    assert seen_as(status="succeeded", output="hello Alice").metadata["output"] == "hello Alice"


def test_files_live_an_hour_and_need_the_key_only_at_the_api():
    own = f"{ORIGIN}/v1/files/abc/download"
    done = {"status": "succeeded", "completed_at": "2026-11-20T08:10:00Z"}
    first, second = seen_as(output=[FILE, own], **done).assets
    assert first.expires_at == datetime(2026, 11, 20, 9, 10, tzinfo=UTC)
    assert (first.needs_auth, second.needs_auth) == (False, True)


def test_an_output_of_great_depth_or_length_is_cut():
    deep: Any = FILE
    for _ in range(50):
        deep = [deep]
    assert seen_as(status="succeeded", output=deep).assets == ()
    assert len(seen_as(status="succeeded", output=[[FILE] * 300] * 300).assets) == 200


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("Prediction failed: ValueError: NSFW content detected", "content_policy", "NSFW content detected"),
        (
            'Traceback (most recent call last):\n  File "/src/p.py", line 3, in x\nRuntimeError: boom',
            "provider",
            "boom",
        ),
        (
            'It broke.\nTraceback (most recent call last):\n  File "/src/p.py", line 3',
            "provider",
            "It broke.",
        ),
        (None, "provider", "without a message"),
        ({"detail": "odd"}, "provider", "odd"),
    ],
    ids=["policy", "stack", "message and stack", "nothing", "object"],
)
def test_a_failure_tells_its_message_without_the_stack(said: Any, kind: str, text: str):
    problem = seen_as(status="failed", error=said).problem
    assert problem.kind == kind and text in problem.text
    assert "/src/p.py" not in problem.text


# cancelling


@pytest.mark.parametrize(
    ("answer", "now", "expected"),
    [
        (Say(200, prediction(status="canceled")), None, CancelAnswer.REQUESTED),
        (Say(200, prediction(status="processing")), None, CancelAnswer.REQUESTED),
        (Say(200, prediction(status="succeeded")), None, CancelAnswer.ALREADY_FINISHED),
        (Say(404, {"detail": "not found"}), None, CancelAnswer.NOT_FOUND),
        (Say(422, {"detail": "no"}), "failed", CancelAnswer.ALREADY_FINISHED),
        (Say(422, {"detail": "no"}), "processing", CancelAnswer.UNSUPPORTED),
    ],
    ids=["cancelled", "a wish", "too late", "unknown", "refused after its end", "refused"],
)
def test_what_came_of_a_cancel(
    remote: Remote, source: Replicate, answer: Say, now: str | None, expected: CancelAnswer
):
    remote.on("POST", f"{PREDICTIONS}/x/cancel", answer)
    remote.on("GET", f"{PREDICTIONS}/x", Say(200, prediction(status=now)))
    assert source.cancel({"id": "x"}) is expected


# looking at the source


def test_a_check_names_the_account(remote: Remote, source: Replicate):
    remote.on("GET", "/v1/account", Say(200, {"type": "organization", "username": "acme"}), Say(200, {}))
    assert source.check().text == "Replicate, account acme"
    with pytest.raises(SourceUnavailable):
        source.check()
