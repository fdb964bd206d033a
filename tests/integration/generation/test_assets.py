"""Copies of results from servers that misbehave: nothing lost, nothing twice, nothing believed."""

import hashlib
import resource
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import Asset, TaskEvent
from tasks_app.services.results import GONE_ATTEMPTS, copy_asset
from tasks_app.states import State
from tests.factories import make_asset, make_generation, make_generation_source
from tests.integration.generation.asset_server import (
    asset_server,
    body,
    chunked,
    endless,
    large,
    one_after_another,
    redirect,
    status,
)
from tests.unit.services.fake_generation import MP4

pytestmark = pytest.mark.django_db
KEY = "s3cret-of-the-source"


@pytest.fixture(autouse=True)
def media(tmp_path, settings) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return Path(settings.MEDIA_ROOT)


@pytest.fixture
def remote():
    with asset_server() as server:
        yield server


def waiting(remote, path: str = "/a.mp4", **fields) -> Asset:
    """A result on `remote`, which is the source itself; its key is needed."""
    source = make_generation_source(urls=[remote.url], token_secret_sealed=connections.seal(KEY))
    generation = make_generation(source, state=State.COMPLETED, handle={"id": "vid_1"})
    defaults = {"name": "a.mp4", "url": remote.url + path, "declared_type": "video/mp4", "needs_auth": True}
    return make_asset(generation, **(defaults | fields))


def copy(asset: Asset) -> Asset:
    Asset.objects.filter(pk=asset.pk).update(next_attempt_at=now())
    copy_asset(asset.pk)
    asset.refresh_from_db()
    return asset


def files_in(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def peak_memory_mb() -> float:
    """Of this process since it was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def test_200_mb_go_through_little_memory(remote, media):
    remote.answers["/a.mp4"] = large(200, MP4)
    asset = waiting(remote)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory_mb()
    copy(asset)
    grown = peak_memory_mb() - before
    print(f"200 MB copied, {grown:.1f} MB more memory at the peak, {resource.getpagesize()} B pages")  # noqa: T201
    assert (asset.state, asset.size, asset.media_type) == (Asset.State.COPIED, 200 * 1024**2, "video/mp4")
    assert grown < 80
    digest = hashlib.sha256(MP4 + bytes(200 * 1024**2 - len(MP4))).hexdigest()
    assert asset.sha256 == digest
    assert [path.stat().st_size for path in files_in(media)] == [200 * 1024**2]


def test_a_slow_answer_is_waited_for(remote):
    def answer(connection, request):
        time.sleep(1.5)
        body(MP4)(connection, request)

    remote.answers["/a.mp4"] = answer
    assert copy(waiting(remote)).state == Asset.State.COPIED


@pytest.mark.parametrize(
    "broken",
    [
        body(MP4[:3000], Content_Length=str(len(MP4))),
        chunked(MP4[:3000], ends=False),
        lambda connection, _: None,
        status("503 Busy"),
        status("429 Too Many", Retry_After="1"),
    ],
    ids=["lying-length", "dropped", "hung-up", "busy", "too-many"],
)
def test_a_broken_answer_is_repeated_and_makes_no_second_copy(remote, media, broken):
    remote.answers["/a.mp4"] = one_after_another(broken, body(MP4))
    asset = copy(waiting(remote))
    assert asset.state == Asset.State.WAITING
    assert asset.error and KEY not in asset.error
    assert files_in(media) == []
    copy(asset)
    copy(asset)
    assert asset.state == Asset.State.COPIED
    assert default_storage.open(asset.file.name).read() == MP4
    assert len(files_in(media)) == 1
    assert len(remote.requests) == 2
    assert asset.generation.task.state == State.COMPLETED


def test_an_endless_body_ends_at_the_limit(remote, media, settings):
    settings.RESULT_MAX_MB = 4
    remote.answers["/a.mp4"] = endless(bytes(65536))
    asset = copy(waiting(remote))
    assert asset.state == Asset.State.TOO_LARGE
    assert files_in(media) == []


def test_a_declared_size_beyond_the_limit_is_not_even_read(remote, settings):
    settings.RESULT_MAX_MB = 1
    remote.answers["/a.mp4"] = body(b"", Content_Length=str(10**12))
    assert copy(waiting(remote)).state == Asset.State.TOO_LARGE


def test_a_page_that_says_it_is_a_video(remote, media):
    page = b"<!DOCTYPE html><html><script>alert(document.cookie)</script></html>"
    remote.answers["/a.mp4"] = body(page, "video/mp4")
    asset = copy(waiting(remote))
    assert asset.error == "The provider sent a web page instead of a video."
    assert copy(asset).state == Asset.State.FAILED
    assert files_in(media) == []


def test_a_drawing_with_a_script_is_kept_for_download_only(remote):
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    remote.answers["/a.svg"] = body(drawing, "image/svg+xml")
    asset = copy(waiting(remote, "/a.svg", name="a.svg", declared_type="image/svg+xml"))
    assert (asset.state, asset.media_type) == (Asset.State.COPIED, "application/octet-stream")
    assert asset.name.endswith(".bin")


def test_the_key_goes_to_the_source_and_not_where_it_redirects(remote, tmp_path):
    with asset_server(tmp_path / "other") as other:
        remote.answers["/a.mp4"] = redirect(other.url + "/stolen")
        asset = copy(waiting(remote))
        assert (asset.state, other.requests) == (Asset.State.FAILED, [])
        assert "private network" in asset.error
    assert KEY in remote.requests[0]


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "file:///etc/passwd",
        "https://2130706433/x",
    ],
)
def test_a_redirect_into_the_house_is_not_followed(remote, target):
    remote.answers["/a.mp4"] = redirect(target)
    asset = copy(waiting(remote))
    assert asset.state == Asset.State.FAILED
    assert len(remote.requests) == 1


def shown(url: str):
    task = {"task_id": "vid_1", "status": "completed", "progress": 100, "result": {"video_url": url}}
    import json

    return body(json.dumps(task).encode(), "application/json")


@pytest.mark.parametrize("line", ["403 Forbidden", "404 Not Found", "410 Gone"])
def test_an_expired_address_is_asked_for_anew(remote, line):
    remote.answers["/old.mp4"] = status(line)
    remote.answers["/api/v1/tasks/vid_1"] = shown(remote.url + "/new.mp4?sig=2")
    remote.answers["/new.mp4?sig=2"] = body(MP4)
    asset = copy(waiting(remote, "/old.mp4"))
    assert asset.state == Asset.State.COPIED
    assert remote.paths() == ["/old.mp4", "/api/v1/tasks/vid_1", "/new.mp4?sig=2"]


def test_an_address_past_its_time_is_not_even_tried(remote):
    remote.answers["/api/v1/tasks/vid_1"] = shown(remote.url + "/new.mp4")
    remote.answers["/new.mp4"] = body(MP4)
    assert copy(waiting(remote, "/old.mp4", expires_at=now() - timedelta(seconds=5))).state == "copied"
    assert "/old.mp4" not in remote.paths()


def test_what_is_gone_for_good_expires(remote):
    asset = waiting(remote, "/old.mp4", attempts=GONE_ATTEMPTS - 1)
    assert copy(asset).state == Asset.State.EXPIRED
    assert "does not have the file" in asset.error
    assert asset.generation.task.state == State.COMPLETED
    assert TaskEvent.objects.filter(task_id=asset.generation_id).exists()
