"""Videos and images in a real Chromium: the form, the queue, the live bar, the player, the gallery.

The source is the demo's service, which really renders. What the workers do is called by the tests, step by step.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.utils.timezone import now
from PIL import Image
from playwright.sync_api import Page, expect

from demo.generation.server import GenerationServer
from portal.supervisor.studio import SETTINGS as STUDIO
from tasks_app import connections
from tasks_app.models import Asset, Generation, Source, Task, Team
from tasks_app.polling.generation_pass import run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.memory import GenerationMemory
from tasks_app.services.generation_delivery import deliver_generation
from tasks_app.services.generation_queue import dispatch
from tasks_app.services.results import copy_asset
from tasks_app.states import State
from tests.browser.admin import overflows, serious_findings
from tests.browser.conftest import Open
from tests.browser.test_tasks import wait_until_live
from tests.factories import (
    make_asset,
    make_generation,
    make_generation_source,
    make_superuser,
    make_team,
    make_user,
)
from tests.integration.live.server import wait_until
from tests.unit.views.offers import SETTINGS

pytestmark = pytest.mark.browser
KEY = "open-sesame-1234"


@dataclass
class Portal:
    """What the portal's workers do at one source; each pass is a minute later than the one before."""

    source: Source
    server: GenerationServer
    memory: GenerationMemory = field(default_factory=GenerationMemory)
    at: datetime = field(default_factory=now)

    def send(self) -> None:
        for pk in dispatch():
            deliver_generation(pk)

    def poll(self) -> None:
        self.at += timedelta(minutes=1)
        self.source.refresh_from_db()
        remote = connections.generation_client_of(self.source)
        run_generation_pass(GenerationVisit(self.source, remote, self.memory, clock=lambda: self.at))

    def copy(self) -> None:
        Asset.objects.update(next_attempt_at=now())  # the clock of the passes runs ahead
        for pk in Asset.objects.filter(state="waiting").values_list("pk", flat=True):
            copy_asset(pk)

    def finish_remote(self) -> None:
        rows = self.server.studio.rows
        wait_until(lambda: all(row["status"] not in ("pending", "processing") for row in rows()), 60)


@pytest.fixture
def portal(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Portal]:
    settings.MEDIA_ROOT = tmp_path / "media"
    server = GenerationServer(("127.0.0.1", 0), tmp_path / "studio", key=KEY, time_scale=0.2).start()
    source = make_generation_source(
        name="studio", urls=[server.url], settings=STUDIO, token_secret_sealed=connections.seal(KEY)
    )
    yield Portal(source, server)
    server.stop()


@pytest.fixture
def ann(transactional_db: None) -> User:
    return make_user(username="ann")


@pytest.fixture
def team(ann: User, portal: Portal) -> Team:
    team = make_team(ann, name="Film")
    team.generation_sources.add(portal.source)
    return team


def picture(text: str = "") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (640, 360), (90, 40 + len(text) * 20, 160)).save(out, "PNG")
    return out.getvalue()


def make_picture(source: Source, team: Team, prompt: str, actor: User) -> Generation:
    made = make_generation(source, team=team, actor=actor, kind="image", prompt=prompt, state=State.COMPLETED)
    asset = make_asset(made, name="result.png", state="copied", media_type="image/png", size=100)
    asset.file.save("result.png", ContentFile(picture(prompt)))
    return made


def order(page: Page, prompt: str) -> None:
    """From the list of offers to the task's page."""
    page.goto(re.sub(r"(//[^/]+)/.*", r"\1", page.url) + "/generate/")
    page.get_by_role("link", name="Video from a prompt").click()
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Duration").fill("1")
    page.get_by_label("640x360").check()
    page.locator("#submit").click()
    page.wait_for_url(re.compile(r"/tasks/\d+/"))


def test_a_video_is_ordered_followed_and_played(
    open_page: Open, portal: Portal, team: Team, ann: User
) -> None:
    page = open_page(ann, "/generate/")
    page.get_by_role("link", name="Video from a prompt").click()
    page.get_by_label("Prompt").fill("A red fox in the snow")
    page.get_by_label("Duration").fill("2")
    page.get_by_label("640x360").check()
    page.locator("#submit").dblclick()
    page.wait_for_url(re.compile(r"/tasks/\d+/"))
    assert Task.objects.count() == 1
    wait_until_live(page)
    head = page.locator("#task-status")
    expect(head).to_contain_text("Waiting in the portal, place 1")
    expect(head).to_contain_text("for Film")
    portal.send()
    wait_until(lambda: any(0 < row["progress"] < 100 for row in portal.server.studio.rows()), 30)
    portal.poll()
    expect(head).to_contain_text("% reported by provider")
    expect(head.locator("progress")).to_have_attribute("value", re.compile(r"\d"))
    portal.finish_remote()
    portal.poll()
    expect(head.locator(".state").first).to_have_text("Completed")
    expect(page.locator("[data-asset-state=waiting]")).to_contain_text("Being copied")
    portal.copy()
    video = page.locator("video.result-media")
    expect(video).to_be_visible()
    video.evaluate("video => { video.muted = true; return video.play(); }")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.3")
    assert video.evaluate("video => video.readyState") >= 2
    expect(page.locator("[data-dimensions]").last).to_contain_text("640 × 360, 2.0 s")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#keep")).to_contain_text("Kept by ann")


def test_a_failure_is_told_in_plain_words_and_changed_for_another_try(
    open_page: Open, portal: Portal, team: Team, ann: User
) -> None:
    page = open_page(ann, "/tasks/")
    order(page, "Something forbidden")
    wait_until_live(page)
    portal.send()
    portal.finish_remote()
    portal.poll()
    expect(page.locator("#task-status .state").first).to_have_text("Failed")
    expect(page.locator(".failure h2")).to_have_text("The provider's content rules refused it")
    expect(page.locator(".failure")).to_contain_text("Change the prompt or the picture")
    page.get_by_role("link", name="Change and make anew").click()
    expect(page.get_by_label("Prompt")).to_have_value("Something forbidden")
    expect(page.get_by_label("640x360")).to_be_checked()
    page.go_back()
    page.get_by_role("link", name="Try again…").click()
    page.locator("#dialog").get_by_role("button", name="Try again").click()
    expect(page.locator("#task-status")).to_contain_text("Waiting in the portal")
    assert Task.objects.count() == 2


def test_the_place_in_the_queue_moves_and_who_waits_withdraws(
    open_page: Open, portal: Portal, team: Team, ann: User, settings: Any
) -> None:
    settings.VIDEO_MAX_CONCURRENT = 1
    make_generation(portal.source, team=team, actor=ann, asked_at=now() - timedelta(minutes=5))
    page = open_page(ann, "/tasks/")
    order(page, "Second in line")
    wait_until_live(page)
    expect(page.locator("#task-status")).to_contain_text("place 2")
    dispatch()
    expect(page.locator("#task-status")).to_contain_text("place 1")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.locator("#dialog")).to_contain_text("nothing has been sent")
    page.get_by_role("button", name="Cancel task").click()
    expect(page.locator("#task-status .state").first).to_have_text("Cancelled")
    assert portal.server.studio.rows() == []


def test_price_picture_and_errors_on_the_form(open_page: Open, portal: Portal, team: Team, ann: User) -> None:
    Source.objects.update(settings=SETTINGS)
    page = open_page(ann, f"/generate/{portal.source.pk}/video/")
    expect(page.locator("#price")).to_have_text("0.40 USD")
    page.get_by_label("Duration").fill("8")
    expect(page.locator("#price")).to_have_text("0.80 USD")
    chooser = page.get_by_label("First frame")
    chooser.set_input_files({"name": "start.png", "mimeType": "image/png", "buffer": picture()})
    expect(page.locator("[data-picture-words]")).to_contain_text("start.png, ")
    page.wait_for_function("() => document.querySelector('.picture img').naturalWidth === 640")
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(21_000_000)}
    chooser.set_input_files(large)
    expect(page.locator("[data-picture-problem]")).to_contain_text("“large.png” has 21 MB; at most 20 MB")
    expect(page.locator(".picture")).to_be_hidden()
    page.get_by_label("Duration").fill("9")
    page.locator("#submit").click()
    expect(page.locator("#id_p-prompt_error")).to_have_text("This field is required.")
    expect(page.locator("#id_p-duration_error")).to_contain_text("8")
    expect(page.get_by_label("Duration")).to_have_value("9")
    assert not Task.objects.exists()


def test_without_a_script_the_form_works(open_page: Open, portal: Portal, team: Team, ann: User) -> None:
    page = open_page(ann, "/generate/", script=False)
    order(page, "A fox without a script")
    expect(page.locator("#task-status")).to_contain_text("Waiting in the portal")


def test_the_gallery_finds_shows_large_and_leads_to_the_task(
    open_page: Open, portal: Portal, team: Team, ann: User
) -> None:
    for prompt in ("A lighthouse in a storm", "A fox", "A fox at night"):
        make_picture(portal.source, team, prompt, ann)
    page = open_page(ann, "/gallery/")
    expect(page.locator(".tile")).to_have_count(3)
    page.keyboard.press("/")
    page.keyboard.type("fox")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=fox"))
    expect(page.locator(".tile")).to_have_count(2)
    first = page.get_by_role("link", name="Show large: A fox at night")
    first.focus()
    page.keyboard.press("Enter")
    viewer = page.locator("dialog.viewer")
    expect(viewer).to_be_visible()
    expect(viewer).to_contain_text("1 of 2")
    page.keyboard.press("ArrowRight")
    expect(viewer).to_contain_text("2 of 2")
    page.wait_for_function("() => document.querySelector('dialog.viewer img').naturalWidth === 640")
    assert serious_findings(page) == []
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.get_by_role("link", name="Show large: A fox", exact=True)).to_be_focused()
    page.get_by_label("Kept").select_option("1")
    page.wait_for_url(re.compile("kept=1"))
    expect(page.locator(".empty")).to_contain_text("Nothing passes these filters")


def test_a_source_is_connected_after_looking_at_it(open_page: Open, portal: Portal) -> None:
    page = open_page(make_superuser(), "/sources/")
    page.get_by_role("link", name="Connect a source").click()
    page.get_by_role("link", name="Task API").click()
    page.get_by_label("Name").fill("second")
    page.get_by_label("Address").fill(portal.server.url)
    page.get_by_label("Key", exact=False).first.fill("wrong")
    page.get_by_role("button", name="Check connection").click()
    expect(page.locator("#check-result")).to_contain_text("It does not let the portal in.")
    page.get_by_label("Key", exact=False).first.fill(KEY)
    page.get_by_role("button", name="Check connection").click()
    expect(page.locator("#check-result")).to_contain_text("It answers.")
    page.get_by_role("button", name="Store and check").click()
    expect(page.get_by_role("heading", name="second", level=1)).to_be_visible()
    assert connections.unseal(Source.objects.get(name="second").token_secret_sealed) == KEY


def make_world(portal: Portal, team: Team, ann: User) -> dict[str, int]:
    """One of everything; pks by what it is."""
    common: dict[str, Any] = {"team": team, "actor": ann}
    made = {
        "held": make_generation(portal.source, **common),
        "number": make_generation(portal.source, state=State.PROCESSING, task={"percent": 45.0}, **common),
        "quiet": make_generation(
            portal.source,
            state=State.PROCESSING,
            quiet_since=now(),
            last_sign_at=now() - timedelta(minutes=6),
            **common,
        ),
        "failed": make_generation(
            portal.source,
            state=State.FAILED,
            problem_kind="no_credit",
            task={"error_line": "402 " * 60},
            **common,
        ),
        "lost": make_generation(
            portal.source, state=State.LOST, problem_kind="outcome_unknown", prompt="long" * 80, **common
        ),
        "done": make_picture(portal.source, team, "A fox " * 40, ann),
    }
    for state in ("waiting", "expired", "failed", "too_large", "removed"):
        make_asset(made["done"], state=state, name="a-very-long-name-" * 8 + ".png", error="It is a page.")
    return {name: one.pk for name, one in made.items()}


PAGES = [
    "/tasks/",
    "/generate/",
    "/generate/{source}/video/",
    "/gallery/",
    "/gallery/?q=zebra",
    "/sources/{source}/",
    "/sources/{source}/generation",
    "/sources/{source}/key",
    "/sources/add/generation/comfyui/",
    "/sources/add/",
    "/tasks/{held}/",
    "/tasks/{number}/",
    "/tasks/{quiet}/",
    "/tasks/{failed}/",
    "/tasks/{lost}/",
    "/tasks/{lost}/retry",
    "/tasks/{done}/",
]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_are_accessible_and_fit(
    open_page: Open, portal: Portal, team: Team, ann: User, width: int, dark: bool
) -> None:
    pks = make_world(portal, team, ann) | {"source": portal.source.pk}
    page = open_page(make_superuser(), "/healthz", width=width, dark=dark)
    base = re.sub(r"(//[^/]+)/.*", r"\1", page.url)
    for path in PAGES:
        answer = page.goto(base + path.format(**pks))
        assert answer is not None and answer.status == 200, path
        page.wait_for_timeout(150)
        assert not overflows(page), path
        assert serious_findings(page) == [], path


@pytest.mark.parametrize("width", [768, 1023, 1024, 1280, 1441])
def test_the_bar_with_all_its_sections_fits(open_page: Open, portal: Portal, width: int) -> None:
    page = open_page(make_superuser(), "/tasks/", width=width)
    wait_until_live(page)
    assert page.locator(".nav > *").count() == 9
    assert not overflows(page)
