"""Whatever JSON a remote shows as a job or a result, reading it ends in an observation that can be kept."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.sources.generation.base import GenerationConnection, GenerationObservation
from tasks_app.sources.generation.calls import Reply
from tasks_app.sources.generation.fal import FalQueue
from tasks_app.sources.generation.fal_results import find_files
from tasks_app.sources.generation.openai_videos import PROFILES
from tasks_app.sources.generation.openai_videos.video import TOLD_ELSEWHERE, WORDS, job_id_of, job_of
from tasks_app.sources.tls import Trust

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "1e400"])
)
TELLING = st.sampled_from(
    ["data:image/png;base64,AA==", "http://[", "//x/y", "https://a.example/b.mp4?Expires=1"]
)
ANYTHING = st.recursive(
    SCALARS | TELLING,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FALS = ("status", "queue_position", "logs", "error", "error_type", "metrics", "request_id")
NAMES = sorted({*TOLD_ELSEWHERE, *FALS, "expires_at", "usage", "video", "data", "model"})
STATUS = st.sampled_from([*WORDS, "COMPLETED", "IN_QUEUE", "dozing"])
JOBS = st.builds(
    lambda members, status: {**members, "status": status},
    st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=8),
    STATUS | ANYTHING,
)
SOURCES = [
    make(GenerationConnection(name, "http://127.0.0.1:9", Trust(), settings={"profile": name}))
    for name, make in PROFILES.items()
]
FAL = FalQueue(GenerationConnection("fal", "http://127.0.0.1:9", Trust()))


def assert_can_be_kept(seen: GenerationObservation) -> None:
    json.dumps(dict(seen.metadata), allow_nan=False)
    assert seen.progress is None or 0 <= seen.progress <= 100
    assert seen.queue_position is None or 0 <= seen.queue_position < 2**31
    assert seen.problem is None or (seen.problem.text and isinstance(seen.problem.code, str))
    for moment in (seen.created_at, seen.started_at, seen.finished_at, seen.updated_at):
        assert moment is None or moment.utcoffset() is not None
    for asset in seen.assets:
        assert asset.name and (asset.data is not None or asset.url.startswith(("http://", "https://")))


@given(JOBS)
@settings(max_examples=150, deadline=None)
def test_any_job_is_read_by_every_profile(job: dict[str, Any]):
    found = job_of(job)
    job_id_of(found)
    for source in SOURCES:
        assert_can_be_kept(source.observe(found, "v1"))


@given(JOBS, ANYTHING)
@settings(max_examples=150, deadline=None)
def test_any_status_and_result_of_fal_is_read(status: dict[str, Any], result: Any):
    reply = Reply(200, {}, status, True, b"{}")
    seen = FAL._observe(status, "r1", reply)
    assert_can_be_kept(seen)
    assert_can_be_kept(FAL._with_result(seen, Reply(200, {}, result, True, b"{}")))
    json.dumps(find_files(result, "http://own").rest, allow_nan=False)
