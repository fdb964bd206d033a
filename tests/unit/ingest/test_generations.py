"""Observations of generation tasks become rows: one way, repeatable, whatever the remote sends."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from tasks_app.ingest import generations
from tasks_app.ingest.assets import INLINE
from tasks_app.ingest.logs import read_lines
from tasks_app.models import Asset, Generation, Source, Task, TaskEvent, TaskLog
from tasks_app.sources.generation.base import Accepted, GenerationObservation, Problem, RemoteAsset
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source

pytestmark = pytest.mark.django_db

VIDEO = RemoteAsset("fox.mp4", url="https://cdn.test/a/fox.mp4?X-Signature=secret", media_type="video/mp4")


def seen(row, state=State.PROCESSING, **fields):
    return GenerationObservation(remote_id=row.task.remote_id, state=state, **fields)


def observe(row, state=State.PROCESSING, *, at=None, **fields):
    changed = generations.observe(row.pk, seen(row, state, **fields), at=at or now())
    row.refresh_from_db()
    return changed


def kinds(row):
    return list(TaskEvent.objects.filter(task_id=row.pk).order_by("pk").values_list("kind", flat=True))


def writes(queries):
    return [q["sql"] for q in queries if q["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.fixture
def sent():
    return make_generation(is_sent=True)


@pytest.fixture
def running():
    return make_generation(state=State.PROCESSING)


FULL = {
    "word": "running",
    "progress": 40,
    "message": "Rendering frames",
    "updated_at": datetime(2026, 11, 20, 10, 0),
    "metadata": {"model": "veo3"},
    "log_lines": ("loading", "step 1"),
    "cost": "0.12 USD",
}


def test_what_the_remote_tells_stands_in_the_rows(running):
    assert observe(running, **FULL)
    task = running.task
    assert (task.percent, task.step, task.log_total) == (40, "Rendering frames", 2)
    assert (running.word, running.cost, running.metadata["model"]) == ("running", "0.12 USD", "veo3")
    assert running.remote_updated_at.isoformat() == "2026-11-20T10:00:00+00:00"
    assert set(kinds(running)) == {"state", "log"}


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.COMPLETED, State.FAILED])
def test_the_same_again_writes_nothing(sent, state):
    fields = FULL | {"assets": (VIDEO,), "problem": Problem("provider", "boom"), "queue_position": 3}
    observe(sent, state, **fields)
    before = TaskEvent.objects.count()
    with CaptureQueriesContext(connection) as queries:
        assert not observe(sent, state, at=now() + timedelta(seconds=9), **fields)
    assert writes(queries) == []
    assert TaskEvent.objects.count() == before


def test_no_news_costs_one_query(running):
    observe(running, progress=40)
    same = seen(running, progress=40)
    with CaptureQueriesContext(connection) as queries:
        assert not generations.observe(running.pk, same, at=now())
    assert len(queries) == 1


def test_the_bar_does_not_go_back_where_the_number_does(running):
    observe(running, progress=60)
    observe(running, progress=35)
    assert running.task.percent == 60
    assert running.metadata["reported_percent"] == 35


def test_without_a_number_there_is_no_number(running):
    observe(running)
    assert running.task.percent is None
    observe(running, progress=12)
    observe(running, progress=None, word="later")
    assert running.task.percent == 12


def test_fractions_of_a_percent_are_written_now_and_then(running):
    at = now()
    observe(running, at=at, progress=10.0)
    assert not observe(running, at=at + timedelta(seconds=3), progress=10.4)
    assert observe(running, at=at + timedelta(seconds=4), progress=11.1)
    assert observe(running, at=at + timedelta(seconds=15), progress=11.2)
    assert running.last_sign_at == at + timedelta(seconds=15)


def test_the_rows_of_a_list_are_written_together(running):
    rows = [running, *(make_generation(state=State.PROCESSING) for _ in range(59))]
    told = [(row.pk, seen(row, State.COMPLETED if row is running else State.PROCESSING)) for row in rows]
    assert generations.observe_many(told, at=now()) == {row.pk for row in rows}
    assert generations.observe_many(told, at=now()) == set()
    running.refresh_from_db()
    assert running.task.state == "completed"
    assert TaskLog.objects.filter(task=running.task).exists()


def test_a_hundred_percent_is_no_end(running):
    observe(running, progress=100)
    assert (running.task.state, running.task.percent) == ("processing", 100)


@pytest.mark.parametrize("final", [State.COMPLETED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("later", list(State))
def test_a_final_state_never_changes(running, final, later):
    observe(running, final, problem=Problem("provider", "boom"))
    ended_at = running.task.ended_at
    observe(running, later, at=now() + timedelta(minutes=1), progress=3, problem=Problem("lost", "other"))
    assert (running.task.state, running.task.ended_at) == (final, ended_at)
    assert running.metadata.get("told_after_the_end") == (None if later == final else later)


def test_an_unknown_end_gives_way_to_a_known_one(running):
    generations.end_without_remote(
        running.pk, state=State.LOST, at=now(), problem=Problem("outcome_unknown", "No proof.")
    )
    running.refresh_from_db()
    assert (running.task.state, running.problem_kind) == ("lost", "outcome_unknown")
    observe(running, State.PROCESSING)
    assert running.task.state == "lost"
    observe(running, State.COMPLETED, assets=(VIDEO,))
    assert (running.task.state, running.task.error_line, running.problem_kind) == ("completed", "", "")
    assert running.assets.count() == 1


def test_a_late_queued_moves_nothing(running):
    observe(running, progress=50)
    assert not observe(running, State.PENDING, progress=0, queue_position=9, word="queued", message="waiting")
    assert (running.task.state, running.task.percent, running.queue_position) == ("processing", 50, None)


def test_an_unknown_word_leaves_the_state_and_is_warned_of_once(running, caplog):
    for word in ("simmering", "simmering", "frozen"):
        observe(running, None, word=word)
    assert (running.task.state, running.word) == ("processing", "frozen")
    assert [r.args[1] for r in caplog.records if "unknown status word" in r.message] == [
        "simmering",
        "frozen",
    ]


def test_completed_makes_assets_in_the_same_moment(running):
    at = now()
    observe(running, State.COMPLETED, at=at, assets=(VIDEO, RemoteAsset("", data=b"GIF89a")))
    video, inline = running.assets.all()
    assert (running.task.state, running.task.percent, running.ask_at) == ("completed", 100, None)
    assert (video.state, video.origin, video.url) == ("waiting", "https://cdn.test/a/fox.mp4", VIDEO.url)
    assert (inline.name, inline.ref) == ("result-2", {INLINE: True})
    assert set(Asset.objects.due(now())) == {video, inline}


def test_a_newly_signed_address_replaces_that_of_a_file_not_copied_yet(running):
    observe(running, State.COMPLETED, assets=(VIDEO, VIDEO))
    running.assets.filter(number=1).update(state=Asset.State.COPIED)
    assert observe(
        running, State.COMPLETED, assets=(replace(VIDEO, url="https://cdn.test/a/fox.mp4?new"),) * 2
    )
    assert [asset.url.endswith("?new") for asset in running.assets.all()] == [True, False]


def test_the_files_of_others_are_not_ours_to_copy():
    foreign = make_generation(state=State.PROCESSING, actor=None)
    observe(foreign, State.COMPLETED, assets=(VIDEO,))
    assert foreign.task.state == "completed"
    assert not foreign.assets.exists()


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (State.COMPLETED, "It finished before the cancel arrived."),
        (State.CANCELLED, "The provider stopped it."),
        (State.FAILED, "It had ended by itself before the cancel arrived."),
    ],
)
def test_a_cancel_is_a_wish_and_the_end_says_what_became_of_it(running, state, note):
    Task.objects.filter(pk=running.pk).update(cancel_requested_at=now(), cancel_delivered_at=now())
    observe(running, state, assets=(VIDEO,))
    assert (running.task.state, running.task.cancel_note) == (state, note)
    assert running.assets.count() == (state == State.COMPLETED)
    assert not Task.objects.cancels_waiting().exists()


def test_a_failure_keeps_the_words_and_the_detail_for_staff(running):
    detail = "Traceback (most recent call last): /srv/app.py"
    problem = Problem("content_policy", "The prompt\0 was refused.", code="policy", detail=detail)
    observe(running, State.FAILED, problem=problem, progress=70)
    task = running.task
    assert (task.state, task.error_line, task.percent) == ("failed", "The prompt\ufffd was refused.", 70)
    assert (running.problem_kind, running.problem_code, running.problem_detail) == (
        "content_policy",
        "policy",
        detail,
    )
    assert "refused" in task.search_text and "red fox" in task.search_text


def test_stacks_and_signatures_do_not_reach_what_people_see(running):
    raw = {
        "error": {"traceback": "File /srv", "type": "X"},
        "url": VIDEO.url,
        "deep": [[{"a": float("nan")}]],
    }
    observe(running, State.COMPLETED, raw=raw, metadata={"poster": VIDEO.url})
    assert running.task.raw == {
        "error": {"type": "X"},
        "url": "https://cdn.test/a/fox.mp4",
        "deep": [[{"a": None}]],
    }
    assert running.metadata["poster"] == "https://cdn.test/a/fox.mp4"


def deep(levels):
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"progress": float("nan")}, id="nan"),
        pytest.param({"progress": float("inf")}, id="infinity"),
        pytest.param({"progress": 10**400}, id="huge"),
        pytest.param({"progress": True}, id="bool"),
        pytest.param({"progress": "45"}, id="text"),
    ],
)
def test_a_number_that_is_none_is_none(running, fields):
    observe(running, word="x", **fields)
    assert running.task.percent is None


def test_hostile_observations_are_stored_in_bounds(sent):
    observe(
        sent,
        State.PENDING,
        progress=-5,
        queue_position=10**12,
        word="w\0" * 100,
        message="m\0\ud800" * 400_000,
        created_at=datetime(1, 1, 1),
        started_at=datetime(9999, 12, 31),
        updated_at="yesterday",
        metadata={"deep": deep(5000), "big": "x" * 10**6, 5: b"bytes", "n": 10**400},
        raw=deep(900),
        cost="c" * 500,
        log_lines=("l\0" * 10_000, 17),
    )
    assert sent.queue_position is None
    assert (sent.task.percent, len(sent.word), len(sent.cost), len(sent.message)) == (0, 60, 60, 2000)
    assert "\0" not in sent.message + sent.word + sent.task.step
    assert len(sent.metadata["big"]) == 2000
    assert [len(text) for _, text in read_lines(sent.task, 0, 10)] == [2000, 2]
    observe(sent, State.COMPLETED, finished_at=datetime(2999, 1, 1), assets=(VIDEO,) * 1000)
    assert sent.task.ended_at <= now()
    assert sent.assets.count() == 200


def test_naive_times_are_utc_and_a_clock_ahead_does_not_move_the_end(running):
    at = now()
    observe(running, State.COMPLETED, at=at, finished_at=(at - timedelta(seconds=7)).replace(tzinfo=None))
    assert running.task.ended_at == at - timedelta(seconds=7)


def test_log_lines_are_appended_and_the_log_is_closed_at_the_end(running):
    observe(running, log_lines=("one", "tw"))
    assert observe(running, log_lines=("one", "two", "three"))
    assert not observe(running, log_lines=("one",))
    assert read_lines(running.task, 0, 9) == [(1, "one"), (2, "two"), (3, "three")]
    observe(running, State.COMPLETED, log_lines=("one", "two", "three", "four"))
    assert [text for _, text in read_lines(running.task, 1, 9)] == ["two", "three", "four"]
    assert TaskLog.objects.get(task=running.task).is_complete
    assert not running.task.log_lines.exists()


def test_an_ended_task_without_log_is_not_looked_for_again(running):
    observe(running, State.COMPLETED)
    assert TaskLog.objects.get(task=running.task).is_complete
    assert Task.objects.touch_watched([running.pk]) == 0


def test_a_sign_of_life_takes_the_warning_back(running):
    source = running.task.source
    last = running.last_sign_at
    assert generations.mark_quiet(source, [running], at=now()) == 1
    assert generations.mark_quiet(source, [running], at=now()) == 0
    running.refresh_from_db()
    assert running.quiet_since == last
    observe(running, message="still here")
    assert running.quiet_since is not None  # words alone are no sign
    observe(running, progress=41)
    assert running.quiet_since is None
    assert running.last_sign_at > last


def test_who_has_shown_a_sign_since_it_was_judged_is_not_quiet(running):
    judged = Generation.objects.get(pk=running.pk)
    observe(running, progress=3)
    assert generations.mark_quiet(running.task.source, [judged], at=now()) == 0


@pytest.mark.parametrize(
    "fields",
    [{"log_lines": ("x",)}, {"progress": 1}, {"updated_at": datetime(2026, 11, 20)}],
    ids=["log", "progress", "update-time"],
)
def test_what_is_a_sign_of_life(running, fields):
    generations.mark_quiet(running.task.source, [running], at=now())
    observe(running, **fields)
    assert running.quiet_since is None


def test_a_new_place_in_the_queue_is_a_sign_of_life(sent):
    observe(sent, State.PENDING, queue_position=5)
    generations.mark_quiet(sent.task.source, [sent], at=now())
    observe(sent, State.PENDING, queue_position=4)
    assert (sent.queue_position, sent.quiet_since) == (4, None)
    observe(sent, State.PENDING, is_partial=True, queue_position=None)
    assert sent.queue_position == 4  # a list does not tell places
    observe(sent)
    assert sent.queue_position is None


def test_three_misses_over_two_minutes_lose_a_task(running):
    at = now()
    for seconds in (0, 30, 60, 119):
        generations.note_missing(running.pk, at=at + timedelta(seconds=seconds))
        running.task.refresh_from_db()
        assert running.task.state == "processing"
    generations.note_missing(running.pk, at=at + timedelta(seconds=121))
    running.refresh_from_db()
    assert (running.task.state, running.problem_kind, running.ask_at) == ("failed", "lost", None)


def test_two_misses_far_apart_lose_nothing_and_a_find_forgets_them(running):
    at = now()
    generations.note_missing(running.pk, at=at)
    generations.note_missing(running.pk, at=at + timedelta(minutes=10))
    observe(running)
    assert (running.task.state, running.task.missing_count) == ("processing", 0)


def test_what_is_missing_after_our_cancel_is_cancelled(running):
    Task.objects.filter(pk=running.pk).update(cancel_requested_at=now(), cancel_delivered_at=now())
    generations.note_missing(running.pk, at=now())
    running.refresh_from_db()
    assert (running.task.state, running.problem_kind) == ("cancelled", "")
    assert running.task.cancel_note == "The provider stopped it."


def test_a_cancel_that_was_not_delivered_proves_nothing(running):
    Task.objects.filter(pk=running.pk).update(cancel_requested_at=now())
    generations.note_missing(running.pk, at=now())
    running.task.refresh_from_db()
    assert running.task.state == "processing"


def test_an_end_without_the_remote_is_written_once():
    row = make_generation()
    assert generations.end_without_remote(row.pk, state=State.CANCELLED, at=now(), note="Withdrawn.")
    assert not generations.end_without_remote(row.pk, state=State.FAILED, at=now(), note="Refused.")
    row.refresh_from_db()
    assert (row.task.state, row.task.error_line, row.is_held) == ("cancelled", "", False)
    assert kinds(row).count("state") == 1


def accepted(remote_id="vid_1", **fields):
    first = GenerationObservation(remote_id, fields.pop("state", State.PENDING), **fields)
    return Accepted(first, {"id": remote_id, "path": "/x"})


def test_an_answer_names_the_task_and_wakes_the_poller():
    source = make_generation_source(next_pass_at=now() + timedelta(minutes=5))
    row = make_generation(source, called_at=now(), lease_until=now(), hold_reason="waits")
    at = now()
    for _ in range(2):
        generations.record_answer(row.pk, accepted(queue_position=2), at=at)
    row.refresh_from_db()
    assert (row.task.remote_id, row.handle, row.answered_at) == ("vid_1", {"id": "vid_1", "path": "/x"}, at)
    assert (row.queue_position, row.lease_until, row.hold_reason) == (2, None, "")
    assert list(Generation.objects.askable()) == [row]
    assert Source.objects.get(pk=source.pk).next_pass_at == row.ask_at <= at + timedelta(seconds=2)
    assert "vid_1" in row.task.search_text


def test_an_answer_merges_the_row_that_a_list_made_meanwhile():
    row = make_generation(called_at=now())
    source = row.task.source
    assert generations.discover(source, [GenerationObservation("vid_1", State.PROCESSING)], at=now()) == 1
    generations.record_answer(row.pk, accepted(), at=now())
    assert list(Task.objects.filter(source=source).values_list("pk", "remote_id")) == [(row.pk, "vid_1")]


def test_one_remote_id_for_two_orders_leaves_both_rows():
    first = make_generation(state=State.PROCESSING)
    second = make_generation(first.task.source, called_at=now())
    generations.record_answer(second.pk, accepted(first.task.remote_id), at=now())
    second.refresh_from_db()
    assert second.task.remote_id == second.own_id
    assert second.handle["id"] == first.task.remote_id


def test_an_answer_may_tell_the_end_at_once():
    row = make_generation(called_at=now())
    generations.record_answer(row.pk, accepted(state=State.COMPLETED, assets=(VIDEO,)), at=now())
    row.refresh_from_db()
    assert (row.task.state, row.ask_at, row.assets.count()) == ("completed", None, 1)


def test_a_handle_beyond_measure_becomes_the_id():
    row = make_generation(called_at=now())
    answer = Accepted(GenerationObservation("vid_1", State.PENDING), {"id": "vid_1", "x": "y" * 10**6})
    generations.record_answer(row.pk, answer, at=now())
    row.refresh_from_db()
    assert row.handle == {"id": "vid_1"}


def test_tasks_of_others_become_rows_without_a_person():
    source, at = make_generation_source(), now()
    rows = [
        GenerationObservation(
            "img_1", State.PROCESSING, progress=30, kind="image", input={"prompt": "a\0b"}, is_partial=True
        ),
        GenerationObservation("vid_2", State.COMPLETED, updated_at=at - timedelta(hours=1)),
        GenerationObservation("vid_old", State.COMPLETED, updated_at=at - timedelta(hours=30)),
        GenerationObservation("vid_timeless", State.FAILED),
        GenerationObservation("bad\0id", State.PROCESSING),
        GenerationObservation("x" * 2000, State.PROCESSING),
        GenerationObservation("vid_odd", None, word="simmering"),
    ]
    assert generations.discover(source, rows, at=at, handle_of=lambda i: {"id": i, "p": 1}) == 2
    assert generations.discover(source, rows, at=at) == 0
    image = Generation.objects.get(task__remote_id="img_1")
    assert (image.kind, image.prompt, image.actor_name, image.handle["p"]) == ("image", "a\ufffdb", "", 1)
    assert (image.task.type, image.task.percent, image.task.state) == ("image", 30, "processing")
    assert Generation.objects.get(task__remote_id="vid_2").ask_at is None
    assert TaskEvent.objects.filter(kind="new").count() == 2


def test_known_ids_are_no_discoveries(running):
    assert generations.discover(running.task.source, [seen(running)], at=now()) == 0


def test_an_event_that_moved_the_question_is_heard(running):
    at = now()
    stale = Generation.objects.get(pk=running.pk)
    Generation.objects.filter(pk=running.pk).update(ask_at=at)
    generations.record_question(
        stale, ask_at=at + timedelta(seconds=30), pause_seconds=30, asks_without_sign=0
    )
    running.refresh_from_db()
    assert running.ask_at == at
    generations.record_question(
        running, ask_at=at + timedelta(seconds=30), pause_seconds=30, asks_without_sign=1
    )
    running.refresh_from_db()
    assert (running.ask_at, running.pause_seconds) == (at + timedelta(seconds=30), 30)
    assert running.asks_without_sign == 1
