"""The task API adapter against recorded answers of its own server, and servers reached by settings alone."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation import task_api
from tasks_app.sources.generation.base import CancelAnswer, GenerationConnection, Order, Upload
from tasks_app.sources.generation.task_api import TaskApi
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.contract import KEY, PNG
from tests.unit.sources.generation.replay import Remote, Say, load, recorded

TASKS = "/api/v1/tasks"
PICTURE = Upload("kite.png", "image/png", PNG)
NOW = datetime.now(UTC)


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as server:
        yield server


def open_api(remote: Remote, key: str = "", **settings: Any) -> TaskApi:
    return TaskApi(GenerationConnection("seed", remote.url, Trust(), key=key, settings=settings))


def order(offer: str = "video", *, asked_at: datetime | None = NOW, **parameters: Any) -> Order:
    uploads = {"image": parameters.pop("image")} if "image" in parameters else {}
    return Order(offer, parameters, "own-1", "key-1", uploads, asked_at=asked_at)


def see(remote: Remote, body: Any, remote_id: str = "vid_1", **settings: Any):
    remote.on("GET", f"{TASKS}/{remote_id}", Say(200, body))
    return open_api(remote, **settings).fetch({"id": remote_id})


# the body that is sent


def test_a_video_is_ordered_as_the_server_was_seen_to_take_it(remote: Remote):
    remote.replay("seed", 13)
    pair = load("seed", 13)
    given = {name: value for name, value in pair["request"]["body"].items() if name != "image"}
    accepted = open_api(remote).submit(order(image=PICTURE, **given))
    assert remote.log[0].json == pair["request"]["body"] | {"image": b64encode(PNG).decode()}
    assert accepted.remote_id == pair["response"]["body"]["task_id"]
    assert accepted.handle == {"id": accepted.remote_id, "kind": "video"}
    assert (accepted.observation.state, accepted.observation.progress) == (State.PENDING, None)


def test_scenes_are_numbered_and_share_picture_and_prompt(remote: Remote):
    remote.replay("seed", 61)
    scenes = [{"prompt": "a harbour", "duration": 2}, {"image": "https://x.example/a.png"}]
    accepted = open_api(remote).submit(order("quick", scenes=scenes, prompt="the sea", image=PICTURE))
    picture = b64encode(PNG).decode()
    assert remote.log[0].json == {
        "mode": "quick",
        "scenes": [
            {"scene_id": "scene_001", "image": picture, "duration": 2, "prompt": "a harbour"},
            {"scene_id": "scene_002", "image": "https://x.example/a.png", "duration": 5, "prompt": "the sea"},
        ],
    }
    assert accepted.observation.kind == "workflow"


@pytest.mark.parametrize(
    "scenes", [[], "x", {}, [1], [{}] * 101, [{"scene_id": "scene_002"}], [{}, {"scene_id": "scene_003"}]]
)
def test_scenes_with_a_gap_are_refused_before_the_server_stumbles(remote: Remote, scenes: Any):
    with pytest.raises(SourceRefused) as caught:
        open_api(remote).submit(order("quick", scenes=scenes))
    assert "scenes" in caught.value.fields and remote.log == []


def test_a_script_goes_to_the_workflow(remote: Remote):
    remote.on("POST", "/api/v1/workflow/generate", Say(200, {"task_id": "workflow_1", "status": "pending"}))
    accepted = open_api(remote).submit(order("workflow", script="INT. HARBOUR", config={"fps": 30}))
    assert remote.log[0].json == {"script": "INT. HARBOUR", "config": {"fps": 30}}
    assert accepted.observation.kind == "workflow"


def test_images_are_offered_only_where_the_server_makes_tasks_of_them(remote: Remote):
    assert [offer.key for offer in open_api(remote).offers] == ["video", "quick", "workflow"]
    source = open_api(remote, image_tasks=True)
    assert [offer.key for offer in source.offers] == ["video", "quick", "workflow", "image"]
    remote.on("POST", "/api/v1/images/generate", Say(200, {"task_id": "img_1", "status": "pending"}))
    assert source.submit(order("image", prompt="x")).observation.kind == "image"


@pytest.mark.parametrize(("number", "words"), [(11, "Invalid base64"), (12, "Failed to download image")])
def test_a_picture_the_server_cannot_read_is_refused_although_it_says_500(
    remote: Remote, number: int, words: str
):
    remote.replay("seed", number)
    with pytest.raises(SourceRefused, match=words) as caught:
        open_api(remote).submit(order(image=PICTURE))
    assert caught.value.kind == "invalid_request"


@pytest.mark.parametrize(("number", "path"), [(50, "quick"), (57, "image")])
def test_any_other_500_or_503_leaves_the_outcome_unknown(remote: Remote, number: int, path: str):
    remote.replay("seed", number)
    given = {"scenes": [{}]} if path == "quick" else {"prompt": "x"}
    with pytest.raises(OutcomeUnknown):
        open_api(remote, image_tasks=True).submit(order(path, **given))


def test_a_missing_field_is_named(remote: Remote):
    remote.replay("seed", 8)
    with pytest.raises(SourceRefused, match="image: Field required") as caught:
        open_api(remote).submit(order(prompt="x"))
    assert caught.value.fields == {"image": "Field required"}


# what is read


def test_a_recorded_video_stays_without_a_number_until_it_is_done(remote: Remote):
    remote.replay("seed", 17)
    seen = open_api(remote).fetch({"id": "vid_52535c757134"})
    assert (seen.state, seen.progress, seen.kind) == (State.PROCESSING, None, "video")
    assert seen.created_at == datetime(2026, 11, 20, 7, 58, 23, 149019, UTC)
    assert seen.finished_at is None and seen.problem is None


def test_a_recorded_workflow_moves(remote: Remote):
    remote.replay("seed", 62)
    assert open_api(remote).fetch({"id": "quick_workflow_d0eafe2e6b04"}).progress == 23


@pytest.mark.parametrize(
    ("remote_id", "progress", "settings", "seen"),
    [
        ("vid_1", 0, {}, None),
        ("vid_1", 1, {}, 1),
        ("vid_1", 0, {"zero_progress": ["video"]}, 0),
        ("workflow_1", 0, {}, 0),
        ("other_1", 0, {}, None),
        ("other_1", 0, {"kinds": {"other_": "workflow"}}, 0),
        ("vid_1", 250, {}, 100),
        ("workflow_1", -3, {}, 0),
        ("vid_1", "45 %", {}, 45),
        ("vid_1", True, {}, None),
        ("vid_1", None, {}, None),
        ("vid_1", 10**400, {}, None),
        ("vid_1", [50], {}, None),
    ],
)
def test_progress_is_a_number_only_where_it_says_something(
    remote: Remote, remote_id: str, progress: Any, settings: dict[str, Any], seen: float | None
):
    body = {"task_id": remote_id, "status": "processing", "progress": progress}
    assert see(remote, body, remote_id, **settings).progress == seen


@pytest.mark.parametrize("number", [21, 22, 40, 56], ids=["410", "500", "410 at once", "410 workflow"])
def test_every_way_of_saying_cancelled_is_understood(remote: Remote, number: int):
    said = recorded("seed", number)
    remote.on("GET", f"{TASKS}/vid_1", said)
    assert open_api(remote).fetch({"id": "vid_1"}).state is State.CANCELLED


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"detail": "Task not found"}, SourceRefused),
        (410, {"error": {"message": "The task has expired and was deleted"}}, SourceRefused),
        (404, "<html>404</html>", SourceUnavailable),
        (410, "<html>gone</html>", SourceUnavailable),
        (500, {"error": {"message": "boom"}}, SourceUnavailable),
        (200, {"task_id": "vid_2", "status": "completed"}, SourceUnavailable),
        (200, {"task_id": "vid_1"}, SourceUnavailable),
        (200, {"task_id": "vid_1", "status": 3}, SourceUnavailable),
    ],
)
def test_what_says_nothing_about_the_task_is_an_error(remote: Remote, status: int, body: Any, error: type):
    remote.on("GET", f"{TASKS}/vid_1", Say(status, body))
    with pytest.raises(error) as caught:
        open_api(remote).fetch({"id": "vid_1"})
    assert (caught.value.kind == "not_found") is (error is SourceRefused)


@pytest.mark.parametrize("remote_id", ["", "..", ".", "a/b", "a?b", "a b", "x" * 300, None, ["a"]])
def test_an_id_that_cannot_stand_in_a_path_is_never_asked_for(remote: Remote, remote_id: Any):
    source = open_api(remote)
    for ask in (source.fetch, source.cancel):
        with suppress(SourceRefused):
            assert ask({"id": remote_id}) is CancelAnswer.NOT_FOUND
    with pytest.raises(SourceRefused):
        source.handle_of(remote_id)
    assert remote.log == []


def test_a_task_forgotten_over_a_restart_is_not_found(remote: Remote):
    remote.replay("seed", 66)
    with pytest.raises(SourceRefused) as caught:
        open_api(remote).fetch({"id": "vid_52535c757134"})
    assert caught.value.kind == "not_found"


# failures


@pytest.mark.parametrize(
    ("number", "kind", "words", "retryable"),
    [
        (35, "provider", "Video generation failed: upstream exploded", True),
        (36, "rate_limited", "Video generation failed: too many requests", True),
        (63, "provider", "missing 1 required positional argument", None),
    ],
)
def test_recorded_failures_have_a_kind_and_words(
    remote: Remote, number: int, kind: str, words: str, retryable: bool | None
):
    remote.replay("seed", number)
    path = load("seed", number)["request"]["path"]
    problem = open_api(remote).fetch({"id": path.rpartition("/")[2]}).problem
    assert problem is not None
    assert (problem.kind, problem.retryable) == (kind, retryable)
    assert words in problem.text and "Traceback" not in problem.text
    assert "<removed>" in problem.detail and "removed" not in problem.text


TRACE = (
    'Traceback (most recent call last):\n  File "/srv/app/video.py", line 7, in make\n    go()\nValueError: x'
)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            {"type": "VideoGenerationError", "message": "Content policy violation", "retryable": True},
            "content_policy",
            "Content policy violation",
        ),
        ({"message": "", "type": "KeyError"}, "provider", "KeyError"),
        ({"message": f"It broke\n{TRACE}", "type": "X"}, "provider", "It broke"),
        ({"message": TRACE}, "provider", "ValueError: x"),
        (TRACE, "provider", "ValueError: x"),
        ("out of credit", "no_credit", "out of credit"),
        ({"type": "TimeoutError", "message": "gave up"}, "timed_out", "gave up"),
        ({"message": "wrapped", "original_error": "flagged as nsfw"}, "content_policy", "wrapped"),
        ({"error_code": "insufficient_quota"}, "no_credit", "insufficient_quota"),
        (None, "provider", "The server gave no reason."),
        ([1, 2], "provider", "The server gave no reason."),
        ({"message": {"deep": 1}}, "provider", "The server gave no reason."),
        ({"message": "\0" * 5 + "x" * 5000}, "provider", None),
    ],
)
def test_an_error_becomes_plain_words_and_its_stack_stays_with_staff(
    remote: Remote, error: Any, kind: str, text: str | None
):
    seen = see(remote, {"task_id": "vid_1", "status": "failed", "error": error, "traceback": TRACE})
    assert seen.problem is not None and seen.problem.kind == kind
    assert text is None or seen.problem.text == text
    assert len(seen.problem.text) <= 2000
    if kind == "content_policy":
        assert seen.problem.retryable is False
    shown = seen.problem.text + seen.message + json.dumps(seen.raw) + json.dumps(seen.metadata)
    assert "/srv/app" not in shown and "Traceback" not in shown
    if "Traceback" in str(error):
        assert "/srv/app/video.py" in seen.problem.detail


def test_a_stack_of_any_language_is_kept_from_the_shown_answer(remote: Remote):
    error = {"message": "boom", "traceback": "frame 7 of /srv/app/video"}
    seen = see(remote, {"task_id": "vid_1", "status": "failed", "error": error})
    assert seen.raw["error"] == {"message": "boom"}
    assert seen.problem is not None and "frame 7 of /srv/app/video" in seen.problem.detail


def test_a_failed_row_of_a_list_waits_for_its_error(remote: Remote):
    remote.replay("seed", 60)
    remote.on("GET", TASKS, Say(307, None, {"Location": f"{remote.url}{TASKS}/"}))
    row = open_api(remote).list_recent().observations[1]
    assert (row.state, row.problem, row.is_partial) == (State.FAILED, None, True)
    assert row.message == "Video generation failed: Content policy violation"
    assert row.finished_at == datetime(2026, 11, 20, 7, 58, 28, 255265, UTC)


# results


@pytest.mark.parametrize(
    ("result", "names"),
    [
        ({"service": "veo3", "result": {"video_url": "https://cdn.example/a.mp4"}}, ["a.mp4"]),
        ({"video_url": "https://cdn.example/a.mp4"}, ["a.mp4"]),
        (
            {"video_url": "https://c.example/a.mp4", "result": {"video_url": "https://c.example/a.mp4"}},
            ["a.mp4"],
        ),
        ({"result": {"image_url": "/files/b.png"}}, ["b.png"]),
        ({"images": ["https://c.example/1.png", {"url": "https://c.example/2.png"}]}, ["1.png", "2.png"]),
        ({"images": [{"b64_json": b64encode(PNG).decode()}]}, ["vid_1-1"]),
        ({"url": "data:image/png;base64," + b64encode(PNG).decode()}, ["vid_1-1.png"]),
        ({"video_url": "https://c.example/%2e%2e%2fetc%2fpasswd"}, ["passwd"]),
        ({"video_url": "https://c.example/"}, ["vid_1-1"]),
        ({"video_url": "file:///etc/passwd"}, []),
        ({"video_url": "javascript:alert(1)"}, []),
        ({"video_url": "https://user:pw@c.example/a.mp4"}, []),
        ({"video_url": ["https://c.example/a.mp4"]}, []),
        ({"url": "data:image/png;base64,####"}, []),
        ({"video_url": "http://[::1"}, []),
        ("https://c.example/a.mp4", []),
        (None, []),
    ],
)
def test_results_are_found_wherever_the_server_puts_them(remote: Remote, result: Any, names: list[str]):
    seen = see(remote, {"task_id": "vid_1", "status": "completed", "result": result})
    assert [asset.name for asset in seen.assets] == names
    assert seen.state is State.COMPLETED


def test_a_workflow_brings_its_film_first_and_then_its_parts(remote: Remote):
    def asset(name: str, kind: str = "video") -> dict[str, Any]:
        return {"filename": name, "url": f"/api/v1/workflow/assets/w/{name}", "size_bytes": 7, "type": kind}

    result = {
        "video_url": "/api/v1/workflow/assets/w/final.mp4",
        "video_path": "/srv/output/final.mp4",
        "metadata": {"title": "Harbour"},
        "assets": {
            "character_references": [asset("anna.png", "image")],
            "scene_images": [asset("one.png", "image")],
            "scene_videos": [asset("one.mp4"), asset("two.mp4")],
            "final_video": asset("final.mp4"),
            "metadata_file": asset("m.json", "json"),
        },
        "duration": 12.5,
        "scene_count": 2,
        "character_count": 1,
    }
    body = {"task_id": "workflow_1", "status": "completed", "progress": 100, "result": result}
    remote.on("GET", f"{TASKS}/workflow_1", Say(200, body))
    seen = open_api(remote, key=KEY).fetch({"id": "workflow_1"})
    assert [asset.name for asset in seen.assets] == ["final.mp4", "one.mp4", "two.mp4", "one.png", "anna.png"]
    assert {asset.url.startswith(remote.url + "/api/v1/workflow/assets/") for asset in seen.assets} == {True}
    assert seen.assets[1].size == 7 and all(asset.needs_auth for asset in seen.assets)
    assert seen.metadata == {"title": "Harbour", "duration": 12.5, "scene_count": 2, "character_count": 1}


def test_only_the_own_origin_gets_the_key_for_a_download(remote: Remote):
    body = {"task_id": "vid_1", "status": "completed", "result": {"video_url": "https://cdn.example/a.mp4"}}
    remote.on("GET", f"{TASKS}/vid_1", Say(200, body))
    assert [a.needs_auth for a in open_api(remote, key=KEY).fetch({"id": "vid_1"}).assets] == [False]


@pytest.mark.parametrize("needs_auth", [True, False])
def test_a_download_carries_the_key_only_when_it_needs_it(remote: Remote, needs_auth: bool):
    remote.on("GET", "/files/a.mp4", Say(200, b"bytes", {"Content-Type": "video/mp4"}))
    source = open_api(remote, key=KEY)
    with source.open_asset(remote.url + "/files/a.mp4", {}, needs_auth=needs_auth) as download:
        assert b"".join(download.chunks) == b"bytes"
    assert (remote.log[-1].headers.get("authorization") == f"Bearer {KEY}") is needs_auth


# cancelling


@pytest.mark.parametrize(
    ("before", "answer", "after", "expected"),
    [
        ("processing", recorded("seed", 20), "processing", CancelAnswer.REQUESTED),
        ("processing", recorded("seed", 25), "completed", CancelAnswer.ALREADY_FINISHED),
        ("processing", recorded("seed", 25), "failed", CancelAnswer.ALREADY_FINISHED),
        ("processing", recorded("seed", 25), "410", CancelAnswer.ALREADY_FINISHED),
        ("processing", recorded("seed", 25), "404", CancelAnswer.NOT_FOUND),
        ("processing", recorded("seed", 25), "processing", CancelAnswer.UNSUPPORTED),
        (
            "processing",
            Say(409, {"error": {"message": "finished"}}),
            "completed",
            CancelAnswer.ALREADY_FINISHED,
        ),
        ("processing", Say(404, {"detail": "unknown"}), "404", CancelAnswer.NOT_FOUND),
        ("processing", Say(200, {"success": False}), "completed", CancelAnswer.ALREADY_FINISHED),
        ("processing", Say(405, {"detail": "Method Not Allowed"}), "processing", CancelAnswer.UNSUPPORTED),
        ("dozing", Say(204), "processing", CancelAnswer.REQUESTED),
        ("completed", None, "completed", CancelAnswer.ALREADY_FINISHED),
        ("410", None, "410", CancelAnswer.ALREADY_FINISHED),
        ("404", None, "404", CancelAnswer.NOT_FOUND),
    ],
)
def test_a_cancel_reads_before_and_after_a_refusal(
    remote: Remote, before: str, answer: Say | None, after: str, expected: CancelAnswer
):
    def say(word: str) -> Say:
        return {"410": recorded("seed", 21), "404": recorded("seed", 6)}.get(
            word, Say(200, {"task_id": "vid_1", "status": word})
        )

    remote.on("GET", f"{TASKS}/vid_1", say(before), say(after))
    if answer:
        remote.on("DELETE", f"{TASKS}/vid_1", answer)
    assert open_api(remote).cancel({"id": "vid_1"}) is expected
    assert len(remote.calls("DELETE")) == (answer is not None)


def test_a_cancel_that_meets_trouble_is_tried_again_later(remote: Remote):
    remote.on("GET", f"{TASKS}/vid_1", Say(200, {"task_id": "vid_1", "status": "processing"}))
    remote.on("DELETE", f"{TASKS}/vid_1", Say(500, {"error": {"message": "database is locked"}}))
    with pytest.raises(SourceUnavailable):
        open_api(remote).cancel({"id": "vid_1"})


def test_where_a_cancel_destroys_an_unknown_state_is_left_alone(remote: Remote):
    remote.on("GET", f"{TASKS}/vid_1", Say(200, {"task_id": "vid_1", "status": "dozing"}))
    assert open_api(remote, can={"cancel_deletes": True}).cancel({"id": "vid_1"}) is CancelAnswer.UNSUPPORTED
    assert remote.calls("DELETE") == []


# listing


def test_the_recorded_list_stands_behind_a_redirect(remote: Remote):
    remote.replay("seed", 3, 65, origin=remote.url)
    page = open_api(remote).list_recent()
    assert remote.calls() == [f"GET {TASKS}", f"GET {TASKS}/"]
    words = {row.remote_id: row.state for row in page.observations}
    assert words["vid_a7fbf0d3697b"] is State.CANCELLED
    assert (words["quick_workflow_cbb50ee5ad85"], page.is_whole) == (State.CANCELLED, True)
    assert {row.kind for row in page.observations} == {"video", "workflow"}
    assert all(row.is_partial for row in page.observations)


def test_a_row_that_cannot_be_read_makes_the_list_incomplete(remote: Remote):
    remote.on("GET", TASKS, Say(200, [{"task_id": "vid_1", "status": "pending"}, 7, {"task_id": "../x"}]))
    page = open_api(remote).list_recent()
    assert [row.remote_id for row in page.observations] == ["vid_1"]
    assert not page.is_whole


def test_pages_are_followed_on_the_same_server_only(remote: Remote):
    row = {"task_id": "vid_1", "status": "pending"}
    remote.on("GET", TASKS, Say(200, [row], {"Link": f'<{remote.url}{TASKS}?after=vid_1&n=2>; rel="next"'}))
    remote.on(
        "GET", f"{TASKS}?after=vid_1&n=2", Say(200, [], {"Link": '<https://evil.example/x>; rel="next"'})
    )
    source = open_api(remote)
    page = source.list_recent()
    assert (page.cursor, page.is_whole) == (f"{TASKS}?after=vid_1&n=2", False)
    last = source.list_recent(page.cursor)
    assert (last.observations, last.cursor, last.is_whole) == ((), "", False)
    with pytest.raises(SourceRefused):
        source.list_recent("//evil.example/x")


# what became of an order whose answer was lost


def rows(*times: tuple[str, float]) -> Say:
    """Rows created so many seconds after the order, in the server's naive UTC."""
    made = [(task_id, (NOW + timedelta(seconds=after)).replace(tzinfo=None)) for task_id, after in times]
    return Say(200, [{"task_id": t, "status": "pending", "created_at": at.isoformat()} for t, at in made])


def find(remote: Remote, answer: Say, *, known: tuple[str, ...] = (), ago: float = 0, **settings: Any):
    """The order was sent at NOW - `ago` seconds; rows are placed around NOW."""
    remote.on("GET", TASKS, answer)
    return open_api(remote, **settings).find(order(asked_at=NOW - timedelta(seconds=ago)), known)


OLD = ("vid_old", -3600.0)


def test_the_one_new_task_of_its_kind_is_the_order(remote: Remote):
    answer = rows(OLD, ("vid_known", 1), ("quick_workflow_9", 1), ("vid_new", 1))
    found = find(remote, answer, known=("vid_known",))
    assert found is not None and found.remote_id == "vid_new"


def test_several_new_tasks_prove_nothing(remote: Remote):
    with pytest.raises(OutcomeUnknown) as caught:
        find(remote, rows(OLD, ("vid_a", 1), ("vid_b", 1)), ago=300)
    assert caught.value.kind == "ambiguous"


def test_a_task_whose_time_is_not_told_may_be_the_order(remote: Remote):
    found = find(remote, Say(200, [{"task_id": "vid_x", "status": "pending"}]))
    assert found is not None and found.remote_id == "vid_x"


def test_an_order_may_still_be_on_its_way(remote: Remote):
    remote.on("GET", TASKS, rows(OLD))
    with pytest.raises(SourceUnavailable) as caught:
        open_api(remote).find(order(asked_at=datetime.now(UTC)))
    assert caught.value.kind == "too_early" and 0 < (caught.value.retry_after or 0) <= 60
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_whole_list_of_a_server_that_remembers_proves_that_there_is_none(remote: Remote):
    assert find(remote, rows(OLD), ago=300) is None


@pytest.mark.parametrize("hours", [-5, 5.5, 8], ids=str)
def test_a_task_in_the_times_of_another_zone_may_be_the_order(remote: Remote, hours: float):
    """Sent again it would be made, and paid for, twice."""
    answer = rows(OLD, ("vid_new", hours * -3600 - 300 + 2))
    if hours > 0:
        with pytest.raises(OutcomeUnknown) as caught:
            find(remote, answer, ago=300)
        assert caught.value.kind == "ambiguous"
        assert find(remote, answer, ago=300, known=("vid_new",)) is None
    else:
        found = find(remote, answer, ago=300)
        assert found is not None and found.remote_id == "vid_new"


@pytest.mark.parametrize(
    ("answer", "settings"),
    [
        pytest.param(rows(), {}, id="empty, perhaps restarted"),
        pytest.param(rows(OLD), {"list_is_whole": False}, id="not the whole list"),
        pytest.param(Say(200, [*rows(OLD).body, 7]), {}, id="a row that cannot be read"),
        pytest.param(rows(OLD), {"paths": {"list": ""}}, id="no list"),
    ],
)
def test_what_is_no_proof_leaves_the_outcome_unknown(remote: Remote, answer: Say, settings: dict[str, Any]):
    with pytest.raises(OutcomeUnknown):
        find(remote, answer, ago=300, **settings)


def test_an_empty_list_of_a_server_that_forgets_nothing_is_proof(remote: Remote):
    assert find(remote, rows(), ago=300, can={"forgets": False}) is None


def test_without_the_time_of_the_order_nothing_is_proven(remote: Remote):
    with pytest.raises(OutcomeUnknown):
        open_api(remote).find(order(asked_at=None))


def test_the_servers_clock_is_told_by_its_answers(remote: Remote):
    """The loopback server sends its own Date; a clock an hour behind would hide the new task if it were ignored."""
    hour = timedelta(hours=1)
    behind = (datetime.now(UTC) - hour).strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = rows(("vid_new", -3599))
    remote.on("GET", TASKS, Say(200, answer.body, {"Date": behind}))
    found = open_api(remote).find(order(asked_at=NOW))
    assert found is not None and found.remote_id == "vid_new"


# looking at a source


def test_a_check_names_the_server_and_counts_its_tasks(remote: Remote):
    remote.replay("seed", 2, 65)
    remote.on("GET", TASKS, Say(307, None, {"Location": f"{TASKS}/"}))
    probe = open_api(remote).check()
    assert (
        re.fullmatch(r"AI Movie Agent API 1\.0\.0, \d+ tasks known", probe.text) and probe.version == "1.0.0"
    )


def test_a_check_needs_no_health_page(remote: Remote):
    remote.on("GET", TASKS, Say(200, [{"task_id": "vid_1", "status": "pending"}]))
    assert open_api(remote).check().text == "Task API, 1 task known"


def test_a_check_shows_a_wrong_key_and_a_wrong_address(remote: Remote):
    remote.on("GET", TASKS, Say(401, {"detail": "no"}))
    with pytest.raises(SourceNeedsPerson):
        open_api(remote, key=KEY).check()
    remote.on("GET", TASKS, Say(200, "<html>Welcome to nginx</html>"))
    with pytest.raises(SourceUnavailable):
        open_api(remote).check()


def test_the_key_goes_where_the_settings_say(remote: Remote):
    remote.on("GET", TASKS, Say(200, []))
    open_api(remote, key=KEY).list_recent()
    assert remote.log[-1].headers["authorization"] == f"Bearer {KEY}"
    open_api(remote, key=KEY, auth={"header": "x-key", "prefix": ""}).list_recent()
    assert remote.log[-1].headers["x-key"] == KEY and "authorization" not in remote.log[-1].headers
    open_api(remote).list_recent()
    assert "authorization" not in remote.log[-1].headers


# another server, by settings alone


def alibaba() -> dict[str, Any]:
    """The very settings that the adapter's documentation shows."""
    text = (task_api.__doc__ or "").partition("by settings")[2]
    return json.loads(text[text.index("{") :])


def test_alibaba_model_studio_is_reached_by_the_documented_settings(remote: Remote):
    source = open_api(remote, key=KEY, **alibaba())
    path = "/api/v1/services/aigc/video-generation/video-synthesis"
    remote.on(
        "POST", path, Say(200, {"request_id": "r", "output": {"task_id": "a8-1", "task_status": "PENDING"}})
    )
    accepted = source.submit(order("wan", prompt="a cat", size="1280*720", image=PICTURE))
    assert remote.log[-1].headers["x-dashscope-async"] == "enable"
    assert remote.log[-1].json == {
        "model": "wan2.2-i2v-plus",
        "input": {"prompt": "a cat", "img_url": "data:image/png;base64," + b64encode(PNG).decode()},
        "parameters": {"size": "1280*720"},
    }
    assert (accepted.remote_id, accepted.observation.state) == ("a8-1", State.PENDING)

    def say(**output: Any) -> Say:
        return Say(200, {"request_id": "r", "output": {"task_id": "a8-1", **output}})

    remote.on(
        "GET",
        f"{TASKS}/a8-1",
        say(task_status="RUNNING"),
        say(task_status="SUCCEEDED", video_url="https://x.example/v.mp4?Expires=1"),
        say(
            task_status="FAILED",
            code="InvalidParameter.DataInspection",
            message="Input is inappropriate: nsfw",
        ),
        say(task_status="SUSPENDED"),
        say(task_status="UNKNOWN"),
    )
    handle = accepted.handle
    assert source.fetch(handle).state is State.PROCESSING
    done = source.fetch(handle)
    assert (done.state, [asset.name for asset in done.assets]) == (State.COMPLETED, ["v.mp4"])
    problem = source.fetch(handle).problem
    assert problem is not None
    assert (problem.kind, problem.code) == ("content_policy", "InvalidParameter.DataInspection")
    assert source.fetch(handle).state is State.PENDING
    with pytest.raises(SourceRefused) as caught:
        source.fetch(handle)
    assert caught.value.kind == "not_found"


def test_a_queued_task_is_cancelled_by_post_and_a_running_one_is_not(remote: Remote):
    source = open_api(remote, key=KEY, **alibaba())
    queued, running = (
        {"output": {"task_id": "a8-1", "task_status": word}} for word in ("PENDING", "RUNNING")
    )
    remote.on("GET", f"{TASKS}/a8-1", Say(200, queued), Say(200, running))
    remote.on("POST", f"{TASKS}/a8-1/cancel", Say(200, {"request_id": "r"}))
    assert source.cancel({"id": "a8-1"}) is CancelAnswer.REQUESTED
    assert source.cancel({"id": "a8-1"}) is CancelAnswer.UNSUPPORTED
    assert remote.calls("POST") == [f"POST {TASKS}/a8-1/cancel"]
    assert remote.calls("DELETE") == []


def test_its_list_has_an_envelope_and_other_names(remote: Remote):
    body = {
        "total": 2,
        "data": [{"task_id": "a8-1", "status": "SUCCEEDED"}, {"task_id": "a8-2", "status": "X"}],
    }
    remote.on("GET", f"{TASKS}/", Say(200, body))
    page = open_api(remote, key=KEY, **alibaba()).list_recent()
    assert [(row.remote_id, row.state, row.word) for row in page.observations] == [
        ("a8-1", State.COMPLETED, "SUCCEEDED"),
        ("a8-2", None, "X"),
    ]
    assert not page.is_whole


# settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"paths": {"taks": "/x"}}, 'there is no "taks"'),
        ({"paths": {"task": "/api/v1/tasks"}}, "{id} stands for"),
        ({"paths": {"list": "https://evil.example/"}}, "begins with one slash"),
        ({"paths": {"list": "//evil.example/"}}, "begins with one slash"),
        ({"paths": {"task": "/a/../{id}"}}, "begins with one slash"),
        ({"paths": {"task": ""}}, "begins with one slash"),
        ({"paths": {"submit": {"video": "/a b"}}}, "begins with one slash"),
        ({"paths": []}, None),
        ({"paths": [1]}, '"paths" is an object'),
        ({"fields": {"stat": "x"}}, 'there is no "stat"'),
        ({"fields": {"status": 5}}, "is a dotted path"),
        ({"fields": {"status": "a..b"}}, "dotted path such as"),
        ({"rows": {"at": "a b"}}, '"at" is a dotted path'),
        ({"words": {"DONE": "finished"}}, '"DONE" means one of'),
        ({"cancel_method": "PATCH"}, '"cancel_method" is one of'),
        ({"kinds": {"": "video"}}, '"kinds"'),
        ({"kinds": {"x": "song"}}, '"kinds"'),
        ({"auth": {"header": "X Y"}}, '"header"'),
        ({"auth": {"prefix": "a\r\nb"}}, '"prefix"'),
        ({"image": "gif"}, '"image" is one of'),
        ({"image_tasks": "yes"}, "true or false"),
        ({"can": {"fly": True}}, '"can" holds'),
        ({"headers": {"Host": "x"}}, "cannot be set here"),
        ({"offers": [{"key": "v", "kind": "video", "path": "x"}]}, "begins with one slash"),
    ],
)
def test_settings_that_make_no_sense_are_named(remote: Remote, settings: dict[str, Any], words: str | None):
    if words is None:
        open_api(remote, **settings)
        return
    with pytest.raises(ValueError, match=re.escape(words)):
        open_api(remote, **settings)


def test_a_body_template_keeps_what_is_no_place(remote: Remote):
    offer = {
        "key": "v",
        "kind": "video",
        "parameters": [{"name": "prompt"}, {"name": "n", "type": "integer"}, {"name": "x"}],
        "body": {
            "a": "{prompt}, {n} times, {other}",
            "n": "{n}",
            "x": "{x}",
            "l": ["{x}", None, 1],
            "o": "{own_id}",
        },
    }
    remote.on("POST", "/api/v1/videos/generate", Say(200, {"id": "t"}))
    open_api(remote, offers=[offer]).submit(order("v", prompt="{n}", n=3))
    assert remote.log[-1].json == {"a": "{n}, 3 times, {other}", "n": 3, "l": [None, 1], "o": "own-1"}
