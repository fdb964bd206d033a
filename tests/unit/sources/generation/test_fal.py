"""fal's queue beyond the contract, by recorded answers where there are some."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import CancelAnswer, GenerationConnection, Order, Upload
from tasks_app.sources.generation.fal import FalQueue
from tasks_app.sources.generation.fal_results import MAX_FILES, find_files
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.contract import KEY, PNG
from tests.unit.sources.generation.replay import Remote, Say, load, recorded

ID = "ca7acbd8-f607-4554-a273-6ec80a3d9d38"
FLUX = {"id": ID, "app": "fal-ai/flux/dev"}
STATUS = f"/fal-ai/flux/requests/{ID}/status"
RESULT = f"/fal-ai/flux/requests/{ID}"
COMPLETED = {"status": "COMPLETED", "request_id": ID}


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


def open_at(remote: Remote, path: str = "", **settings: Any) -> FalQueue:
    return FalQueue(GenerationConnection("test", remote.url + path, Trust(), key=KEY, settings=settings))


def order(offer: str = "fal-ai/flux/dev", **parameters: Any) -> Order:
    uploads = {name: value for name, value in parameters.items() if isinstance(value, Upload)}
    values = {name: value for name, value in parameters.items() if name not in uploads}
    return Order(offer, values, "own", "own", uploads)


# orders


def test_an_order_goes_to_the_models_path_with_key_and_headers_of_the_settings(remote: Remote):
    remote.replay("aimock-fal", 1)
    source = open_at(remote, "/fal", headers={"x-fal-target-host": "queue.fal.run"})
    accepted = source.submit(order(prompt="a cat", seed=None))
    assert remote.calls() == ["POST /fal/fal-ai/flux/dev"]
    sent = remote.log[0]
    assert sent.json == load("aimock-fal", 1)["request"]["body"]
    assert sent.headers["authorization"] == f"Key {KEY}"
    assert sent.headers["x-fal-target-host"] == "queue.fal.run"
    assert accepted.handle == FLUX
    assert (accepted.observation.state, accepted.observation.queue_position) == (State.PENDING, 1)


def test_fixed_values_and_pictures_go_along(remote: Remote):
    offer = {"key": "hd", "kind": "image", "app": "fal-ai/flux/dev", "fixed": {"steps": 28, "prompt": "x"}}
    remote.on("POST", "/fal-ai/flux/dev", Say(200, {"request_id": ID}))
    source = open_at(remote, offers=[offer])
    source.submit(order("hd", prompt="a cat", image_url=Upload("a.png", "image/png", PNG)))
    body = remote.log[0].json
    assert (body["steps"], body["prompt"]) == (28, "a cat")
    assert body["image_url"].startswith("data:image/png;base64,")


def test_models_of_the_settings_are_offers(remote: Remote):
    offers = open_at(remote, models=["fal-ai/veo3", "fal-ai/flux/schnell"]).offers
    assert [(offer.key, offer.kind) for offer in offers] == [
        ("fal-ai/veo3", "video"),
        ("fal-ai/flux/schnell", "image"),
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"models": ["../../etc"]}, "no path of a model"),
        ({"models": ["https://evil.example/x"]}, "no path of a model"),
        ({"models": ["a/b?c=d"]}, "no path of a model"),
        ({"offers": [{"key": "a", "kind": "image", "app": "alone"}]}, "no path of a model"),
        ({"headers": {"authorization": "Key x"}}, "cannot be set here"),
        ({"headers": {"Host": "queue.fal.run"}}, "cannot be set here"),
        ({"headers": ["x"]}, '"headers" is an object'),
    ],
)
def test_settings_that_make_no_sense_are_named(remote: Remote, settings: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        open_at(remote, **settings)


def test_a_lost_answer_stays_unknown_for_there_is_no_list(remote: Remote):
    with pytest.raises(OutcomeUnknown):
        open_at(remote).find(order(prompt="a"))
    assert remote.log == []


# reads


@pytest.mark.parametrize(
    ("app", "path"),
    [
        ("fal-ai/flux", "fal-ai/flux"),
        ("fal-ai/kling-video/v1/standard/text-to-video", "fal-ai/kling-video"),
        ("workflows/ann/portrait/fast", "workflows/ann/portrait"),
        ("comfy/ann/portrait/fast", "comfy/ann/portrait"),
    ],
)
def test_a_request_is_read_below_owner_and_app_alone(remote: Remote, app: str, path: str):
    remote.on("GET", f"/{path}/requests/{ID}/status", Say(202, {"status": "IN_PROGRESS"}))
    assert open_at(remote).fetch({"id": ID, "app": app}).state is State.PROCESSING
    assert remote.log[0].query == {"logs": "1"}


@pytest.mark.parametrize("handle", [{"id": "../x", "app": "a/b"}, {"id": ID, "app": "a/../b"}, {"id": ID}])
def test_a_handle_that_leads_elsewhere_is_not_followed(remote: Remote, handle: dict[str, Any]):
    with pytest.raises(SourceRefused):
        open_at(remote).fetch(handle)
    assert remote.log == []


def test_recorded_answers_from_running_to_the_result(remote: Remote):
    remote.on("GET", STATUS, recorded("aimock-fal", 3), recorded("aimock-fal", 5))
    remote.on("GET", RESULT, recorded("aimock-fal", 7))
    source = open_at(remote)
    running = source.fetch(FLUX)
    assert (running.state, running.queue_position) == (State.PROCESSING, None)
    assert running.log_lines == ("Job enqueued.", "Job started processing.")
    done = source.fetch(FLUX)
    assert done.state is State.COMPLETED and done.log_lines is not None and len(done.log_lines) == 3
    (asset,) = done.assets
    assert (asset.name, asset.url) == ("x.png", "http://127.0.0.1:18999/files/x.png")
    assert (asset.media_type, asset.size, asset.needs_auth) == ("image/png", None, False)
    assert done.metadata["inference_time"] == 0.014 and done.metadata["seed"] == 0
    assert "images" not in done.metadata and done.cost == "42 billable units"


def test_a_result_that_is_asked_for_too_early_means_it_still_runs(remote: Remote):
    remote.on("GET", STATUS, Say(200, COMPLETED))
    remote.on("GET", RESULT, recorded("aimock-fal", 2))
    assert open_at(remote).fetch(FLUX).state is State.PROCESSING


def test_the_place_in_the_queue_is_told_while_it_waits(remote: Remote):
    remote.on("GET", STATUS, Say(202, {"status": "IN_QUEUE", "queue_position": 7}))
    seen = open_at(remote).fetch(FLUX)
    assert (seen.state, seen.queue_position, seen.progress) == (State.PENDING, 7, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({"error": "User defined request timeout exceeded", "error_type": "request_timeout"}, Kind.TIMED_OUT),
        ({"error": "flagged", "error_type": "content_policy_violation"}, Kind.CONTENT_POLICY),
        ({"error": {"message": "boom"}}, Kind.PROVIDER),
        ({"error_type": "internal_error"}, Kind.PROVIDER),
    ],
    ids=["timeout", "policy", "object", "type alone"],
)
def test_completed_with_an_error_is_failed_without_asking_for_a_result(
    remote: Remote, status: dict[str, Any], kind: Kind
):
    remote.on("GET", STATUS, Say(200, {**COMPLETED, **status}))
    seen = open_at(remote).fetch(FLUX)
    assert seen.state is State.FAILED and seen.problem is not None
    assert seen.problem.kind == kind and seen.problem.text
    assert len(remote.log) == 1


def test_completed_because_it_was_cancelled_is_cancelled(remote: Remote):
    remote.on("GET", STATUS, Say(200, {**COMPLETED, "error": "gone", "error_type": "request_cancelled"}))
    seen = open_at(remote).fetch(FLUX)
    assert (seen.state, seen.problem) == (State.CANCELLED, None)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (
            Say(
                422,
                {
                    "detail": [
                        {"loc": ["body", "prompt"], "msg": "refused", "type": "content_policy_violation"}
                    ]
                },
            ),
            Kind.CONTENT_POLICY,
            "content_policy_violation",
        ),
        (
            Say(422, {"detail": [{"loc": ["body", "seed"], "msg": "not a number", "type": "int_parsing"}]}),
            Kind.INVALID_REQUEST,
            "int_parsing",
        ),
        (Say(500, {"detail": "CUDA out of memory"}), Kind.PROVIDER, ""),
        (Say(504, "late", {"x-fal-error-type": "request_timeout"}), Kind.TIMED_OUT, "request_timeout"),
    ],
    ids=["policy", "field", "model", "header"],
)
def test_a_result_that_is_an_error_of_the_model_is_a_failed_task(
    remote: Remote, answer: Say, kind: Kind, code: str
):
    remote.on("GET", STATUS, Say(200, COMPLETED))
    remote.on("GET", RESULT, answer)
    seen = open_at(remote).fetch(FLUX)
    assert seen.state is State.FAILED and seen.problem is not None
    assert (seen.problem.kind, seen.problem.code) == (kind, code)
    assert seen.problem.text and not seen.assets


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_result_behind_a_broken_gateway_says_nothing_about_the_task(remote: Remote, status: int):
    remote.on("GET", STATUS, Say(200, COMPLETED))
    remote.on("GET", RESULT, Say(status, "<h1>Bad gateway</h1>"))
    with pytest.raises(SourceUnavailable):
        open_at(remote).fetch(FLUX)


@pytest.mark.parametrize("logs", [None, "text", [], [None, 7, {"message": None}], [{"message": ["x"]}]])
def test_strange_logs_do_no_harm(remote: Remote, logs: Any):
    remote.on("GET", STATUS, Say(202, {"status": "IN_PROGRESS", "logs": logs}))
    lines = open_at(remote).fetch(FLUX).log_lines
    assert (lines is None) == (not isinstance(logs, list))


# cancelling


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Say(202, {"status": "CANCELLATION_REQUESTED"}), CancelAnswer.REQUESTED),
        (recorded("aimock-fal", 10), CancelAnswer.REQUESTED),
        (recorded("aimock-fal", 8), CancelAnswer.ALREADY_FINISHED),
        (Say(404, {"status": "NOT_FOUND"}), CancelAnswer.NOT_FOUND),
    ],
    ids=["202", "recorded", "already", "unknown"],
)
def test_what_comes_of_a_cancel(remote: Remote, answer: Say, expected: CancelAnswer):
    remote.on("PUT", f"{RESULT}/cancel", answer)
    assert open_at(remote).cancel(FLUX) is expected


def test_a_cancel_that_is_refused_for_another_reason_is_an_error(remote: Remote):
    remote.on("PUT", f"{RESULT}/cancel", Say(400, {"detail": "no"}))
    with pytest.raises(SourceRefused):
        open_at(remote).cancel(FLUX)


# checking


def test_a_check_asks_for_a_request_that_does_not_exist(remote: Remote):
    remote.on(
        "GET",
        "/fal-ai/flux/requests/00000000-0000-0000-0000-000000000000/status",
        recorded("aimock-fal", 13),
    )
    assert open_at(remote).check().text == "fal queue"


@pytest.mark.parametrize(
    ("status", "error"), [(200, SourceUnavailable), (404, SourceRefused)], ids=["page", "none"]
)
def test_a_check_of_some_other_server_says_so(status: int, error: type[Exception]):
    with Remote(lambda _seen: Say(status, "<h1>It works</h1>")) as remote, pytest.raises(error):
        open_at(remote).check()


# files in the model's own JSON

OWN = "https://queue.fal.run"


def names(data: Any) -> list[tuple[str, str]]:
    return [(asset.name, asset.url) for asset in find_files(data, OWN).assets]


def test_files_are_found_wherever_the_model_puts_them():
    data = {
        "video": {"url": "https://v3.fal.media/files/a/out.mp4", "content_type": "video/mp4", "file_size": 9},
        "frames": [{"image": {"url": "https://v3.fal.media/files/b/1.png"}}],
        "seed": 7,
        "note": {"text": "no file"},
    }
    found = find_files(data, OWN)
    assert [(asset.name, asset.size) for asset in found.assets] == [("out.mp4", 9), ("1.png", None)]
    assert found.rest == {"seed": 7, "note": {"text": "no file"}}


def test_the_models_own_name_counts_and_names_are_told_apart():
    url = "https://v3.fal.media/"
    data = [{"url": f"{url}{n}/x.png", "file_name": "same.png"} for n in range(2)] + [
        {"url": f"{url}a%20b.png"}
    ]
    assert [name for name, _ in names(data)] == ["same.png", "2-same.png", "a b.png"]


def test_the_same_address_is_one_file():
    file = {"url": "https://v3.fal.media/x.mp4"}
    assert len(names({"video": file, "videos": [file]})) == 1


def test_a_data_url_is_a_file_with_its_bytes():
    (asset,) = find_files({"images": [{"url": "data:image/png;base64,iVBORw0KGgo="}]}, OWN).assets
    assert (asset.data, asset.media_type, asset.url) == (b"\x89PNG\r\n\x1a\n", "image/png", "")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "data:image/png;base64,%", "", 7]
)
def test_what_is_no_address_of_a_file_is_none(url: Any):
    assert names({"video": {"url": url}}) == []


def test_only_a_file_of_the_own_origin_needs_the_key():
    urls = [f"{OWN}/files/x.mp4", "/files/y.mp4", "https://queue.fal.run.evil.example/z.mp4"]
    assets = find_files([{"url": url} for url in urls], OWN).assets
    assert [asset.needs_auth for asset in assets] == [True, True, False]


def test_the_search_for_files_is_bounded():
    deep: Any = {"url": "https://v3.fal.media/deep.mp4"}
    for _ in range(50):
        deep = {"in": deep}
    many = [{"url": f"https://v3.fal.media/{n}.png"} for n in range(150)]
    wide = [[{"a": {}} for _ in range(200)] for _ in range(200)]
    started = time.monotonic()
    found = find_files({"wide": wide, "many": many, "deep": deep}, OWN)
    assert len(found.assets) == MAX_FILES
    assert time.monotonic() - started < 5
