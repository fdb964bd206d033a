"""How long tasks are kept: what is removed, what never is, and what the trail says of it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now
from django_q.models import OrmQ

from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.ingest.logs import store_final_log
from tasks_app.ingest.texts import index_batch
from tasks_app.kinds import HISTORY_FAMILIES, KINDS, MADE, history_family
from tasks_app.models import (
    AuditEntry,
    Generation,
    LogChunk,
    LogLine,
    RetentionPeriod,
    Role,
    Submission,
    Task,
    TaskLog,
    TaskTally,
    TaskText,
)
from tasks_app.models.search import find_matches, parse_terms
from tasks_app.services import retention
from tasks_app.services.retention import (
    change_periods,
    current_periods,
    preview_periods,
    purge,
    request_purge,
)
from tasks_app.sources.base import RemoteLogLine
from tasks_app.states import State
from tests.factories import add_log, make_generation, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def source():
    return make_source()


def make_old(source, days, *, type="qmstart", state=State.COMPLETED, **fields):
    return make_task(source, type=type, state=state, started_at=now() - days * DAY, **fields)


def keep(**periods):
    for family, days in periods.items():
        RetentionPeriod.objects.create(family=family, days=days)


def run(**options):
    return purge(sleep=lambda _: None, **options).tasks


def left():
    return set(Task.objects.values_list("pk", flat=True))


def entries():
    return AuditEntry.objects.filter(action="tasks.purge").order_by("number")


def rows_of(family, periods=None, **options):
    rows = preview_periods(current_periods() if periods is None else periods, **options)
    return next(row for row in rows if row.family == family)


# families


@pytest.mark.parametrize("type", [*KINDS, "a-type-of-tomorrow", ""])
def test_each_type_belongs_to_one_family_that_has_a_label(type):
    assert HISTORY_FAMILIES[history_family(type)]


def test_what_makes_things_has_a_family_of_its_own():
    assert {type for type in KINDS if history_family(type) == "generation"} == MADE


# what goes


def test_without_a_period_nothing_is_ever_removed(source):
    task = make_old(source, 5000)
    assert run() == {}
    assert left() == {task.pk}
    assert not entries()


def test_only_tasks_of_that_kind_and_older_than_its_period_go(source):
    old = [make_old(source, 31), make_old(source, 400, type="qmresume", state=State.FAILED)]
    kept = [
        make_old(source, 29),
        make_old(source, 400, type="vzdump"),
        make_old(source, 400, type="unheard-of"),
    ]
    keep(start=30)
    assert run() == {"start": 2}
    assert left() == {task.pk for task in kept}
    assert len(old) == 2


def test_types_nobody_has_heard_of_go_with_anything_else(source):
    make_old(source, 10, type="unheard-of")
    make_old(source, 10, type="qmdestroy")
    keep(other=5)
    assert run() == {"other": 2}


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
def test_open_tasks_never_go(source, state):
    task = make_old(source, 400, state=state)
    keep(start=1)
    assert run() == {}
    assert left() == {task.pk}


@pytest.mark.parametrize("state", [State.FAILED, State.LOST, State.CANCELLED])
def test_failures_go_whether_somebody_has_seen_them_or_not(source, state):
    make_old(source, 40, state=state, acknowledged_at=None)
    make_old(source, 40, state=state, acknowledged_at=now())
    keep(start=30)
    assert run() == {"start": 2}


def test_what_ended_within_a_day_stays_however_long_ago_it_began(source):
    task = make_old(source, 40, ended_at=now() - timedelta(hours=23))
    keep(start=30)
    assert run() == {}
    Task.objects.filter(pk=task.pk).update(ended_at=now() - timedelta(hours=25))
    assert run() == {"start": 1}


def test_a_task_whose_order_is_not_settled_stays(source):
    submission = Submission.objects.create(
        source=source,
        action="start",
        guest_kind="qemu",
        node="pve1",
        vmid=100,
        actor_name="boss",
        idempotency_key="k",
    )
    task = make_old(source, 40, submission=submission)
    keep(start=30)
    assert run() == {}
    assert left() == {task.pk}


def test_everything_that_hangs_on_a_task_goes_with_it(source):
    task, other = make_old(source, 40), make_old(source, 20)
    for one in (task, other):
        lines = [RemoteLogLine(number, f"zebra {number}") for number in range(1, 2500)]
        store_final_log(one, lines, complete=True, at=now(), sleep=lambda _: None)
    add_log(task, "left by a killed worker")
    index_batch()
    keep(start=30)
    run()
    assert left() == {other.pk}
    assert set(TaskLog.objects.values_list("task", flat=True)) == {other.pk}
    assert set(LogChunk.objects.values_list("log__task", flat=True)) == {other.pk}
    assert not LogLine.objects.exists()
    assert set(TaskText.objects.values_list("task", flat=True)) == {other.pk}


def test_tally_and_text_index_follow(source):
    make_old(source, 40)
    index_batch()
    words = parse_terms("web-01")
    assert find_matches(words, below=None, limit=5).matches
    keep(start=30)
    run()
    assert not find_matches(words, below=None, limit=5).matches
    assert not TaskTally.objects.filter(count__gt=0).exists()


# results of generation tasks


def make_video(source, *, cleaned=True, kept=False, days=40):
    row = make_generation(state=State.COMPLETED, asked_at=now() - days * DAY)
    at = now()
    Generation.objects.filter(pk=row.pk).update(
        cleaned_at=at if cleaned else None, kept_at=at if kept else None
    )
    return row


def test_results_that_somebody_keeps_never_go(source):
    make_video(source)
    kept = make_video(source, cleaned=False, kept=True)
    keep(generation=30)
    assert rows_of("generation").removes == 1
    assert run() == {"generation": 1}
    assert left() == {kept.pk}


def test_results_whose_files_are_still_there_wait_for_the_retention_of_results(source):
    video = make_video(source, cleaned=False)
    keep(generation=30)
    assert rows_of("generation").removes == 0
    assert run() == {}
    assert left() == {video.pk}


# preview


def test_the_preview_tells_what_a_purge_removes_and_changes_nothing(source):
    for days in (10, 31, 32, 400):
        make_old(source, days)
    make_old(source, 400, state=State.PROCESSING)
    at = now()
    row = rows_of("start", {"start": 30}, at=at)
    assert (row.kept, row.removes, row.days) == (4, 3, 30)
    assert row.before == (at.astimezone(UTC) - 30 * DAY).date()
    assert row.oldest == (at.astimezone(UTC) - 400 * DAY).date()
    assert not RetentionPeriod.objects.exists()
    assert Task.objects.count() == 5
    keep(start=30)
    assert run() == {"start": row.removes}


def test_a_family_without_a_period_keeps_all(source):
    make_old(source, 400)
    row = rows_of("start", {})
    assert (row.kept, row.removes, row.days, row.before) == (1, 0, None, None)
    assert {row.family for row in preview_periods({})} == set(HISTORY_FAMILIES)


def test_a_period_is_whole_days_up_to_midnight(source):
    at = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
    make_task(source, state=State.COMPLETED, started_at=datetime(2026, 11, 12, 23, 59, 59, tzinfo=UTC))
    stays = make_task(source, state=State.COMPLETED, started_at=datetime(2026, 11, 13, 0, 0, 0, tzinfo=UTC))
    keep(start=7)
    assert rows_of("start", at=at).removes == 1
    assert run(at=at) == {"start": 1}
    assert left() == {stays.pk}


def test_the_preview_takes_few_queries_however_many_tasks_there_are(source, django_assert_max_num_queries):
    for days in range(1, 60):
        make_old(source, days)
    with django_assert_max_num_queries(3 + len(HISTORY_FAMILIES)):
        preview_periods(dict.fromkeys(HISTORY_FAMILIES, 30))


# batches, entries, kills


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(retention, "BATCH_TASKS", 10)


def test_batches_are_small_with_a_pause_after_each(source, small_batches):
    for _ in range(25):
        make_old(source, 40)
    keep(start=30)
    pauses = []
    assert purge(sleep=pauses.append).tasks == {"start": 25}
    assert len(pauses) == 3
    assert retention.BATCH_TASKS <= 500


def test_many_tasks_of_the_same_second_go_all(source, small_batches):
    at = now() - 40 * DAY
    for _ in range(25):
        make_task(source, state=State.COMPLETED, started_at=at)
    keep(start=30)
    assert run() == {"start": 25}


def test_a_run_leaves_one_entry_with_the_counts_of_each_kind(source):
    for type, count in (("qmstart", 3), ("vzdump", 2), ("qmclone", 1)):
        for _ in range(count):
            make_old(source, 40, type=type)
    keep(start=30, backup=7, snapshot=1)
    run()
    entry = entries().get()
    assert (entry.actor_name, entry.data["tasks"]) == ("portal", 5)
    assert {family: row["tasks"] for family, row in entry.data["families"].items()} == {
        "start": 3,
        "backup": 2,
    }
    assert entry.data["families"]["backup"]["days"] == 7
    run()
    assert entries().count() == 1, "nothing removed, nothing noted"


class Killed(Exception):
    pass


def test_a_purge_that_is_cut_off_has_said_what_it_removes_and_the_next_goes_on(source, small_batches):
    for _ in range(35):
        make_old(source, 40)
    keep(start=30)

    def killed(_):
        raise Killed

    with pytest.raises(Killed):
        purge(sleep=killed)
    assert Task.objects.count() == 25
    assert entries().get().data["tasks"] == 35
    assert run() == {"start": 25}
    assert [entry.data["tasks"] for entry in entries()] == [35, 25]


def test_nothing_goes_when_the_entry_cannot_be_written(source, monkeypatch):
    make_old(source, 40)
    keep(start=30)

    def broken(*_, **__):
        raise Killed

    monkeypatch.setattr(retention, "record", broken)
    with pytest.raises(Killed):
        run()
    assert Task.objects.count() == 1


def test_two_purges_at_the_same_time_do_not_count_the_same_tasks(source, small_batches):
    for _ in range(25):
        make_old(source, 40)
    keep(start=30)
    others = []
    assert purge(sleep=lambda _: others.append(run())).tasks == {"start": 25}
    assert others == [{}, {}, {}]
    assert entries().count() == 1


def test_families_of_a_purge_that_died_are_free_after_a_while(source):
    make_old(source, 40)
    keep(start=30)
    RetentionPeriod.objects.update(purging_until=now() + timedelta(seconds=60))
    assert run() == {}
    RetentionPeriod.objects.update(purging_until=now() - timedelta(seconds=1))
    assert run() == {"start": 1}


def jobs():
    return [row.task["func"] for row in OrmQ.objects.all()]


def test_a_purge_that_died_is_begun_again_by_itself(source):
    keep(start=30)
    retention.continue_purge()
    RetentionPeriod.objects.update(purging_until=now() + timedelta(seconds=60))
    retention.continue_purge()
    assert jobs() == []
    RetentionPeriod.objects.update(purging_until=now() - timedelta(seconds=1))
    retention.continue_purge()
    assert jobs() == ["tasks_app.jobs.purge_tasks"]
    run()
    retention.continue_purge()
    assert len(jobs()) == 1


@pytest.mark.parametrize("periods", [{}, {"start": 3000}], ids=["removed", "longer"])
def test_a_purge_stops_when_its_period_is_changed(source, small_batches, periods):
    for _ in range(35):
        make_old(source, 40)
    keep(start=30)
    admin = make_superuser()
    purge(sleep=lambda _: change_periods(periods, actor=admin))
    assert Task.objects.count() == 25


# changing the periods


def test_a_change_is_noted_with_what_was_before(source):
    admin = make_superuser()
    change_periods({"start": 30, "backup": 365}, actor=admin)
    change_periods({"start": 60}, actor=admin)
    change_periods({"start": 60}, actor=admin)
    assert current_periods() == {"start": 60}
    first, second = AuditEntry.objects.filter(action="retention.change").order_by("number")
    assert first.data == {"before": {"backup": None, "start": None}, "after": {"backup": 365, "start": 30}}
    assert second.data == {"before": {"backup": 365, "start": 30}, "after": {"backup": None, "start": 60}}
    assert second.actor_name == admin.get_username()


@pytest.mark.parametrize(
    "periods", [{"start": 0}, {"start": -1}, {"start": 36_501}, {"nonsense": 30}], ids=str
)
def test_periods_that_make_no_sense_are_refused(periods):
    with pytest.raises(InvalidInput):
        change_periods(periods, actor=make_superuser())
    assert current_periods() == {}


def person(role: Role | None) -> User:
    return make_user(role, source=make_source()) if role else make_user()


@pytest.mark.parametrize("role", [None, *Role])
def test_only_admins_of_the_portal_change_periods_or_ask_for_a_purge(role):
    with pytest.raises(NotPermitted):
        change_periods({"start": 30}, actor=person(role))
    with pytest.raises(NotPermitted):
        request_purge(actor=person(role))
    assert current_periods() == {}


@pytest.mark.parametrize("make", [make_superuser, lambda: make_user(Role.ADMIN)], ids=["superuser", "admin"])
def test_asking_for_a_purge_starts_a_job_and_is_noted(make, django_capture_on_commit_callbacks):
    admin = make()
    keep(start=30)
    with django_capture_on_commit_callbacks(execute=True):
        request_purge(actor=admin)
    assert jobs() == ["tasks_app.jobs.purge_tasks"]
    entry = entries().get()
    assert (entry.actor_name, entry.data["periods"]) == (admin.get_username(), {"start": 30})
