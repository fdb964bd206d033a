"""Jobs that may take longer than the rest, and the marks by which the supervisor knows that they live."""

import ast
import os

import pytest
from django_q.models import OrmQ, Schedule

from tasks_app import queue
from tasks_app.queue import COPIES_AT_ONCE, MAIN_CLUSTER, Job, enqueue, ensure_schedules, is_busy, stay_busy

pytestmark = pytest.mark.django_db


@pytest.fixture
def marks(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "_BUSY_DIR", tmp_path / "run")
    return tmp_path / "run"


def timeout_of(job: Job) -> int | None:
    enqueue(job, 1)
    return OrmQ.objects.latest("pk").task.get("timeout")


def test_only_long_jobs_have_a_limit_of_their_own(settings):
    assert timeout_of(Job.CANCEL) is None
    assert timeout_of(Job.COPY_RESULT) > settings.JOB_TIMEOUT_SECONDS


def test_a_scheduled_job_has_the_same_limit():
    ensure_schedules()
    row = Schedule.objects.get(func=Job.CLEAN_UP_RESULTS.value)
    assert ast.literal_eval(row.kwargs.partition("=")[2]) == {
        "save": False,
        "timeout": timeout_of(Job.CLEAN_UP_RESULTS),
    }
    assert queue.next_run_at(Job.CLEAN_UP_RESULTS) == row.next_run
    assert Schedule.objects.get(func=Job.PICK_UP.value).kwargs == "q_options={'save': False}"


def test_one_worker_stays_free_for_cancels(settings):
    assert max(1, settings.WORKERS - 1) == COPIES_AT_ONCE


def test_a_long_job_renews_its_mark(marks, settings, monkeypatch):
    settings.WORKERS = 1
    queue._mark()
    mark = next(marks.iterdir())
    os.utime(mark, (0, 0))
    assert not is_busy(MAIN_CLUSTER)
    stay_busy()
    assert is_busy(MAIN_CLUSTER)


def test_outside_of_a_job_there_is_no_mark_to_renew(marks):
    stay_busy()
    assert not marks.exists()
