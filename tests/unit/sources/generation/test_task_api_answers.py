"""Whatever a server answers, reading it never fails, and what comes out can be stored and shown."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.sources.generation.base import GenerationObservation
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.generation.task_api_answers import MAX_ASSETS, Reader, problem_of, safe_name
from tasks_app.sources.generation.task_api_settings import FIELDS, read_dialect
from tasks_app.states import State

READER = Reader(read_dialect({}), "https://gpu.example/base", has_key=True)
NAMES = sorted(
    {step for paths in FIELDS.values() for path in paths for step in path.split(".") if step != "*"}
    | {
        "traceback",
        "b64_json",
        "filename",
        "size_bytes",
        "type",
        "metadata",
        "retryable",
        "code",
        "error_code",
    }
)
WORDS = [
    "pending",
    "processing",
    "completed",
    "FAILED",
    "cancelled",
    "",
    "dozing",
    "data:image/png;base64,AAAA",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from([*WORDS, "https://cdn.example/a.mp4", "//[::1", "../..", "\0", "\ud800", "9" * 400])
    | st.datetimes().map(str)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
answers = st.builds(
    lambda rest, word: {**rest, "status": word},
    st.dictionaries(st.sampled_from(NAMES), values, max_size=12),
    st.sampled_from(WORDS),
)


def assert_sound(seen: GenerationObservation) -> None:
    assert seen.remote_id == "vid_1"
    assert seen.progress is None or 0 <= seen.progress <= 100
    assert seen.queue_position is None or seen.queue_position >= 0
    for moment in (seen.created_at, seen.started_at, seen.finished_at, seen.updated_at):
        assert moment is None or moment.utcoffset() == timedelta(0)
    assert (seen.problem is not None) == (seen.state is State.FAILED and not seen.is_partial)
    assert len(seen.assets) <= MAX_ASSETS and len(seen.message) <= 2000 and len(seen.word) <= 60
    for asset in seen.assets:
        assert asset.name and "/" not in asset.name and "\\" not in asset.name and "\0" not in asset.name
        assert (asset.data is None) == bool(asset.url)
        assert not asset.url or asset.url.startswith(("http://", "https://"))
        assert asset.needs_auth == asset.url.startswith("https://gpu.example/")
    json.dumps([dict(seen.raw), dict(seen.metadata)], allow_nan=False)


@given(answers, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_answer_is_read(data: dict[str, Any], is_row: bool):
    assert_sound(READER.observe(data, "vid_1", is_row=is_row))


@given(values)
@settings(deadline=None)
def test_anything_else_names_no_task(data: Any):
    assert isinstance(READER.id_in(data), str) and isinstance(READER.word_in(data), str)


@given(values, st.text(max_size=50))
@settings(deadline=None)
def test_any_error_has_a_kind_a_text_and_a_detail(error: Any, message: str):
    problem = problem_of(error, message)
    assert problem.kind in set(Kind) and problem.text.strip()
    assert len(problem.text) <= 2000 and len(problem.code) <= 100 and len(problem.detail) <= 60_000
    assert problem.retryable in (None, True, False)


@given(st.text(max_size=300))
@settings(deadline=None)
def test_a_file_name_is_only_a_name(text: str):
    name = safe_name(text)
    assert len(name) <= 120 and not set(name) & set("/\\\0\n:") and not name.startswith(".")


def test_many_results_are_bounded():
    urls = [f"https://cdn.example/{number}.png" for number in range(500)]
    seen = READER.observe({"status": "completed", "result": {"images": urls}}, "vid_1")
    assert len(seen.assets) == MAX_ASSETS


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Video generation task submitted. Poll /api/v1/tasks/vid_1 for status.", ""),
        ("Quick mode workflow task submitted (2 scenes). Poll /api/v1/tasks/vid_1 for status.", ""),
        ("Task processing started", ""),
        ("Task is waiting to start", ""),
        ("Task completed successfully", ""),
        ("Task processing started: scene 2 of 5", "Task processing started: scene 2 of 5"),
        ("Upscaling frame 12", "Upscaling frame 12"),
        ("Task failed: no memory", "Task failed: no memory"),
        (None, ""),
    ],
)
def test_a_message_that_only_repeats_the_state_is_no_step(message: Any, told: str) -> None:
    for is_row in (False, True):
        body = {"task_id": "vid_1", "status": "processing", "message": message}
        assert READER.observe(body, "vid_1", is_row=is_row).message == told


def test_how_long_the_server_took_is_no_fact_of_the_result() -> None:
    body = {"task_id": "vid_1", "status": "completed"}
    result = {"service": "veo3", "duration": 60.5, "result": {"video_url": "/a.mp4", "seconds": 8}}
    assert READER.observe({**body, "result": result}, "vid_1").metadata == {"service": "veo3", "seconds": 8}
    flat = {"video_url": "/a.mp4", "duration": 8}
    assert READER.observe({**body, "result": flat}, "vid_1").metadata == {"duration": 8}
