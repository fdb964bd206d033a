"""Waits after failures."""

from datetime import timedelta

import pytest

from tasks_app.polling.cadence import backoff


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (7, 64), (8, 120), (1000, 120)])
def test_the_wait_doubles_up_to_two_minutes(failures, seconds):
    assert backoff(failures, jitter=0.5) == min(timedelta(minutes=2), timedelta(seconds=seconds))


def test_sources_that_fail_together_do_not_come_back_together():
    assert {backoff(5, jitter=0.0), backoff(5, jitter=1.0)} == {
        timedelta(seconds=12.8),
        timedelta(seconds=19.2),
    }


def test_what_only_a_person_can_mend_is_asked_for_once_a_minute_at_most():
    assert backoff(1, needs_person=True, jitter=0.5) == timedelta(minutes=1)


def test_the_wait_never_exceeds_two_minutes():
    assert backoff(20, needs_person=True, jitter=1.0) == timedelta(minutes=2)
