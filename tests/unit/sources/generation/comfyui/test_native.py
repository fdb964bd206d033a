"""The native dialect against recorded answers of ComfyUI 0.3.64, and the traps between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.sources.errors import SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import CancelAnswer, GenerationConnection, Order, Upload
from tasks_app.sources.generation.comfyui import open_comfyui
from tasks_app.sources.generation.comfyui.native import NativeComfyUi, is_targeted
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.replay import DROP, Remote, Say, recorded

SUCCEEDED = "5cf900b5-1ea2-41e8-8c3e-1adc0ec73223"
RUNNING = "4a84b4a3-6b17-4b5a-b85d-6400a6180e1a"
PENDING = "11111111-2222-3333-4444-555555555555"
VIDEO = "2baeff90-67ce-4652-86df-d3d2f1253a4e"
FAILED = "0157b0da-3bcd-4708-9b21-eb9f3418369b"
EMPTY = Say(200, {"queue_running": [], "queue_pending": []})
SHORT = {
    "key": "size",
    "kind": "image",
    "label": "Size",
    "workflow": {"1": {"class_type": "EmptyImage", "inputs": {"width": 5}}},
    "inputs": {"width": ["1", "width"], "picture": ["1", "picture"]},
    "parameters": [{"name": "width", "type": "integer"}, {"name": "picture", "type": "image"}],
}


@contextmanager
def opened(remote: Remote, **settings: Any) -> Iterator[NativeComfyUi]:
    source = open_comfyui(GenerationConnection("comfy", remote.url, Trust(), settings=settings))
    assert isinstance(source, NativeComfyUi)
    yield source
    source.close()


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        remote.on("GET", "/queue", EMPTY)
        yield remote


@pytest.fixture
def source(remote: Remote) -> Iterator[NativeComfyUi]:
    with opened(remote) as source:
        yield source


def make_order(offer: str = "plain-image", **fields: Any) -> Order:
    return Order(offer, fields.pop("parameters", {}), own_id=PENDING, idempotency_key="k", **fields)


def queue(*, running: tuple[Any, ...] = (), pending: tuple[Any, ...] = ()) -> Say:
    return Say(200, {"queue_running": list(running), "queue_pending": list(pending)})


# submitting


def test_our_own_id_is_the_prompts(remote: Remote, source: NativeComfyUi):
    remote.on("POST", "/prompt", recorded("comfyui", 3, prompt_id=PENDING))
    accepted = source.submit(make_order(parameters={"width": 64}))
    sent = remote.log[-1].json
    assert sent["prompt_id"] == accepted.remote_id == accepted.handle["id"] == PENDING
    assert sent["prompt"]["1"]["inputs"]["width"] == 64
    assert accepted.observation.state is State.PENDING


def test_an_older_server_that_takes_its_own_id_is_believed(remote: Remote, source: NativeComfyUi):
    remote.on("POST", "/prompt", recorded("comfyui", 3))
    assert source.submit(make_order()).remote_id == SUCCEEDED


def test_a_refused_workflow_names_node_and_field_and_our_parameter(remote: Remote):
    remote.on("POST", "/prompt", recorded("comfyui", 15))
    with opened(remote, offers=[SHORT]) as source, pytest.raises(SourceRefused) as caught:
        source.submit(make_order("size", parameters={"width": -5}))
    assert caught.value.kind == "invalid_request"
    assert str(caught.value) == "Node 1 (EmptyImage), width: Value -5 smaller than min of 1"
    assert list(caught.value.fields) == ["width"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(16, "does not exist"), (17, "Prompt has no outputs"), (19, "Node 1 \\(LoadImage\\)")],
)
def test_other_refusals_say_why(remote: Remote, source: NativeComfyUi, number: int, words: str):
    remote.on("POST", "/prompt", recorded("comfyui", number))
    with pytest.raises(SourceRefused, match=words) as caught:
        source.submit(make_order())
    assert caught.value.kind == "invalid_request"


def test_a_picture_is_stored_first_and_its_name_goes_into_the_graph(remote: Remote):
    remote.on("POST", "/upload/image", Say(200, {"name": "a (1).png", "subfolder": "in", "type": "input"}))
    remote.on("POST", "/prompt", recorded("comfyui", 3))
    with opened(remote, offers=[SHORT]) as source:
        source.submit(make_order("size", uploads={"picture": Upload("../x\0.png", "image/png", b"PNG!")}))
    upload, prompt = remote.log[-2:]
    assert b'filename="' + PENDING.encode() + b'-picture.png"' in upload.body and b"PNG!" in upload.body
    assert prompt.json["prompt"]["1"]["inputs"]["picture"] == "in/a (1).png"


def test_a_picture_whose_answer_is_lost_made_no_prompt(remote: Remote):
    remote.on("POST", "/upload/image", DROP)
    order = make_order("size", uploads={"picture": Upload("x.png", "image/png", b"PNG!")})
    with opened(remote, offers=[SHORT]) as source, pytest.raises(SourceUnavailable) as caught:
        source.submit(order)
    assert type(caught.value) is SourceUnavailable
    assert remote.calls("POST") == ["POST /upload/image"]


# what became of an order


@pytest.mark.parametrize("minutes", [0, 5], ids=["just now", "5 minutes ago"])
def test_an_order_that_is_nowhere_was_not_taken_once_it_had_time_to_arrive(
    remote: Remote, source: NativeComfyUi, minutes: int
):
    remote.on("GET", f"/history/{PENDING}", Say(200, {}))
    remote.on("GET", "/history", Say(200, {}))
    order = make_order(asked_at=datetime.now(UTC) - timedelta(minutes=minutes))
    if minutes:
        assert source.find(order) is None
        return
    with pytest.raises(SourceUnavailable) as caught:
        source.find(order)
    assert caught.value.kind == "too_early" and 0 < (caught.value.retry_after or 0) <= 10


@pytest.mark.parametrize("place", ["running", "pending", "history"])
def test_an_order_is_found_wherever_it_is(remote: Remote, source: NativeComfyUi, place: str):
    entry = [4, PENDING, {}, {}, []]
    is_running, is_pending = place == "running", place == "pending"
    remote.on(
        "GET",
        "/queue",
        queue(running=(entry,) if is_running else (), pending=(entry,) if is_pending else ()),
    )
    remote.on("GET", f"/history/{PENDING}", Say(200, {PENDING: {"status": {"status_str": "success"}}}))
    found = source.find(make_order())
    assert found is not None and found.remote_id == PENDING


def test_an_order_under_the_servers_own_id_is_found_by_our_mark(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", queue(running=([1, RUNNING, {}, {"task_portal": PENDING}, []],)))
    found = source.find(make_order())
    assert found is not None and found.remote_id == RUNNING


# following


@pytest.mark.parametrize(
    ("remote_id", "state", "place"), [(RUNNING, State.PROCESSING, None), (PENDING, State.PENDING, 1)]
)
def test_the_queue_tells_state_and_place(
    remote: Remote, source: NativeComfyUi, remote_id: str, state: State, place: int | None
):
    remote.on("GET", "/queue", recorded("comfyui", 8))
    seen = source.fetch({"id": remote_id})
    assert (seen.state, seen.queue_position, seen.progress) == (state, place, None)
    assert remote.calls() == ["GET /queue"]


def test_places_follow_the_numbers_not_the_order_of_the_heap(remote: Remote, source: NativeComfyUi):
    entries = [[9, "nine"], [-2, "front"], [3, "three"], ["x", "odd"], [1], "junk", [4, None]]
    remote.on("GET", "/queue", queue(pending=tuple(entries)))
    remote.on("GET", "/history", Say(200, {}))
    places = {seen.remote_id: seen.queue_position for seen in source.list_recent().observations}
    assert places == {"front": 1, "three": 2, "nine": 3, "odd": 4}


def test_a_success_shows_its_files(remote: Remote, source: NativeComfyUi):
    remote.replay("comfyui", 31)
    seen = source.fetch({"id": VIDEO})
    assert (seen.state, seen.kind, seen.problem) == (State.COMPLETED, "video", None)
    (asset,) = seen.assets
    assert asset.name == "portal_00001_.mp4"
    assert asset.url == f"{remote.url}/view?filename=portal_00001_.mp4&subfolder=video&type=output"
    assert asset.needs_auth
    assert seen.started_at == datetime(2026, 11, 20, 8, 4, 6, 216000, UTC)
    assert seen.finished_at == datetime(2026, 11, 20, 8, 4, 6, 651000, UTC)


def test_an_interruption_is_cancelled_not_failed(remote: Remote, source: NativeComfyUi):
    remote.replay("comfyui", 14)
    seen = source.fetch({"id": RUNNING})
    assert (seen.state, seen.word, seen.problem) == (State.CANCELLED, "error", None)
    assert seen.message == "Interrupted at node 2 (ImageScale)."


def test_a_failure_tells_message_and_node_and_keeps_the_stack_for_staff(
    remote: Remote, source: NativeComfyUi
):
    said = recorded("comfyui", 34)
    messages = said.body[FAILED]["status"]["messages"]
    messages[-1][1]["traceback"] = ["  File execution.py, line 496, in execute"]
    remote.on("GET", f"/history/{FAILED}", said)
    seen = source.fetch({"id": FAILED})
    assert seen.state is State.FAILED and seen.problem is not None
    assert (seen.problem.kind, seen.problem.code) == ("provider", "RuntimeError")
    assert "can't allocate memory" in seen.problem.text
    assert seen.problem.text.endswith("at node 1 (EmptyImage).")
    assert "execution.py" in seen.problem.detail and "execution.py" not in seen.problem.text


def test_a_deleted_prompt_is_not_found(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", recorded("comfyui", 11))
    remote.replay("comfyui", 12)
    with pytest.raises(SourceRefused) as caught:
        source.fetch({"id": PENDING})
    assert caught.value.kind == "not_found"


@pytest.mark.parametrize("remote_id", ["", "..", "../queue", "a b", None, ["x"], "x" * 300])
def test_an_id_that_cannot_be_one_is_never_put_into_a_path(
    remote: Remote, source: NativeComfyUi, remote_id: Any
):
    for call in (source.fetch, source.cancel):
        with pytest.raises(SourceRefused) as caught:
            call({"id": remote_id})
        assert caught.value.kind == "not_found"
    assert remote.log == []


def test_a_list_is_queue_and_history_with_the_newest_word(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", recorded("comfyui", 8))
    remote.on("GET", "/history", recorded("comfyui", 21))
    page = source.list_recent()
    assert {seen.remote_id: seen.state for seen in page.observations} == {
        RUNNING: State.CANCELLED,  # it went from the queue to the history between the two answers
        PENDING: State.PENDING,
        SUCCEEDED: State.COMPLETED,
    }
    assert page.is_whole


def test_a_list_with_a_full_history_is_not_whole(remote: Remote, source: NativeComfyUi):
    remote.on(
        "GET", "/history", lambda seen: Say(200, {f"p{n}": {} for n in range(int(seen.query["max_items"]))})
    )
    assert not source.list_recent().is_whole


def test_noise_in_the_history_is_no_crash(remote: Remote, source: NativeComfyUi):
    noise = {
        "a": None,
        "b": {
            "status": {"status_str": "success", "messages": [1, [], [None], ["x"], ["execution_start", 3]]}
        },
        "c": {"outputs": {"1": {"images": [{"filename": None}, 4, {"filename": "\ud800.png"}], "text": "x"}}},
        "d": {"status": {"status_str": "error", "messages": [["execution_error", {"timestamp": 1e300}]]}},
        "../e": {},
    }
    remote.on("GET", "/history", Say(200, noise))
    states = {seen.remote_id: seen.state for seen in source.list_recent().observations}
    assert states == {"a": None, "b": State.COMPLETED, "c": State.COMPLETED, "d": State.FAILED}


# cancelling: never anything but this prompt


def test_a_waiting_prompt_is_taken_out_of_the_queue(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", recorded("comfyui", 8), recorded("comfyui", 11))
    remote.on("POST", "/queue", recorded("comfyui", 10))
    remote.on("GET", f"/history/{PENDING}", Say(200, {}))
    assert source.cancel({"id": PENDING}) is CancelAnswer.REQUESTED
    assert [(seen.path, seen.json) for seen in remote.log if seen.method == "POST"] == [
        ("/queue", {"delete": [PENDING]})
    ]


def test_a_prompt_that_began_in_between_is_stopped(remote: Remote, source: NativeComfyUi):
    mine = [2, PENDING, {}, {}, []]
    remote.on("GET", "/queue", queue(pending=(mine,)), queue(running=(mine,)))
    remote.on("POST", "/queue", Say(200))
    remote.on("POST", f"/api/jobs/{PENDING}/cancel", Say(200, {"cancelled": True}))
    assert source.cancel({"id": PENDING}) is CancelAnswer.REQUESTED
    assert remote.calls("POST") == ["POST /queue", f"POST /api/jobs/{PENDING}/cancel"]


def test_a_running_prompt_is_interrupted_by_name(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", recorded("comfyui", 8))
    remote.replay("comfyui", 26)
    remote.on("POST", "/interrupt", recorded("comfyui", 13))
    assert source.cancel({"id": RUNNING}) is CancelAnswer.REQUESTED
    assert remote.log[-1].json == {"prompt_id": RUNNING}


def test_an_interrupt_is_not_sent_when_another_prompt_runs_by_now(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", recorded("comfyui", 8), queue(running=([7, SUCCEEDED],)))
    remote.replay("comfyui", 26, 14)
    assert source.cancel({"id": RUNNING}) is CancelAnswer.ALREADY_FINISHED
    assert "POST /interrupt" not in remote.calls()


@pytest.mark.parametrize("version", ["0.3.55", "0.3.63", "", "nightly", None, 3])
def test_a_server_whose_interrupt_may_hit_others_is_not_sent_one(
    remote: Remote, source: NativeComfyUi, version: Any
):
    remote.on("GET", "/queue", recorded("comfyui", 8))
    remote.on("GET", "/system_stats", Say(200, {"system": {"comfyui_version": version}}))
    assert source.cancel({"id": RUNNING}) is CancelAnswer.UNSUPPORTED
    assert "POST /interrupt" not in remote.calls()


def test_a_finished_prompt_is_left_alone(remote: Remote, source: NativeComfyUi):
    remote.replay("comfyui", 31)
    assert source.cancel({"id": VIDEO}) is CancelAnswer.ALREADY_FINISHED
    assert remote.calls("POST") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.3.64", True),
        ("v0.4.0", True),
        ("1.0.0-rc1", True),
        ("0.3.63", False),
        ("0.2.99", False),
        ("?", False),
    ],
)
def test_versions_with_a_targeted_interrupt(version: str, expected: bool):
    assert is_targeted(version) is expected


# looking at the source


def test_a_check_names_the_version(remote: Remote, source: NativeComfyUi):
    remote.replay("comfyui", 26)
    assert (source.check().text, source.check().version) == ("ComfyUI 0.3.64", "0.3.64")


def test_a_server_that_is_something_else_fails_the_check(remote: Remote, source: NativeComfyUi):
    remote.on("GET", "/queue", Say(200, "<html>hello</html>"))
    with pytest.raises(SourceUnavailable):
        source.check()


def test_a_strange_profile_is_refused():
    with pytest.raises(ValueError, match="native or v2"):
        open_comfyui(GenerationConnection("comfy", "http://127.0.0.1:1", Trust(), settings={"profile": "v3"}))
