"""Comfy API v2 against recorded answers of comfy-api-proxy 0.1.6, before ComfyUI and before its own fake."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import CancelAnswer, GenerationConnection, Order, Upload
from tasks_app.sources.generation.comfyui import open_comfyui
from tasks_app.sources.generation.comfyui.v2 import ComfyV2
from tasks_app.sources.tls import Trust
from tasks_app.states import State
from tests.unit.sources.generation.comfyui.test_native import SHORT
from tests.unit.sources.generation.replay import DROP, Remote, Say, load, recorded

SUCCEEDED = "c5c5a101-a01b-414e-a754-241aaf8bb69e"
RUNNING = "4146fb13-f358-425b-b73e-92563d58fade"
QUEUED = "d7492598-3ab9-4b6b-b23e-c79a61e6d80c"
FAILED = "fb1ab6b1-c7ea-464e-ba6b-17c473da2383"
ASKED_AT = datetime(2026, 11, 20, 8, 10, 0, tzinfo=UTC)
JOBS = "/api/v2/jobs"


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as remote:
        yield remote


@pytest.fixture
def source(remote: Remote) -> Iterator[ComfyV2]:
    settings = {"profile": "v2", "offers": [SHORT]}
    source = open_comfyui(GenerationConnection("v2", remote.url, Trust(), key="sekret", settings=settings))
    assert isinstance(source, ComfyV2)
    yield source
    source.close()


def make_order(**fields: Any) -> Order:
    return Order("size", {"width": 64}, own_id="own-1", idempotency_key="k-1", asked_at=ASKED_AT, **fields)


def graph_of(own_id: str) -> Say:
    return Say(200, {"workflow": {"1": {"_meta": {"task_portal": own_id}}}, "format": "api"})


def test_an_order_goes_out_with_key_and_idempotency_key(remote: Remote, source: ComfyV2):
    remote.on("POST", JOBS, recorded("comfy-v2", 2))
    accepted = source.submit(make_order())
    sent = remote.log[-1]
    assert (sent.headers["authorization"], sent.headers["idempotency-key"]) == ("Bearer sekret", "k-1")
    assert sent.json["workflow"]["1"]["inputs"]["width"] == 64
    assert (accepted.remote_id, accepted.observation.state) == (SUCCEEDED, State.PENDING)


def test_a_used_key_means_that_the_job_is_there_and_is_looked_for(remote: Remote, source: ComfyV2):
    remote.on("POST", JOBS, recorded("comfy-v2", 3))
    remote.on("GET", JOBS, recorded("comfy-v2", 25))
    for job in load("comfy-v2", 25)["response"]["body"]["jobs"]:
        remote.on("GET", f"{JOBS}/{job['id']}/workflow", graph_of("own-1" if job["id"] == RUNNING else "x"))
    assert source.submit(make_order()).remote_id == RUNNING


def test_a_used_key_without_its_job_is_never_a_reason_to_send_again(remote: Remote, source: ComfyV2):
    remote.on("POST", JOBS, recorded("comfy-v2", 3))
    remote.on("GET", JOBS, Say(200, {"jobs": [], "truncated": False}))
    with pytest.raises(OutcomeUnknown):
        source.submit(make_order())


@pytest.mark.parametrize(
    ("number", "words"), [(19, "NoSuchNode does not exist"), (20, "Export the workflow in API format")]
)
def test_a_refused_workflow_says_why(remote: Remote, source: ComfyV2, number: int, words: str):
    remote.on("POST", JOBS, recorded("comfy-v2", number))
    with pytest.raises(SourceRefused, match=words) as caught:
        source.submit(make_order())
    assert caught.value.kind == "invalid_request"


def test_faults_of_nodes_are_told_by_parameter(remote: Remote, source: ComfyV2):
    errors = load("comfyui", 15)["response"]["body"]["node_errors"]
    said = {"code": "invalid_workflow", "message": "no", "details": {"node_errors": errors}}
    remote.on("POST", JOBS, Say(422, {"error": said}))
    with pytest.raises(SourceRefused) as caught:
        source.submit(make_order())
    assert list(caught.value.fields) == ["width"]


def test_a_full_queue_is_a_reason_to_wait(remote: Remote, source: ComfyV2):
    said = {"error": {"code": "queue_full", "message": "Queue is full"}}
    remote.on("POST", JOBS, Say(429, said, {"Retry-After": "9"}))
    with pytest.raises(SourceUnavailable) as caught:
        source.submit(make_order())
    assert (caught.value.kind, caught.value.retry_after) == ("rate_limited", 9)


def test_an_engine_out_of_reach_leaves_the_outcome_unknown(remote: Remote, source: ComfyV2):
    remote.on("POST", JOBS, Say(503, {"error": {"code": "upstream_unreachable", "message": "no"}}))
    with pytest.raises(OutcomeUnknown):
        source.submit(make_order())


def test_a_picture_becomes_an_asset_that_the_graph_names(remote: Remote, source: ComfyV2):
    remote.on("POST", "/api/v2/assets", Say(201, {"id": "asset-7", "hash": None}))
    remote.on("POST", JOBS, recorded("comfy-v2", 2))
    source.submit(make_order(uploads={"picture": Upload("../../x.png", "image/png", b"PNG!")}))
    upload, job = remote.log
    assert b"own-1-picture.png" in upload.body and b"PNG!" in upload.body and b"../" not in upload.body
    assert job.json["workflow"]["1"]["inputs"]["picture"] == {
        "__type": "core/ASSET",
        "info": {"id": "asset-7"},
    }


@pytest.mark.parametrize("answer", [DROP, Say(200, {})], ids=["dropped", "no id"])
def test_a_picture_that_was_not_stored_makes_no_job(remote: Remote, source: ComfyV2, answer: Say):
    remote.on("POST", "/api/v2/assets", answer)
    with pytest.raises(SourceUnavailable) as caught:
        source.submit(make_order(uploads={"picture": Upload("x.png", "image/png", b"PNG!")}))
    assert type(caught.value) is SourceUnavailable
    assert JOBS not in {seen.path for seen in remote.log}


# what became of an order


def test_a_job_of_somebody_else_at_the_same_time_is_not_taken_for_ours(remote: Remote, source: ComfyV2):
    remote.on("GET", JOBS, recorded("comfy-v2", 25))
    for job in load("comfy-v2", 25)["response"]["body"]["jobs"]:
        remote.on("GET", f"{JOBS}/{job['id']}/workflow", graph_of("another"))
    assert source.find(make_order()) is None


def test_jobs_that_are_known_to_be_others_are_not_read(remote: Remote, source: ComfyV2):
    jobs = [job["id"] for job in load("comfy-v2", 25)["response"]["body"]["jobs"]]
    remote.on("GET", JOBS, recorded("comfy-v2", 25))
    assert source.find(make_order(), known=jobs) is None
    assert remote.calls() == [f"GET {JOBS}"]


@pytest.mark.parametrize("case", ["no list", "no graphs", "full list"])
def test_without_proof_the_outcome_stays_unknown(remote: Remote, source: ComfyV2, case: str):
    row = recorded("comfy-v2", 13).body
    rows = [{**row, "id": f"j{n}"} for n in range(100)]
    if case != "no list":
        remote.on("GET", JOBS, Say(200, {"jobs": rows if case == "full list" else rows[:1]}))
    known = [row["id"] for row in rows] if case == "full list" else []
    with pytest.raises(OutcomeUnknown):
        source.find(make_order(), known)


def test_a_full_list_that_reaches_back_far_enough_is_proof(remote: Remote, source: ComfyV2):
    row = recorded("comfy-v2", 13).body
    old = (ASKED_AT - timedelta(hours=2)).isoformat()
    remote.on(
        "GET", JOBS, Say(200, {"jobs": [{**row, "id": f"j{n}", "created_at": old} for n in range(100)]})
    )
    assert source.find(make_order()) is None


# following


def test_a_success_has_the_type_of_its_content_and_no_false_size(remote: Remote, source: ComfyV2):
    job = recorded("comfy-v2", 9, origin=remote.url).body
    remote.on("GET", f"{JOBS}/{job['id']}", Say(200, job))
    seen = source.fetch({"id": job["id"]})
    (asset,) = seen.assets
    assert (seen.state, seen.kind) == (State.COMPLETED, "video")
    assert (asset.name, asset.media_type, asset.size) == ("portal_00002_.mp4", "video/mp4", None)
    assert asset.needs_auth and asset.url.startswith(remote.url + "/api/v2/assets/")
    assert asset.expires_at is not None and asset.expires_at.date().isoformat() == "2026-11-21"


def test_many_outputs_are_all_results(remote: Remote, source: ComfyV2):
    remote.replay("comfy-v2", 18)
    assert len(source.fetch({"id": RUNNING}).assets) == 30


def test_relative_addresses_start_at_the_origin(remote: Remote):
    url = remote.url + "/gateway/comfy"
    source = open_comfyui(GenerationConnection("v2", url, Trust(), settings={"profile": "v2"}))
    job = {
        "id": "j",
        "status": "succeeded",
        "outputs": [{"name": "a.png", "url": "/api/v2/assets/x/content"}],
    }
    remote.on("GET", f"/gateway/comfy{JOBS}/j", Say(200, job))
    assert source.fetch({"id": "j"}).assets[0].url == f"{remote.url}/api/v2/assets/x/content"
    source.close()


@pytest.mark.parametrize(
    ("number", "remote_id", "state", "progress", "place"),
    [(12, RUNNING, State.PROCESSING, 0.0, None), (13, QUEUED, State.PENDING, None, 1)],
)
def test_an_open_job_shows_progress_and_place(
    remote: Remote,
    source: ComfyV2,
    number: int,
    remote_id: str,
    state: State,
    progress: float | None,
    place: int | None,
):
    remote.replay("comfy-v2", number)
    seen = source.fetch({"id": remote_id})
    assert (seen.state, seen.progress, seen.queue_position) == (state, progress, place)


def test_progress_is_a_fraction_of_one(remote: Remote, source: ComfyV2):
    remote.on("GET", f"{JOBS}/j", Say(200, {"id": "j", "status": "canceling", "progress": {"value": 0.42}}))
    seen = source.fetch({"id": "j"})
    assert (seen.state, seen.progress) == (State.PROCESSING, 42.0)


def test_a_failure_tells_message_and_node(remote: Remote, source: ComfyV2):
    remote.replay("comfy-v2", 23)
    problem = source.fetch({"id": FAILED}).problem
    assert problem is not None and (problem.kind, problem.code) == ("provider", "node_execution_error")
    assert problem.text.endswith("at node 1 (EmptyImage).") and "traceback" not in problem.text
    assert "traceback" in problem.detail


def test_an_expired_job_took_too_long(remote: Remote, source: ComfyV2):
    remote.on("GET", f"{JOBS}/j", Say(200, {"id": "j", "status": "expired", "error": None}))
    seen = source.fetch({"id": "j"})
    assert seen.state is State.FAILED and seen.problem is not None and seen.problem.kind == "timed_out"


def test_a_list_is_whole_when_nothing_was_left_out(remote: Remote, source: ComfyV2):
    remote.on("GET", JOBS, recorded("comfy-v2", 25), recorded("comfy-v2", 25, truncated=True))
    first, second = source.list_recent(), source.list_recent()
    assert len(first.observations) == 5 and first.is_whole and not second.is_whole


# cancelling


@pytest.mark.parametrize(
    ("number", "remote_id", "expected"),
    [
        (14, QUEUED, CancelAnswer.REQUESTED),
        (16, RUNNING, CancelAnswer.REQUESTED),
        (7, SUCCEEDED, CancelAnswer.ALREADY_FINISHED),
    ],
)
def test_cancel_is_a_wish(
    remote: Remote, source: ComfyV2, number: int, remote_id: str, expected: CancelAnswer
):
    remote.replay("comfy-v2", number)
    assert source.cancel({"id": remote_id}) is expected


# looking at the source


def test_a_check_asks_for_a_job_that_cannot_exist(remote: Remote, source: ComfyV2):
    remote.fault(recorded("comfy-v2", 24))
    assert source.check().text == "Comfy API v2"


def test_a_wrong_key_fails_the_check(remote: Remote, source: ComfyV2):
    remote.fault(recorded("comfy-v2-fake", 15))
    with pytest.raises(SourceNeedsPerson) as caught:
        source.check()
    assert caught.value.kind == "unauthorized"


def test_a_server_without_the_api_fails_the_check(remote: Remote, source: ComfyV2):
    remote.fault(recorded("comfy-v2", 27))
    with pytest.raises(SourceUnavailable):
        source.check()
