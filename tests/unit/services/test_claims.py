"""Claims live as long as their jobs."""

import threading

import pytest
from django.db import DatabaseError

from tasks_app.services.claims import kept_alive

pytestmark = pytest.mark.django_db


def test_a_claim_is_renewed_until_its_job_ends():
    renewals = threading.Semaphore(0)
    with kept_alive(renewals.release, every_seconds=0.001):
        assert all(renewals.acquire(timeout=10) for _ in range(3))
    while renewals.acquire(blocking=False):
        pass
    assert not renewals.acquire(timeout=0.05)


def test_a_database_that_is_away_for_a_moment_ends_no_renewals():
    renewals = threading.Semaphore(0)
    failures = [DatabaseError("away")]

    def renew():
        if failures:
            raise failures.pop()
        renewals.release()

    with kept_alive(renew, every_seconds=0.001):
        assert renewals.acquire(timeout=10)


def test_an_error_of_the_job_ends_the_renewals_too():
    renewals = threading.Semaphore(0)
    with pytest.raises(SystemExit), kept_alive(renewals.release, every_seconds=0.001):
        raise SystemExit  # as django-q2 ends a job that takes too long
    while renewals.acquire(blocking=False):
        pass
    assert not renewals.acquire(timeout=0.05)
