"""Results in a real Chromium: a film plays and is sought in by ranges, and what pretends to be one does nothing."""

from io import BytesIO
from pathlib import Path
from random import Random

import av
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from playwright.sync_api import Page

from tasks_app.ingest.sniffing import sniff
from tasks_app.models import Asset, Role
from tasks_app.states import State
from tests.browser.conftest import Open
from tests.factories import make_asset, make_generation, make_user

pytestmark = pytest.mark.browser
SECONDS = 60


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def film() -> bytes:
    """An MP4 of a minute of noise, which does not get small, in a codec that every build of Chromium has."""
    target, chance = BytesIO(), Random(1)
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libvpx-vp9", rate=5)
        stream.width, stream.height, stream.bit_rate = 320, 240, 2_000_000
        stream.pix_fmt, stream.options = "yuv420p", {"deadline": "realtime", "cpu-used": "8"}
        for number in range(SECONDS * 5):
            picture = av.VideoFrame(320, 240, "yuv420p")
            for plane in picture.planes:
                plane.update(chance.randbytes(plane.buffer_size))
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return target.getvalue()


def copied(content: bytes, name: str) -> Asset:
    generation = make_generation(state=State.COMPLETED)
    return make_asset(
        generation,
        state=Asset.State.COPIED,
        file=default_storage.save(f"results/{name}", ContentFile(content)),
        name=name,
        media_type=sniff(content).media_type,
        size=len(content),
        sha256="ef" * 32,
    )


def show(page: Page, asset: Asset) -> None:
    """Put the film into the page, as the task's page does."""
    page.evaluate(
        """address => {
            const video = document.createElement('video');
            video.id = 'film'; video.muted = true; video.controls = true; video.src = address;
            document.querySelector('main').prepend(video);
        }""",
        f"/results/{asset.pk}/{asset.name}",
    )
    page.wait_for_function("() => document.getElementById('film').readyState >= 2")


def test_a_film_plays_and_is_sought_in_by_ranges(open_page: Open) -> None:
    content = film()
    asset = copied(content, "film.mp4")
    assert asset.media_type == "video/mp4"
    page = open_page(make_user(Role.VIEWER), "/tasks/")
    answers = []
    page.on(
        "response",
        lambda answer: (
            answers.append((answer.status, answer.request.headers.get("range", "")))
            if "/results/" in answer.url
            else None
        ),
    )
    show(page, asset)
    film_of = "document.getElementById('film')"
    assert page.evaluate(f"{film_of}.duration") == pytest.approx(SECONDS, abs=1)
    page.evaluate(f"{film_of}.play()")
    page.wait_for_function(f"() => {film_of}.currentTime > 0.5")
    page.evaluate(f"{film_of}.currentTime = 50")
    page.wait_for_function(f"() => !{film_of}.seeking && {film_of}.currentTime > 50.3")
    size = page.evaluate(f"[{film_of}.videoWidth, {film_of}.videoHeight]")
    print(f"{len(content) / 1e6:.1f} MB, {size}, asked: {answers}")  # noqa: T201
    assert size == [320, 240]
    assert {status for status, _ in answers} == {206}
    starts = [int(asked.removeprefix("bytes=").partition("-")[0]) for _, asked in answers]
    assert any(start > len(content) / 2 for start in starts)


def test_a_page_or_a_drawing_with_a_script_is_downloaded_and_does_nothing(open_page: Open) -> None:
    person = make_user(Role.VIEWER)
    script = b"<script>document.title = 'executed'; parent.document.title = 'executed'</script>"
    for content, name in (
        (b"<!doctype html><html><body>" + script, "film.mp4"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">' + script + b"</svg>", "drawing.svg"),
    ):
        asset = copied(content, name)
        page = open_page(person, "/tasks/")
        with page.expect_download() as caught:
            page.evaluate("address => { location.href = address }", f"/results/{asset.pk}/{name}")
        assert caught.value.suggested_filename == name
        assert page.title() != "executed"
