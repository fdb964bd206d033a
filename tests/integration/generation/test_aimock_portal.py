"""From a person's click to the copied result: the portal's own services and polling over an independent server."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.utils.timezone import now

from tasks_app import connections, jobs
from tasks_app.models import Asset, Generation, Role, Source, Task
from tasks_app.polling.generation_pass import run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.memory import GenerationMemory
from tasks_app.services.cancellation import cancel_task
from tasks_app.services.generation_delivery import deliver_generation
from tasks_app.services.generation_queue import dispatch
from tasks_app.services.generations import submit_generation
from tasks_app.services.results import copy_asset
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.generation.problems import Kind
from tasks_app.states import State
from tests.factories import make_generation_source, make_user
from tests.integration.generation.aimock import Aimock, running_aimock

pytestmark = pytest.mark.django_db(transaction=True)
KLING = "fal-ai/kling-video/v1/standard/text-to-video"
FAL = {"headers": {"x-fal-target-host": "queue.fal.run"}}
OPENROUTER = {"profile": "openrouter", "models": ["bytedance/seedance-2.0"]}


@pytest.fixture(scope="module")
def aimock() -> Iterator[Aimock]:
    with running_aimock() as aimock:
        yield aimock


@pytest.fixture(autouse=True)
def _media(settings: LazySettings, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@dataclass
class Portal:
    """A source at aimock, a person who uses it, and a clock that jumps to whatever is due next."""

    source: Source
    memory: GenerationMemory = field(default_factory=GenerationMemory)
    at: datetime = field(default_factory=now)

    def __post_init__(self) -> None:
        self.person = make_user(Role.OPERATOR, source=self.source)

    def submit(self, offer: str, prompt: str, *, key: str = "first", **parameters: Any) -> Task:
        task = submit_generation(
            self.source,
            actor=self.person,
            offer=offer,
            parameters={"prompt": prompt, **parameters},
            uploads={},
            team=None,
            idempotency_key=key,
        )
        self.send()
        return task

    def send(self) -> None:
        """What the queue's jobs do: places are given, and whatever is due is sent or found out."""
        Generation.objects.update(next_attempt_at=now())
        dispatch()
        for pk in Generation.objects.order_by("pk").values_list("pk", flat=True):
            deliver_generation(pk)

    def poll(self) -> None:
        """One pass, a minute later than the one before."""
        self.at += timedelta(minutes=1)
        self.source.refresh_from_db()
        remote = connections.generation_client_of(self.source)
        run_generation_pass(GenerationVisit(self.source, remote, self.memory, clock=lambda: self.at))

    def follow(self, task: Task) -> list[str]:
        """The states that each pass leaves, without repeats, up to the end."""
        states = [str(task.state)]
        for _ in range(12):
            self.poll()
            task.refresh_from_db()
            if task.state != states[-1]:
                states.append(str(task.state))
            if task.is_final:
                break
        return states


def portal_at(aimock: Aimock, kind: str, settings: dict[str, Any], path: str = "") -> Portal:
    sealed = connections.seal("key-for-tests")
    return Portal(
        make_generation_source(
            kind=kind, urls=[aimock.url + path], settings=settings, token_secret_sealed=sealed
        )
    )


def test_a_video_from_openrouter_ends_in_the_media_storage(aimock: Aimock):
    portal = portal_at(aimock, "openai_videos", OPENROUTER)
    task = portal.submit("video", "a red kite", model="bytedance/seedance-2.0")
    assert portal.follow(task) == [State.PENDING, State.PROCESSING, State.COMPLETED]
    asset = Asset.objects.get(generation__task=task)
    Asset.objects.update(next_attempt_at=now())  # the polling clock had run ahead
    copy_asset(asset.pk)
    asset.refresh_from_db()
    assert (asset.state, asset.error) == (Asset.State.COPIED, "")
    with default_storage.open(asset.file.name) as file:
        assert file.read(8)[4:] == b"ftyp"
    assert Generation.objects.get(task=task).cost == "0.12 USD"


def test_the_same_click_twice_sends_one_order(aimock: Aimock):
    portal = portal_at(aimock, "openai_videos", OPENROUTER)
    sent = len(aimock.journal())
    tasks = [portal.submit("video", "a red kite", model="bytedance/seedance-2.0") for _ in range(2)]
    assert tasks[0].pk == tasks[1].pk
    assert len(aimock.journal()) == sent + 1


def test_a_refused_prompt_is_told_in_words(aimock: Aimock):
    portal = portal_at(aimock, "openai_videos", OPENROUTER)
    task = portal.submit("video", "a bad kite", model="bytedance/seedance-2.0")
    assert portal.follow(task)[-1] == State.FAILED
    assert Generation.objects.get(task=task).problem_kind == Kind.CONTENT_POLICY


def test_progress_of_xai_reaches_the_bar_and_never_goes_back(aimock: Aimock):
    portal = portal_at(aimock, "openai_videos", {"profile": "xai"})
    task = portal.submit("video", "a red kite", model="grok-imagine-video")
    percents = []
    while not task.is_final and len(percents) < 12:
        portal.poll()
        task.refresh_from_db()
        percents.append(task.percent or 0)
    assert percents[-1] == 100 and percents == sorted(percents) and len(set(percents)) > 2


def test_a_waiting_request_at_fal_is_cancelled_by_a_person(aimock: Aimock):
    portal = portal_at(aimock, "fal", FAL, "/fal")
    task = portal.submit(KLING, "a red kite")
    task.refresh_from_db()
    cancel_task(task, actor=portal.person, reason="not needed")
    jobs.cancel(task.pk)
    assert portal.follow(task)[-1] == State.CANCELLED


@pytest.mark.parametrize("fault", [{"rateLimitRate": 1}, {"disconnectRate": 1}, {"malformedRate": 1}])
def test_bad_answers_lose_nothing_and_show_nothing_twice(aimock: Aimock, fault: dict[str, float]):
    portal = portal_at(aimock, "fal", FAL, "/fal")
    task = portal.submit(KLING, "a red kite")
    with aimock.chaos(**fault):
        for _ in range(3):
            try:
                portal.poll()
            except SourceUnavailable:
                break
    task.refresh_from_db()
    assert task.state == State.PENDING
    assert portal.follow(task)[-1] == State.COMPLETED
    assert Task.objects.filter(source=portal.source).count() == 1
    assert Asset.objects.filter(generation__task=task).count() == 1


def test_an_order_that_had_to_wait_is_sent_later_and_once(aimock: Aimock):
    portal = portal_at(aimock, "fal", FAL, "/fal")
    with aimock.chaos(rateLimitRate=1):
        task = portal.submit(KLING, "a red kite")
    row = Generation.objects.get(task=task)
    assert row.called_at is None and row.hold_reason
    portal.send()
    assert portal.follow(task)[-1] == State.COMPLETED


def test_a_lost_answer_is_not_sent_again(aimock: Aimock):
    portal = portal_at(aimock, "fal", FAL, "/fal")
    with aimock.chaos(disconnectRate=1):
        task = portal.submit(KLING, "a red kite")
    sent = len(aimock.journal())
    for _ in range(4):
        long_ago = now() - timedelta(minutes=30)
        Generation.objects.update(lease_until=None, called_at=long_ago)
        portal.send()
    assert len(aimock.journal()) == sent
    task.refresh_from_db()
    assert task.state == State.LOST
    assert Generation.objects.get(task=task).problem_kind == Kind.OUTCOME_UNKNOWN
