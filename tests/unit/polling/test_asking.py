"""When a generation task is asked for next: the table, its floors, ceilings and chance."""

import pytest

from tasks_app.polling.asking import (
    Answer,
    Asked,
    is_quiet,
    next_list,
    next_question,
    quiet_after,
)
from tasks_app.states import State

MIDDLE = 0.5  # the chance that moves nothing


def told(**fields):
    return Asked(Answer.TOLD, **fields)


def run(asked_fields, *, times):
    """The pauses of `times` answers in a row."""
    pause, pauses = 0.0, []
    for _ in range(times):
        pause = next_question(told(pause=pause, **asked_fields), MIDDLE).pause
        pauses.append(round(pause, 2))
    return pauses


def test_a_queued_task_is_asked_for_ever_more_rarely():
    assert run({"state": State.PENDING}, times=8) == [3, 4.5, 6.75, 10.12, 15.19, 22.78, 30, 30]


def test_another_place_in_the_queue_starts_again():
    assert next_question(told(state=State.PENDING, pause=30, has_moved=True), MIDDLE).seconds == 3


@pytest.mark.parametrize(
    ("progress", "seconds"), [(0, 3), (19.9, 3), (20, 5), (50, 5), (80, 5), (80.1, 2), (100, 2)]
)
def test_the_interval_follows_the_progress(progress, seconds):
    assert next_question(told(progress=progress, pause=30), MIDDLE).seconds == seconds


def test_without_a_number_the_interval_grows_to_half_a_minute():
    assert run({}, times=8) == [2, 3, 4.5, 6.75, 10.12, 15.19, 22.78, 30]


def test_a_video_at_a_provider_is_left_alone_for_ten_seconds_first():
    assert run({"is_hosted_video": True}, times=4) == [10, 15, 22.5, 30]
    queued = told(state=State.PENDING, is_hosted_video=True)
    assert next_question(queued, MIDDLE).seconds == 3


def test_work_that_begins_starts_the_intervals_anew():
    assert next_question(told(pause=30, has_moved=True), MIDDLE).seconds == 2


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 24.0), (0.5, 30.0), (1.0, 36.0)])
def test_chance_moves_an_interval_by_a_fifth(chance, seconds):
    assert next_question(told(pause=30), chance).seconds == pytest.approx(seconds)


def test_bad_answers_double_up_to_a_minute_and_half_of_it_more():
    waits = [next_question(Asked(Answer.BAD, bad_answers=n), 0.0).seconds for n in range(1, 8)]
    assert waits == [4, 8, 16, 32, 60, 60, 60]
    assert next_question(Asked(Answer.BAD, bad_answers=9), 1.0).seconds == 90


def test_a_bad_answer_does_not_change_the_pace_of_good_ones():
    assert next_question(Asked(Answer.BAD, bad_answers=5, pause=4.5), MIDDLE).pause == 4.5


@pytest.mark.parametrize("answer", list(Answer))
@pytest.mark.parametrize(
    ("wish", "low", "high"), [(0.2, 2, 2.4), (17, 17, 20.4), (299, 299, 300), (86_400, 300, 300)]
)
def test_the_remotes_wish_is_followed_within_bounds(answer, wish, low, high):
    for chance in (0.0, MIDDLE, 1.0):
        asked = Asked(answer, told_seconds=wish, bad_answers=3, pause=30)
        assert low <= next_question(asked, chance).seconds <= high


@pytest.mark.parametrize("wish", [0, -5])
def test_a_wish_of_nothing_is_no_wish(wish):
    assert next_question(told(told_seconds=wish, progress=50), MIDDLE).seconds == 5


@pytest.mark.parametrize("answer", list(Answer))
def test_never_below_the_floor_of_the_dialect(answer):
    assert next_question(Asked(answer, floor=100, progress=90), 0.0).seconds == 100


def test_a_missing_task_is_asked_for_three_times_in_two_minutes():
    assert 24 <= next_question(Asked(Answer.MISSING), 0.0).seconds <= 36


def test_the_list_is_quick_while_it_tells_news_and_slow_while_it_does_not():
    pause, pauses = 0.0, []
    for has_news in (False, False, False, False, True):
        pause = next_list(pause, has_news=has_news, took_seconds=0.01, floor=2, chance=MIDDLE).pause
        pauses.append(pause)
    assert pauses == [2, 3, 4, 4, 2]


def test_a_list_that_takes_long_is_asked_for_rarely_and_not_never():
    assert next_list(2, has_news=True, took_seconds=3, floor=2, chance=MIDDLE).seconds == 15
    assert next_list(2, has_news=True, took_seconds=60, floor=2, chance=MIDDLE).seconds == 30


@pytest.mark.parametrize(("usual", "seconds"), [(None, 300), (20, 300), (200, 600)])
def test_quiet_needs_five_minutes_and_three_times_the_usual(usual, seconds):
    assert quiet_after(usual) == seconds
    assert not is_quiet(asks=10, seconds=seconds - 1, usual_seconds=usual)
    assert not is_quiet(asks=9, seconds=seconds, usual_seconds=usual)
    assert is_quiet(asks=10, seconds=seconds, usual_seconds=usual)
