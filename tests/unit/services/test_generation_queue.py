"""Whose video is sent next: limits, fairness over time, places, and why something is held."""

import random
from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import Generation, Source, Task, TaskEvent
from tasks_app.services import generation_queue
from tasks_app.services.generation_queue import dispatch, limits_of, places
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limits(settings):
    settings.MAX_CONCURRENT_TASKS, settings.IMAGE_MAX_CONCURRENT, settings.VIDEO_MAX_CONCURRENT = 10, 3, 2
    return settings


@pytest.fixture
def source():
    return make_generation_source()


def start():
    """What dispatch would have jobs send now, sent: tasks in the order of their turns."""
    pks = dispatch()
    for pk in pks:
        Generation.objects.filter(pk=pk).update(called_at=now(), answered_at=now(), lease_until=None)
    return pks


def finish(pk):
    Task.objects.filter(pk=pk).update(state=State.COMPLETED)


# --- limits


@pytest.mark.parametrize(("kind", "most"), [("video", 2), ("image", 3), ("workflow", 10)])
def test_each_kind_has_its_limit_and_workflows_only_the_total(source, kind, most):
    for _ in range(12):
        make_generation(source, kind=kind)
    assert len(dispatch()) == most


def test_all_kinds_count_to_the_total(source, limits):
    limits.MAX_CONCURRENT_TASKS = 4
    for kind in ("workflow", "workflow", "workflow", "image", "image", "video"):
        make_generation(source, kind=kind)
    assert len(dispatch()) == 4


def test_a_place_that_was_given_counts_before_its_job_comes(source):
    for _ in range(4):
        make_generation(source)
    assert len(dispatch()) == 2
    assert dispatch() == []


def test_a_place_whose_job_never_comes_is_given_again(source):
    row = make_generation(source)
    assert dispatch() == [row.pk]
    Generation.objects.update(lease_until=now() - timedelta(seconds=1))
    assert dispatch() == [row.pk]


def test_what_is_perhaps_sent_counts(source):
    make_generation(source, is_sent=True, answered_at=None)
    make_generation(source, is_sent=True)
    make_generation(source)
    assert dispatch() == []


def test_a_source_has_limits_of_its_own_which_hold_up_nobody_else():
    small = make_generation_source(settings={"limits": {"video": 1, "image": 0}})
    large = make_generation_source()
    first = make_generation(small)
    for kind in ("video", "image"):
        make_generation(small, kind=kind)
    other = make_generation(large)
    assert dispatch() == [first.pk, other.pk]


def test_tasks_of_others_count_to_their_source_alone(limits):
    shared = make_generation_source(settings={"limits": {"total": 1}})
    for _ in range(5):
        make_generation(shared, actor=None, state=State.PROCESSING)
    make_generation(shared)
    elsewhere = make_generation(make_generation_source())
    assert dispatch() == [elsewhere.pk]


@pytest.mark.parametrize("since", ["failing_since", "paused_at"])
@pytest.mark.parametrize(("minutes", "places_left"), [(9, 0), (11, 2)])
def test_a_source_that_is_silent_for_long_takes_no_places_from_the_others(
    source, since, minutes, places_left
):
    other = make_generation_source(**{since: now() - timedelta(minutes=minutes)})
    for _ in range(2):
        make_generation(other, called_at=now())
    waiting = [make_generation(source).pk for _ in range(3)]
    assert dispatch() == waiting[:places_left]


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {"limits": None},
        {"limits": {"video": "2", "image": True, "total": -1}},
        {"limits": {"video": 1e9}},
    ],
    ids=["none", "list", "null", "wrong types", "float"],
)
def test_limits_that_make_no_sense_do_not_limit(given):
    assert limits_of(given) == {}


def test_what_is_not_due_or_withdrawn_or_paused_stays(source):
    make_generation(source, next_attempt_at=now() + timedelta(minutes=1))
    make_generation(source, task={"cancel_requested_at": now()})
    make_generation(make_generation_source(paused_at=now()))
    make_generation(make_generation_source(failing_since=now()))
    assert dispatch() == []


def test_what_lost_its_answer_is_looked_for(source, queued):
    row = make_generation(source, is_sent=True, answered_at=None)
    dispatch()
    assert queued() == [("generate", (row.pk,))]


def test_jobs_are_enqueued_once_the_places_are_written(source, queued, django_capture_on_commit_callbacks):
    row = make_generation(source)
    with django_capture_on_commit_callbacks(execute=True):
        dispatch()
        assert queued() == []
    assert queued() == [("generate", (row.pk,))]


# --- fairness


def test_who_has_the_fewest_at_the_providers_is_next(source, limits):
    limits.VIDEO_MAX_CONCURRENT = 3
    busy, idle = make_user(), make_user()
    make_generation(source, is_sent=True, actor=busy)
    make_generation(source, actor=busy, asked_at=now() - timedelta(minutes=5))
    late = make_generation(source, actor=idle)
    assert dispatch()[0] == late.pk


def test_among_equals_the_one_whose_turn_is_longest_ago(source, limits):
    limits.VIDEO_MAX_CONCURRENT = 1
    recent, earlier, never = make_user(), make_user(), make_user()
    for actor, minutes in ((recent, 1), (earlier, 3)):
        make_generation(
            source, actor=actor, state=State.COMPLETED, called_at=now() - timedelta(minutes=minutes)
        )
        make_generation(source, actor=actor)
    fresh = make_generation(source, actor=never)
    assert dispatch() == [fresh.pk]
    finish(fresh.pk)
    (second,) = dispatch()
    assert Generation.objects.get(pk=second).actor == earlier


def test_own_orders_in_the_order_they_were_asked_for(source, limits):
    limits.VIDEO_MAX_CONCURRENT = 1
    actor = make_user()
    young = make_generation(source, actor=actor)
    old = make_generation(source, actor=actor, asked_at=now() - timedelta(minutes=2))
    assert start() == [old.pk]
    finish(old.pk)
    assert start() == [young.pk]


def test_an_account_that_is_gone_still_has_its_turn(source, limits):
    limits.VIDEO_MAX_CONCURRENT = 1
    row = make_generation(source, actor=None, actor_name="gone")
    make_generation(source)
    assert dispatch() == [row.pk]


def test_a_person_with_a_hundred_orders_does_not_starve_another_with_one(source, limits):
    many, one = make_user(), make_user()
    for _ in range(100):
        make_generation(source, actor=many, asked_at=now() - timedelta(minutes=9))
    running = start()
    single = make_generation(source, actor=one)
    finish(running[0])
    assert start() == [single.pk]


def test_nobody_starves_over_a_long_run(source, limits):
    """Persons with 100, 10, 3 and 1 orders, and one who asks again each time something of theirs has ended."""
    limits.VIDEO_MAX_CONCURRENT = 3
    rng = random.Random(4)
    people = {make_user(): number for number in (100, 10, 3, 1)}
    for actor, number in people.items():
        for _ in range(number):
            make_generation(source, actor=actor)
    eager = make_user()
    make_generation(source, actor=eager)
    finished_after = {}
    running: list[int] = []
    for turn in range(140):
        running += start()
        assert len(running) <= 3
        ended = running.pop(rng.randrange(len(running)))
        finish(ended)
        actor = Generation.objects.get(pk=ended).actor
        finished_after.setdefault(actor.pk, []).append(turn)
        if actor == eager:
            make_generation(source, actor=eager)
    ends = [finished_after[actor.pk] for actor in people]
    assert [len(turns) for turns in ends[1:]] == [10, 3, 1]
    assert ends[3][0] < 12
    assert ends[2][-1] < 25
    assert ends[1][-1] < 60
    # with one order at a time the eager one has one of the three places, and the others the one with a hundred
    assert 30 < len(finished_after[eager.pk]) < 50
    assert len(ends[0]) > 70


def test_a_task_that_hangs_keeps_its_person_not_waiting_for_ever(source, limits):
    """Others who always have nothing at the provider would be first each time."""
    unlucky = make_user()
    make_generation(source, actor=unlucky, is_sent=True, asked_at=now() - timedelta(hours=1))
    waits = make_generation(source, actor=unlucky, asked_at=now() - timedelta(minutes=21))
    make_generation(source, actor=make_user(), asked_at=now() - timedelta(minutes=1))
    assert dispatch() == [waits.pk]


def test_a_kind_that_is_full_does_not_hold_up_the_other_kind_of_the_same_person(source):
    actor, other = make_user(), make_user()
    for _ in range(30):
        make_generation(source, actor=actor)
    image = make_generation(source, actor=actor, kind="image")
    for _ in range(10):
        make_generation(source, actor=other, kind="image")
    started = dispatch()
    assert image.pk in started
    assert len(started) == 5


# --- places


def test_places_are_the_order_in_which_they_are_sent(source, limits):
    """The promise of `places`, kept: what was sent first ends first, and each turn is the one that was told."""
    rng = random.Random(11)
    small = make_generation_source(settings={"limits": {"total": 2}})
    people = [make_user() for _ in range(5)]
    rows = [
        make_generation(
            rng.choice([source, small]),
            actor=rng.choice(people),
            kind=rng.choice(["video", "image", "workflow"]),
            asked_at=now() - timedelta(seconds=rng.randrange(500)),
        )
        for _ in range(40)
    ]
    running = start()
    waiting = [row.pk for row in rows if row.pk not in running]
    told = places(waiting)
    assert sorted(told.values()) == list(range(1, len(waiting) + 1))
    turns = []
    while running:
        finish(running.pop(0))
        new = start()
        running += new
        turns += new
    assert turns == sorted(waiting, key=told.__getitem__)


def test_what_waits_for_another_reason_has_no_place(source):
    rows = [
        make_generation(source, is_sent=True),
        make_generation(source, next_attempt_at=now() + timedelta(minutes=1)),
        make_generation(make_generation_source(paused_at=now())),
        make_generation(make_generation_source(failing_since=now())),
        make_generation(source, state=State.COMPLETED),
    ]
    assert places([row.pk for row in rows]) == {}


def test_a_limit_of_nothing_gives_no_place_and_no_endless_loop():
    closed = make_generation_source(settings={"limits": {"total": 0}})
    row = make_generation(closed)
    assert places([row.pk]) == {}
    assert dispatch() == []


def test_places_take_a_handful_of_queries_however_many_wait(source, django_assert_max_num_queries):
    rows = [make_generation(source) for _ in range(30)]
    with django_assert_max_num_queries(6):
        assert len(places([row.pk for row in rows])) == 30


# --- held


def test_what_is_held_by_a_pause_says_so_and_forgets_it_afterwards(source):
    row = make_generation(source)
    for field, words in (("paused_at", "paused"), ("failing_since", "does not answer")):
        Source.objects.filter(pk=source.pk).update(**{field: now()})
        dispatch()
        row.refresh_from_db()
        assert words in row.hold_reason
        assert TaskEvent.objects.filter(task_id=row.pk).count() == 1
        dispatch()
        assert TaskEvent.objects.filter(task_id=row.pk).count() == 1  # said once
        Source.objects.filter(pk=source.pk).update(**{field: None})
        assert dispatch() == [row.pk]
        row.refresh_from_db()
        assert row.hold_reason == ""
        Generation.objects.update(lease_until=None)
        TaskEvent.objects.all().delete()


def test_other_reasons_are_left_alone_by_a_source_that_answers(source):
    make_generation(
        source, hold_reason="Waiting for the provider.", next_attempt_at=now() + timedelta(hours=1)
    )
    dispatch()
    assert Generation.objects.get().hold_reason == "Waiting for the provider."


def test_holding_back_concerns_one_source(source):
    here, elsewhere = make_generation(source), make_generation()
    generation_queue.hold_back(source.pk, until=now() + timedelta(minutes=1), reason="Wait.")
    assert dispatch() == [elsewhere.pk]
    assert generation_queue.holds_of(source) == [("Wait.", 1)]
    generation_queue.release(source)
    assert dispatch() == [here.pk]
    assert generation_queue.holds_of(source) == []


def test_what_was_sent_is_not_held_back(source):
    row = make_generation(source, is_sent=True)
    generation_queue.hold_back(source.pk, until=now() + timedelta(minutes=1), reason="Wait.")
    row.refresh_from_db()
    assert row.hold_reason == ""
