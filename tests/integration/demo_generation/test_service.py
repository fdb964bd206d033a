"""The demo generation service over real HTTP: what it renders is real, and its progress is that of its frames."""

import base64
import io
import time
from collections.abc import Iterator

import av
import pytest
import requests
from PIL import Image

from demo.generation.server import GenerationServer

KEY = "open-sesame"
VIDEO = {"prompt": "a lighthouse in the fog", "duration": 1, "fps": 24, "resolution": "320x180"}


@pytest.fixture
def server(tmp_path) -> Iterator[GenerationServer]:
    server = GenerationServer(("127.0.0.1", 0), tmp_path, key=KEY, time_scale=0.2).start()
    yield server
    server.stop()


def call(server: GenerationServer, method: str, path: str, key: str = KEY, **options) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.request(method, server.url + path, headers=headers, timeout=10, **options)


def submit(server: GenerationServer, path: str = "/api/v1/videos/generate", **body) -> str:
    answer = call(server, "POST", path, json=VIDEO | body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "pending"
    return answer.json()["task_id"]


def follow(server: GenerationServer, task_id: str, seconds: float = 30) -> list[dict]:
    """Every different answer until it has ended."""
    seen: list[dict] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        task = call(server, "GET", f"/api/v1/tasks/{task_id}").json()
        if not seen or task != seen[-1]:
            seen.append(task)
        if task["status"] not in ("pending", "processing"):
            return seen
        time.sleep(0.05)
    raise AssertionError(f"not ended: {seen[-1]}")


def test_a_video_is_rendered_with_the_progress_of_its_frames(server):
    seen = follow(server, submit(server))
    percents = [task["progress"] for task in seen]
    assert percents == sorted(percents)
    assert len(set(percents)) > 3
    assert percents[-1] == 100
    url = seen[-1]["result"]["result"]["video_url"]
    content = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10).content
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 180)
    assert len(frames) == 24
    assert frames[0].to_image().tobytes() != frames[-1].to_image().tobytes()


def test_a_picture_is_rendered(server):
    task = follow(server, submit(server, "/api/v1/images/generate", size="320x200"))[-1]
    url = task["result"]["result"]["image_url"]
    content = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10).content
    assert Image.open(io.BytesIO(content)).size == (320, 200)


def test_a_given_picture_is_what_the_camera_sees(server):
    red = io.BytesIO()
    Image.new("RGB", (64, 64), (250, 10, 10)).save(red, "PNG")
    text = base64.b64encode(red.getvalue()).decode()
    task = follow(server, submit(server, image=text, prompt="", camera_motion="pan"))[-1]
    url = task["result"]["result"]["video_url"]
    content = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10).content
    with av.open(io.BytesIO(content)) as container:
        picture = next(container.decode(video=0)).to_image()
    pixels = [picture.getpixel((x, 2)) for x in range(0, 320, 8)]
    assert sum(r > 150 and g < 90 for r, g, _ in pixels) > len(pixels) / 2


def test_a_workflow_joins_its_scenes(server):
    scenes = [{"scene_id": f"scene_00{n}", "prompt": f"scene {n}", "duration": 1} for n in (1, 2)]
    task = follow(server, submit(server, "/api/v1/workflow/quick-generate", scenes=scenes))[-1]
    assert task["status"] == "completed"
    assert task["result"]["result"]["frames"] == 48


def test_a_running_one_is_cancelled_and_leaves_no_file(server, tmp_path):
    task_id = submit(server, duration=10)
    time.sleep(0.3)
    answer = call(server, "DELETE", f"/api/v1/tasks/{task_id}")
    assert answer.json() == {
        "success": True,
        "message": f"Task {task_id} has been cancelled",
        "task_id": task_id,
    }
    assert follow(server, task_id)[-1]["status"] == "cancelled"
    assert call(server, "DELETE", f"/api/v1/tasks/{task_id}").status_code == 409
    deadline = time.monotonic() + 5
    while list((tmp_path / "files").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list((tmp_path / "files").iterdir()) == []


def test_a_third_waits_while_two_are_rendered(server):
    first, second, third = (submit(server, duration=3) for _ in range(3))
    deadline = time.monotonic() + 5
    while call(server, "GET", f"/api/v1/tasks/{second}").json()["status"] == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert call(server, "GET", f"/api/v1/tasks/{third}").json()["status"] == "pending"
    rows = call(server, "GET", "/api/v1/tasks/").json()
    assert [row["task_id"] for row in rows] == [first, second, third]


def test_what_the_rules_forbid_fails_in_words(server):
    task = follow(server, submit(server, prompt="something forbidden"))[-1]
    assert task["status"] == "failed"
    assert task["error"]["message"] == "Content policy violation"
    assert task["completed_at"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"duration": 0}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"fps": 500}, "fps"),
        ({"resolution": "huge"}, "resolution"),
        ({"camera_motion": "spin"}, "camera_motion"),
        ({"image": "@@@"}, "image"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_wrong_input_is_refused_by_its_field(server, body, field):
    answer = call(server, "POST", "/api/v1/videos/generate", json=VIDEO | body)
    assert answer.status_code == 422
    assert field in answer.json()["error"]["details"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(server, body):
    assert call(server, "POST", "/api/v1/videos/generate", data=body).status_code == 400


def test_nobody_gets_in_without_the_key(server):
    for key in ("", "wrong"):
        assert call(server, "GET", "/api/v1/tasks", key=key).status_code == 401
        assert call(server, "POST", "/api/v1/videos/generate", key=key, json=VIDEO).status_code == 401
    assert call(server, "GET", "/health", key="").status_code == 200


def test_a_file_outside_is_not_served(server, tmp_path):
    (tmp_path / "secret").write_text("no")
    assert call(server, "GET", "/files/../secret").status_code == 404
    assert call(server, "GET", "/files/%2e%2e/secret").status_code == 404


def test_a_restart_forgets_nothing_and_renders_the_rest(tmp_path):
    first = GenerationServer(("127.0.0.1", 0), tmp_path, key=KEY, time_scale=0.2).start()
    done = submit(first)
    follow(first, done)
    running = submit(first, duration=10)
    time.sleep(0.3)
    first.stop()
    second = GenerationServer(("127.0.0.1", 0), tmp_path, key=KEY, time_scale=0.0).start()
    try:
        assert call(second, "GET", f"/api/v1/tasks/{done}").json()["status"] == "completed"
        assert follow(second, running)[-1]["status"] == "completed"
    finally:
        second.stop()
