"""A video or an image among the tasks: its row, its page, trying again."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from tasks_app.live.events import Event
from tasks_app.live.parts import Composer
from tasks_app.models import Generation, Role, Source, Task, TaskEvent, Upload
from tasks_app.services import generation_queue
from tasks_app.sources.generation.problems import WORDS, Kind
from tasks_app.states import State
from tests.factories import (
    add_log,
    make_asset,
    make_generation,
    make_generation_source,
    make_superuser,
    make_task,
    make_team,
    make_user,
)
from tests.unit.views.offers import SETTINGS

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_generation_source(name="studio", settings=SETTINGS)


@pytest.fixture
def ann(source: Source) -> User:
    user = make_user(username="ann")
    make_team(user, name="Film").generation_sources.add(source)
    return user


@pytest.fixture
def as_ann(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def make(ann: User, source: Source, **fields: Any) -> Generation:
    return make_generation(source, actor=ann, team=ann.groups.get().team, **fields)


def page_of(client: Client, made: Generation) -> str:
    return client.get(f"/tasks/{made.pk}/").text


def test_details_show_what_helps_and_no_notes_of_the_portal(
    as_ann: Client, ann: User, source: Source
) -> None:
    told = {"reported_percent": 100.0, "told_after_the_end": "failed", "seconds": 4.0, "service": "studio"}
    page = page_of(as_ann, make(ann, source, state=State.COMPLETED, metadata=told | {"codec": "h264"}))
    assert "<dt>Duration</dt><dd>4 s</dd>" in page and "<dt>Codec</dt><dd>h264</dd>" in page
    assert "Reported percent" not in page and "Told after" not in page and "<dt>Service</dt>" not in page


def test_a_service_behind_the_source_is_named(as_ann: Client, ann: User, source: Source) -> None:
    page = page_of(as_ann, make(ann, source, state=State.COMPLETED, metadata={"service": "veo3"}))
    assert "<dt>Service</dt><dd>veo3</dd>" in page


STANDING = [
    ({"state": State.PROCESSING, "task": {"percent": 45.4}}, "45 % reported by provider"),
    ({"state": State.PROCESSING, "task": {"step": "Rendering"}}, "Rendering"),
    ({"state": State.PENDING}, "Waiting in the portal, place 1"),
    ({"state": State.PENDING, "hold_reason": "The source is paused."}, "place 1. The source is paused."),
    ({"is_sent": True, "queue_position": 5}, "Queued at the provider, place 5"),
    ({"is_sent": True}, "Queued at the provider"),
    ({"is_sent": True, "answered_at": None}, "Being sent to the provider"),
    ({"state": State.PROCESSING, "quiet_since": now()}, "No sign of life for"),
    ({"state": State.PROCESSING, "task": {"cancel_requested_at": now()}}, "Cancelling…"),
]


@pytest.mark.parametrize(("fields", "words"), STANDING, ids=range(len(STANDING)))
def test_row_page_and_stream_say_where_it_stands(
    as_ann: Client, ann: User, source: Source, fields: dict[str, Any], words: str
) -> None:
    made = make(ann, source, **fields)
    assert words in as_ann.get("/tasks/").text
    assert words in page_of(as_ann, made)
    event = Event(7, made.pk, source.pk, TaskEvent.Kind.STATE)
    frames = Composer().compose([event], frozenset({"tasks", f"task:{made.pk}"}))
    assert len(frames) == 2
    assert all(words in frame.frame.decode() for frame in frames)


def test_places_of_all_that_moved_are_looked_up_at_once(
    ann: User, source: Source, django_assert_max_num_queries: Any
) -> None:
    waiting = [make(ann, source) for _ in range(12)]
    events = [Event(n, made.pk, source.pk, TaskEvent.Kind.STATE) for n, made in enumerate(waiting, 1)]
    Composer().compose(events[:1], frozenset({"tasks"}))
    with django_assert_max_num_queries(9):
        frames = Composer().compose(events, frozenset({"tasks"}))
    assert [f"place {n}" in frame.frame.decode() for n, frame in enumerate(frames, 1)] == [True] * 12


def test_quiet_task_is_never_called_failed(as_ann: Client, ann: User, source: Source) -> None:
    made = make(
        ann,
        source,
        state=State.PROCESSING,
        quiet_since=now(),
        last_sign_at=now() - timedelta(minutes=6, seconds=5),
    )
    page = page_of(as_ann, made)
    assert ">6 min<" in page and "Running" in page
    assert "Failed" not in page and 'class="failure"' not in page


def test_stream_sends_the_providers_number_in_its_words(source: Source) -> None:
    made = make_generation(source, state=State.PROCESSING, task={"percent": 45.0, "step": "Frames"})
    event = Event(7, made.pk, source.pk, TaskEvent.Kind.PROGRESS)
    (message,) = Composer().compose([event], frozenset({f"task:{made.pk}"}))
    assert '"text":"45 % reported by provider \\u00b7 Frames"' in message.frame.decode()


def test_usual_duration_stands_where_there_is_no_number(as_ann: Client, ann: User, source: Source) -> None:
    for _ in range(5):
        ended_at = now() - timedelta(hours=1)
        make(
            ann,
            source,
            state=State.COMPLETED,
            task={"ended_at": ended_at},
            asked_at=ended_at - timedelta(hours=2),
            processing_at=ended_at - timedelta(minutes=2),
        )
    running = make(ann, source, state=State.PROCESSING)
    assert "usually about 2 min (last 5 runs)" in page_of(as_ann, running)
    known = make(ann, source, state=State.PROCESSING, task={"percent": 5})
    assert "usually" not in page_of(as_ann, known)


def test_list_asks_for_all_places_at_once(
    as_ann: Client, ann: User, source: Source, django_assert_max_num_queries: Any
) -> None:
    make_task(source)
    for _ in range(8):
        make(ann, source)
    as_ann.get("/tasks/")
    with django_assert_max_num_queries(30):
        page = as_ann.get("/tasks/").text
    assert "place 8" in page


def test_row_names_person_team_and_source(as_ann: Client, ann: User, source: Source) -> None:
    make(ann, source, prompt="<b>A fox</b>")
    page = as_ann.get("/tasks/").text
    assert "ann" in page and "Film" in page and "studio" in page
    assert "&lt;b&gt;A fox&lt;/b&gt;" in page and "<b>A fox" not in page


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_failure_is_told_in_plain_words_by_its_kind(
    as_ann: Client, ann: User, source: Source, kind: Kind
) -> None:
    made = make(
        ann, source, state=State.FAILED, problem_kind=kind, task={"error_line": "E1234 <i>said no</i>"}
    )
    page = page_of(as_ann, made)
    words = WORDS[kind]
    assert words.title.replace("'", "&#x27;") in page and words.advice.replace("'", "&#x27;") in page
    assert "E1234 &lt;i&gt;said no" in page
    assert words.title.replace("'", "&#x27;") in as_ann.get("/tasks/").text


def test_traceback_is_shown_to_admins_of_the_source_alone(client: Client, ann: User, source: Source) -> None:
    made = make(
        ann, source, state=State.FAILED, problem_detail="Traceback: boom", task={"raw": {"a": "boom"}}
    )
    for person, may in ((ann, False), (make_user(Role.OPERATOR), False), (make_user(Role.ADMIN), True)):
        client.force_login(person)
        assert ("Traceback: boom" in page_of(client, made)) is may
        assert client.get(f"/tasks/{made.pk}/raw").status_code == (200 if may else 403)


def test_result_shows_players_downloads_and_what_is_known(as_ann: Client, ann: User, source: Source) -> None:
    made = make(
        ann,
        source,
        state=State.COMPLETED,
        cost="0.40 USD",
        metadata={"model": "veo-3", "seed": 4711, "url": "https://signed.example/?sig=1", "deep": {"a": 1}},
        parameters={"prompt": "A red fox in the snow", "duration": 4, "audio": True, "strange": "x"},
    )
    video = make_asset(
        made, name="fox.mp4", state="copied", media_type="video/mp4", size=1_234_567, sha256="ab" * 32,
        file="results/fox.mp4", origin="https://cdn.example/fox.mp4", url="https://cdn.example/?sig=2",
    )  # fmt: skip
    image = make_asset(made, name="a b?.png", state="copied", media_type="image/png", file="results/a.png")
    make_asset(made, name="page.html", state="copied", media_type="application/octet-stream", file="r/p")
    Upload.objects.create(
        generation=made, parameter="first_frame", name="start.png", media_type="image/png", size=10,
        sha256="", file="u/s.png",
    )  # fmt: skip
    page = page_of(as_ann, made)
    assert (
        f'<video class="result-media" controls preload="metadata" playsinline src="/results/{video.pk}/'
        in page
    )
    assert f'src="/results/{image.pk}/a%20b%3F.png"' in page
    assert "not shown in the browser" in page
    for words in ("1.2 MB", "video/mp4", "ab" * 32, "veo-3", "4711", "0.40 USD", "start.png", "First frame"):
        assert words in page
    assert "Duration" in page and "4 s" in page and "strange" in page
    assert "sig=" not in page and "deep" not in page
    assert page.count("?download=1") == 3


ASSETS = [
    ({"bytes_done": 3_400_000, "declared_size": 9_000_000}, "3.4 MB of 9.0 MB"),
    ({"attempts": 2, "error": "It answers with 503."}, "It answers with 503. Tried 2 times; again at"),
    ({"state": "expired"}, "Expired at the provider"),
    ({"state": "too_large", "error": "It has 4.1 GB."}, "It has 4.1 GB."),
    ({"state": "failed", "error": "It is a page.", "attempts": 33}, "It is a page. Tried 33 times."),
    ({"state": "removed"}, "Removed by retention"),
]


@pytest.mark.parametrize(("fields", "words"), ASSETS, ids=range(len(ASSETS)))
def test_file_that_is_not_there_says_why_and_the_task_stays_completed(
    as_ann: Client, ann: User, source: Source, fields: dict[str, Any], words: str
) -> None:
    made = make(ann, source, state=State.COMPLETED)
    asset = make_asset(made, **fields)
    page = page_of(as_ann, made)
    assert words in page and "Completed" in page
    assert "?download=1" not in page
    part = as_ann.get(f"/tasks/{made.pk}/assets/{asset.pk}").text
    assert words in part
    assert ("every 2s" in part) is (asset.state == "waiting")


def test_completed_task_without_files_says_so(as_ann: Client, ann: User, source: Source) -> None:
    assert "named no file" in page_of(as_ann, make(ann, source, state=State.COMPLETED))
    cleaned = make(ann, source, state=State.COMPLETED, cleaned_at=now())
    assert "The files were removed" in page_of(as_ann, cleaned)


def test_keeping_is_offered_to_who_may(client: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.COMPLETED)
    make_asset(made, state="copied", media_type="image/png", file="r/a.png")
    client.force_login(ann)
    assert "unless kept" in page_of(client, made) and f"/tasks/{made.pk}/keep" in page_of(client, made)
    Generation.objects.update(kept_at=now(), kept_by_name="ann")
    page = page_of(client, made)
    assert "Kept by ann" in page and f"/tasks/{made.pk}/release" in page and "unless kept" not in page
    client.force_login(make_user(Role.VIEWER))
    page = page_of(client, made)
    assert "Kept by ann" in page and "/release" not in page


def test_parts_of_clusters_are_left_out(as_ann: Client, ann: User, source: Source) -> None:
    page = page_of(as_ann, make(ann, source, state=State.COMPLETED))
    assert "UPID" not in page and "Proxmox" not in page and "gives no log" in page


def test_log_is_shown_when_there_is_one(as_ann: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.PROCESSING)
    add_log(made.task, "step 1 of 20")
    page = page_of(as_ann, made)
    assert "step 1 of 20" in page and "gives no log" not in page


def test_task_of_somebody_else_at_the_provider_is_shown_as_such(client: Client, source: Source) -> None:
    made = make_generation(source, actor=None, prompt="", state=State.PROCESSING)
    client.force_login(make_superuser())
    page = page_of(client, made)
    assert "started without the portal" in page and "does not tell what was asked for" in page


@pytest.mark.parametrize("state", list(State), ids=str)
def test_page_of_every_state_can_be_drawn(as_ann: Client, ann: User, source: Source, state: State) -> None:
    made = make(ann, source, state=state)
    for path in ("", "generation", "actions"):
        assert as_ann.get(f"/tasks/{made.pk}/{path}").status_code == 200


def test_page_survives_a_source_whose_settings_cannot_be_used(
    as_ann: Client, ann: User, source: Source
) -> None:
    Source.objects.update(settings={"offers": "broken"})
    made = make(ann, source, state=State.FAILED)
    assert as_ann.get(f"/tasks/{made.pk}/").status_code == 200
    assert as_ann.get("/generate/").status_code == 200


def test_stranger_gets_404_everywhere(client: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.FAILED)
    asset = make_asset(made)
    client.force_login(make_user())
    for path in ("", "generation", f"assets/{asset.pk}", "retry"):
        assert client.get(f"/tasks/{made.pk}/{path}").status_code == 404


def test_tasks_of_clusters_have_none_of_it(client: Client) -> None:
    task = make_task()
    client.force_login(make_superuser())
    assert client.get(f"/tasks/{task.pk}/generation").status_code == 404
    assert client.get(f"/tasks/{task.pk}/retry").status_code == 404


def retry(client: Client, made: Generation, **data: str) -> Any:
    return client.post(f"/tasks/{made.pk}/retry", {"idempotency_key": str(uuid.uuid4())} | data)


def test_trying_again_makes_one_new_task_of_the_same_input(as_ann: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.FAILED, parameters={"prompt": "A red fox in the snow"})
    assert "Try again" in page_of(as_ann, made)
    key = str(uuid.uuid4())
    first, second = (retry(as_ann, made, idempotency_key=key) for _ in range(2))
    again = Generation.objects.exclude(pk=made.pk).get()
    assert first["Location"] == second["Location"] == f"/tasks/{again.pk}/"
    assert again.prompt == made.prompt and again.team == made.team
    assert Task.objects.get(pk=made.pk).state == State.FAILED


def test_unknown_outcome_is_sent_again_only_by_who_looked(as_ann: Client, ann: User, source: Source) -> None:
    made = make(
        ann, source, state=State.LOST, problem_kind=Kind.OUTCOME_UNKNOWN, parameters={"prompt": "A fox"}
    )
    assert "It may have been made already" in as_ann.get(f"/tasks/{made.pk}/retry").text
    answer = retry(as_ann, made)
    assert answer.status_code == 422 and "Tick this when you have looked." in answer.text
    assert Generation.objects.count() == 1
    assert retry(as_ann, made, confirmed="on").status_code == 302
    assert Generation.objects.count() == 2


def test_trying_again_is_not_for_viewers(client: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.FAILED)
    client.force_login(make_user(Role.VIEWER))
    assert "/retry" not in page_of(client, made)
    assert retry(client, made).status_code == 403
    assert client.get(f"/tasks/{made.pk}/retry").status_code == 403


def test_completed_task_is_not_tried_again(as_ann: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.COMPLETED)
    assert "/retry" not in page_of(as_ann, made)
    assert retry(as_ann, made).status_code == 422
    assert as_ann.get(f"/tasks/{made.pk}/retry").status_code == 409


def test_what_happened_ends_with_the_end(as_ann: Client, ann: User, source: Source) -> None:
    """A provider that refuses at once names an end before its own answer came."""
    at = now()
    made = make(
        ann, source, state=State.FAILED, called_at=at, answered_at=at + timedelta(milliseconds=80),
        task={"ended_at": at + timedelta(milliseconds=20)},
    )  # fmt: skip
    page = page_of(as_ann, made)
    assert page.index("took it") < page.index("Ended: Failed")


def test_own_waiting_task_is_withdrawn(as_ann: Client, ann: User, source: Source) -> None:
    made = make(ann, source)
    assert "withdrawn at once" in as_ann.get(f"/tasks/{made.pk}/cancel").text
    assert as_ann.post(f"/tasks/{made.pk}/cancel").status_code == 302
    assert Task.objects.get(pk=made.pk).state == State.CANCELLED
    assert "Proxmox" not in page_of(as_ann, made)


def test_running_task_of_a_colleague_is_not_mine_to_cancel(client: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.PROCESSING)
    bob = make_user()
    bob.groups.add(ann.groups.get())
    client.force_login(bob)
    assert f"/tasks/{made.pk}/cancel" not in page_of(client, made)
    assert client.get(f"/tasks/{made.pk}/cancel").status_code == 403
    assert client.post(f"/tasks/{made.pk}/cancel").status_code == 403


def test_finished_task_cannot_be_cancelled(as_ann: Client, ann: User, source: Source) -> None:
    made = make(ann, source, state=State.COMPLETED)
    assert as_ann.post(f"/tasks/{made.pk}/cancel").status_code == 409


def test_who_moves_up_in_the_queue_is_told(ann: User, source: Source, settings: Any) -> None:
    settings.VIDEO_MAX_CONCURRENT = 1
    first, second, third = (
        make(ann, source, asked_at=now() - timedelta(minutes=minutes)) for minutes in (3, 2, 1)
    )
    TaskEvent.objects.all().delete()
    assert generation_queue.dispatch() == [first.pk]
    told = TaskEvent.objects.filter(kind=TaskEvent.Kind.STATE).values_list("task_id", flat=True)
    assert set(told) >= {second.pk, third.pk}
