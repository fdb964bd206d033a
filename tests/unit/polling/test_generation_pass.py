"""Passes over a generation source: whom they ask, how often, and what answers good and bad do to tasks."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks_app.models import Asset, Generation, Source, Task, TaskEvent
from tasks_app.polling.generation_pass import ASKS_PER_PASS, run_generation_pass
from tasks_app.polling.generation_visit import GenerationVisit
from tasks_app.polling.memory import GenerationMemory
from tasks_app.sources.errors import SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.generation.base import Capabilities, Problem
from tasks_app.states import State
from tests.factories import make_generation, make_generation_source
from tests.unit.polling.generation_fake import START, FakeSource, bad

pytestmark = pytest.mark.django_db

NO_LIST = Capabilities(progress=True, forgets=True)


@pytest.fixture
def source():
    return make_generation_source(next_pass_at=START)


@pytest.fixture
def remote():
    return FakeSource()


@pytest.fixture
def add(source, remote):
    def add(number=1, state=State.PROCESSING, **fields):
        """`number` open tasks of ours which the remote knows; their pks by remote id."""
        rows = []
        for _ in range(number):
            first = {"ask_at": remote.now, "last_sign_at": remote.now, "asked_at": START}
            row = make_generation(source, state=state, is_sent=True, **(first | fields))
            remote.put(row.task.remote_id, state)
            rows.append(row)
        return rows if number > 1 else rows[0]

    return add


@pytest.fixture
def visit_once(source, remote):
    memory = GenerationMemory()

    def visit(*, seconds=0.0, forget=False, chance=0.5, **options):
        """One pass, `seconds` after the last; `forget` as if another process made it."""
        nonlocal memory
        memory = GenerationMemory() if forget else memory
        remote.pass_time(seconds)
        fresh = Source.objects.get(pk=source.pk)
        current = GenerationVisit(
            fresh,
            remote,
            memory,
            clock=remote.clock,
            monotonic=remote.monotonic,
            chance=lambda: chance,
            **options,
        )
        result = run_generation_pass(current)
        Source.objects.filter(pk=source.pk).update(next_pass_at=result.next_pass_at)
        return result

    return visit


def stand(row):
    row.refresh_from_db()
    return row.task.state


def in_seconds(result, remote):
    return (result.next_pass_at - remote.now).total_seconds()


@pytest.fixture
def run_for(visit_once, remote, source):
    def run(seconds):
        """Passes at the times they ask for, until so much time has passed."""
        until, passes = remote.now + timedelta(seconds=seconds), 0
        while (due := Source.objects.get(pk=source.pk).next_pass_at) <= until and passes < 1000:
            visit_once(seconds=max(0.0, (due - remote.now).total_seconds()))
            passes += 1
        remote.now = max(remote.now, until)
        return passes

    return run


# --- single questions


def test_a_due_task_is_asked_for_and_its_next_question_follows_the_table(add, visit_once, remote):
    row = add()
    remote.put(row.task.remote_id, progress=50)
    visit_once()
    row.refresh_from_db()
    assert (row.task.percent, row.pause_seconds) == (50, 5)
    assert row.ask_at == remote.now + timedelta(seconds=5)


def test_a_task_that_is_not_due_is_left_alone(add, visit_once, remote):
    add(ask_at=START + timedelta(seconds=20))
    result = visit_once()
    assert remote.calls["fetch"] == 0
    assert in_seconds(result, remote) == 20


def test_intervals_grow_while_nothing_is_told_and_start_anew_when_the_state_changes(add, visit_once, remote):
    row = add(state=State.PENDING)
    for pause in (3, 4.5, 6.75):
        visit_once(seconds=(pause if pause > 3 else 0))
        row.refresh_from_db()
        assert row.pause_seconds == pause
    remote.put(row.task.remote_id, State.PROCESSING)
    visit_once(seconds=7)
    row.refresh_from_db()
    assert row.pause_seconds == 2


def test_a_hosted_video_is_asked_for_after_ten_seconds(add, visit_once, remote):
    remote.capabilities = Capabilities()
    row, picture = add(), add(kind="image")
    visit_once()
    row.refresh_from_db()
    picture.refresh_from_db()
    assert (row.pause_seconds, picture.pause_seconds) == (10, 2)


def test_the_remotes_own_wish_is_followed(add, visit_once, remote):
    row = add()
    remote.put(row.task.remote_id, progress=50, ask_again_seconds=40)
    result = visit_once(chance=0.0)
    row.refresh_from_db()
    assert row.ask_at == remote.now + timedelta(seconds=40)
    assert in_seconds(result, remote) <= 40


def test_an_end_is_written_with_its_results_and_never_asked_for_again(add, visit_once, remote):
    row = add()
    remote.put(row.task.remote_id, State.COMPLETED)
    visit_once()
    assert stand(row) == "completed"
    assert row.assets.count() == 1
    visit_once(seconds=600)
    assert remote.calls["fetch"] == 1


def test_watched_tasks_come_first(add, visit_once, remote):
    rows = add(4)
    Task.objects.filter(pk=rows[3].pk).update(watched_until=START + timedelta(seconds=30))
    visit_once()
    assert remote.asked[0] == rows[3].task.remote_id


def test_a_pass_has_a_budget_of_questions_and_the_rest_follows_at_once(add, visit_once, remote):
    remote.capabilities = NO_LIST
    add(ASKS_PER_PASS + 5)
    result = visit_once()
    assert remote.calls["fetch"] == ASKS_PER_PASS
    assert in_seconds(result, remote) == 0
    visit_once()
    assert len(set(remote.asked)) == ASKS_PER_PASS + 5


def test_a_pass_has_a_budget_of_seconds(add, visit_once, remote):
    remote.capabilities = NO_LIST
    add(20)
    remote.seconds_a_call = 2.0
    visit_once()
    assert remote.calls["fetch"] == 3


def test_a_pass_that_is_to_stop_asks_nothing_more(add, visit_once, remote):
    remote.capabilities = NO_LIST
    add(3)
    visit_once(should_stop=lambda: remote.calls["fetch"] >= 1)
    assert remote.calls["fetch"] == 1


# --- bad answers


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(bad(), id="503"),
        pytest.param(bad("connection"), id="dropped"),
        pytest.param(bad("garbage"), id="malformed"),
        pytest.param(bad("timeout"), id="slow"),
        pytest.param(bad("rate_limited"), id="429"),
        pytest.param(ValueError("an answer nobody thought of"), id="surprise"),
        pytest.param(SourceRefused("Bad request.", kind="invalid_request"), id="400"),
    ],
)
def test_a_bad_answer_leaves_the_task_as_it_is_and_backs_off(add, visit_once, remote, error):
    remote.capabilities = NO_LIST
    row = add(task={"percent": 30})
    remote.failing_for[row.task.remote_id] = error
    before = TaskEvent.objects.count()
    for wait in (4, 8, 16):
        visit_once(chance=0.0)
        row.refresh_from_db()
        assert (row.task.state, row.task.percent) == ("processing", 30)
        assert row.ask_at == remote.now + timedelta(seconds=wait)
        remote.pass_time(wait)
    assert TaskEvent.objects.count() == before
    remote.failing_for.clear()
    remote.put(row.task.remote_id, State.COMPLETED)
    visit_once()
    assert stand(row) == "completed"


def test_an_answer_about_another_task_is_no_answer(add, visit_once, remote):
    row = add()
    remote.put(row.task.remote_id, State.COMPLETED)
    remote.tasks[row.task.remote_id] = remote.tasks[row.task.remote_id].__class__("vid_x", State.COMPLETED)
    visit_once()
    assert stand(row) == "processing"
    assert row.bad_answers == 1


def test_after_a_429_nobody_is_asked_before_the_time_that_was_told(add, visit_once, run_for, remote):
    remote.capabilities = NO_LIST
    add(4)
    remote.failing = bad("rate_limited", retry_after=20.0)
    result = visit_once()
    assert remote.calls["fetch"] == 1
    assert 20 <= in_seconds(result, remote) <= 24
    remote.failing = None
    run_for(19)
    assert remote.calls["fetch"] == 1
    run_for(6)
    assert remote.calls["fetch"] > 3


def test_five_bad_answers_in_a_row_are_the_sources(add, visit_once, remote):
    remote.capabilities = NO_LIST
    rows = add(8)
    remote.failing = bad("refused")
    with pytest.raises(SourceUnavailable):
        visit_once()
    assert remote.calls["fetch"] == 5
    assert {stand(row) for row in rows} == {"processing"}
    assert sum(row.bad_answers for row in rows) == 5


def test_a_good_answer_between_bad_ones_starts_the_count_anew(add, visit_once, remote):
    remote.capabilities = NO_LIST
    rows = add(9)
    for row in rows[:4] + rows[5:]:
        remote.failing_for[row.task.remote_id] = bad()
    assert visit_once().has_answered
    assert remote.calls["fetch"] == 9


@pytest.mark.parametrize("lists", [True, False], ids=["list", "no-list"])
@pytest.mark.parametrize("tasks", [0, 1, 8])
def test_an_unreachable_source_is_asked_one_question_until_it_answers(
    add, source, visit_once, remote, lists, tasks
):
    remote.capabilities = Capabilities(lists=lists)
    rows = [add() for _ in range(tasks)]
    Generation.objects.update(ask_at=START + timedelta(seconds=30), bad_answers=3)
    Source.objects.filter(pk=source.pk).update(failing_since=START, failures=3)
    remote.failing = bad("refused")
    for number in range(1, 4):
        with pytest.raises(SourceUnavailable):
            visit_once(forget=number == 2)
        assert remote.calls.total() == number
    remote.failing = None
    assert visit_once().has_answered
    if not lists:
        assert len(set(remote.asked)) == tasks  # they do not wait for the end of their pauses
    assert {stand(row) for row in rows} <= {"processing"}


def test_refused_credentials_are_the_sources_and_one_question_tells(add, source, visit_once, remote):
    remote.capabilities = NO_LIST
    rows = add(5)
    remote.failing = SourceNeedsPerson("401", kind="unauthorized", status=401)
    with pytest.raises(SourceNeedsPerson):
        visit_once()
    assert remote.calls["fetch"] == 1
    assert {(stand(row), row.bad_answers) for row in rows} == {("processing", 0)}


def test_a_few_bad_answers_say_nothing_about_the_source(add, visit_once, remote):
    remote.capabilities = NO_LIST
    add()
    remote.failing = bad()
    assert not visit_once().has_answered


# --- a list instead of many questions


def test_one_list_replaces_many_questions(add, visit_once, remote):
    rows = add(20)
    for number, row in enumerate(rows):
        remote.put(row.task.remote_id, progress=number)
    visit_once()
    assert remote.calls == {"list": 1}
    assert [Task.objects.get(pk=row.pk).percent for row in rows] == list(range(20))


def test_five_tasks_are_asked_for_one_by_one(add, visit_once, remote):
    add(5)
    visit_once()
    visit_once(seconds=3)
    assert remote.calls["fetch"] == 10
    assert remote.calls["list"] == 1  # the look for tasks of others


def test_a_list_that_tells_nothing_new_writes_nothing_about_tasks(add, visit_once, remote):
    add(20)
    visit_once()
    with CaptureQueriesContext(connection) as queries:
        visit_once(seconds=2)
    assert remote.calls == {"list": 2}
    writes = [q["sql"] for q in queries if not q["sql"].startswith("SELECT")]
    assert [sql[:40] for sql in writes if "tasks_app_source" not in sql] == []
    assert len(queries) <= 8


def test_the_number_of_queries_does_not_grow_with_the_number_of_tasks(add, visit_once):
    def count():
        with CaptureQueriesContext(connection) as queries:
            visit_once(seconds=5)
        return len(queries)

    add(10)
    visit_once()
    few = count()
    add(40)
    visit_once(seconds=5)
    assert count() == few


def test_the_list_is_read_every_few_seconds_whatever_the_number_of_tasks(add, run_for, remote):
    add(50)
    run_for(60)
    assert 14 <= remote.calls["list"] <= 31
    assert remote.calls["fetch"] == 0


def test_an_end_in_the_list_is_asked_for_before_it_is_written(add, visit_once, remote):
    rows = add(8)
    done, failed, gone = (row.task.remote_id for row in rows[:3])
    remote.put(done, State.COMPLETED)
    remote.put(failed, State.FAILED, problem=Problem("content_policy", "Refused."))
    remote.put(gone, State.CANCELLED)
    visit_once()
    assert [stand(row) for row in rows[:4]] == ["completed", "failed", "cancelled", "processing"]
    assert rows[0].assets.count() == 1
    assert rows[1].problem_kind == "content_policy"
    assert sorted(remote.asked) == sorted([done, failed])


def test_an_end_that_cannot_be_fetched_now_is_not_written_and_soon_asked_for_again(
    add, visit_once, run_for, remote
):
    rows = add(8)
    done = rows[0].task.remote_id
    remote.put(done, State.COMPLETED)
    remote.failing_for[done] = bad()
    visit_once()
    assert stand(rows[0]) == "processing"
    run_for(3)
    assert remote.calls["fetch"] == 1  # the list goes on, the question waits
    remote.failing_for.clear()
    run_for(6)
    assert stand(rows[0]) == "completed"
    assert rows[0].assets.count() == 1


def test_a_pass_that_was_cut_off_between_list_and_answer_loses_nothing(add, visit_once, remote):
    rows = add(8)
    remote.put(rows[0].task.remote_id, State.COMPLETED)
    remote.failing_for[rows[0].task.remote_id] = KeyboardInterrupt()  # killed inside the question
    with pytest.raises(KeyboardInterrupt):
        visit_once()
    assert stand(rows[0]) == "processing"
    remote.failing_for.clear()
    visit_once(seconds=1, forget=True)
    assert stand(rows[0]) == "completed"
    assert Asset.objects.count() == 1


def test_a_task_that_the_whole_list_lacks_is_asked_for_and_lost_after_two_minutes(add, run_for, remote):
    rows = add(8)
    gone = rows[0].task.remote_id
    del remote.tasks[gone]
    run_for(100)
    assert stand(rows[0]) == "processing"
    assert set(remote.asked) == {gone}
    run_for(60)
    assert (stand(rows[0]), rows[0].problem_kind) == ("failed", "lost")
    assert 4 <= len(remote.asked) <= 7
    assert {stand(row) for row in rows[1:]} == {"processing"}


def test_a_restart_that_forgets_everything_loses_every_task_in_the_end(add, run_for, remote):
    rows = add(8)
    run_for(10)
    remote.tasks.clear()
    run_for(200)
    assert {stand(row) for row in rows} == {"failed"}
    assert {row.problem_kind for row in rows} == {"lost"}


def test_what_an_incomplete_list_lacks_is_still_known_by_itself(add, run_for, remote):
    rows = add(8)
    remote.unlisted = {rows[0].task.remote_id}
    remote.put(rows[0].task.remote_id, State.PROCESSING, progress=33)
    run_for(10)
    rows[0].refresh_from_db()
    assert (rows[0].task.percent, rows[0].task.missing_count) == (33, 0)
    assert set(remote.asked) == {rows[0].task.remote_id}


def test_the_list_is_believed_when_the_single_question_does_not_find_the_task(add, run_for, remote):
    rows = add(8)
    done, working = rows[0].task.remote_id, rows[1].task.remote_id
    remote.put(done, State.COMPLETED)
    remote.only_listed = {done, working}
    run_for(100)
    assert (stand(rows[0]), stand(rows[1])) == ("processing", "processing")
    run_for(100)
    assert (stand(rows[0]), stand(rows[1])) == ("completed", "processing")
    rows[1].refresh_from_db()
    assert rows[1].task.missing_count == 0


def test_pages_are_read_until_all_open_tasks_have_been_seen(add, visit_once, remote):
    rows = add(30)
    for number in range(100):
        remote.put(f"old_{number}", State.COMPLETED)
    remote.page_rows = 10
    visit_once()
    assert remote.calls["list"] == 3
    remote.tasks = dict(reversed(remote.tasks.items()))
    remote.put(rows[0].task.remote_id, progress=7)
    visit_once(seconds=5)
    assert remote.calls["list"] == 3 + 13
    assert Task.objects.get(pk=rows[0].pk).percent == 7


def test_a_list_without_end_ends(add, visit_once, remote):
    add(8)
    remote.unlisted = set(list(remote.tasks)[:1])
    remote.page_rows = 0
    visit_once()
    assert remote.calls["list"] <= 20


def test_a_source_that_refuses_its_list_is_asked_task_by_task(add, visit_once, remote):
    rows = add(8)

    def refuse(cursor=""):
        remote.calls["list"] += 1
        raise SourceRefused("No such route.", kind="not_found", status=404)

    remote.list_recent = refuse
    visit_once()
    visit_once(seconds=5)
    assert remote.calls == {"list": 1, "fetch": 16}
    assert {stand(row) for row in rows} == {"processing"}


def test_a_list_that_fails_backs_off(add, run_for, remote):
    add(8)
    run_for(5)
    before = remote.calls["list"]

    def fail(cursor=""):
        remote.calls["list"] += 1
        raise bad()

    remote.list_recent = fail
    run_for(20)
    assert remote.calls["list"] - before == 3


def test_a_slow_list_is_asked_for_rarely(add, run_for, remote):
    add(8)
    remote.seconds_a_call = 3.0
    run_for(100)
    assert remote.calls["list"] <= 7


def test_somebody_who_looks_gets_what_only_the_single_answer_tells(add, visit_once, remote):
    remote.capabilities = Capabilities(lists=True, logs=True, forgets=True)
    rows = add(8)
    Task.objects.filter(pk=rows[2].pk).update(watched_until=START + timedelta(seconds=30))
    remote.put(rows[2].task.remote_id, log_lines=("step 1",))
    visit_once()
    assert remote.asked == [rows[2].task.remote_id]
    assert Task.objects.get(pk=rows[2].pk).log_total == 1


def test_an_event_brings_the_list_forward_but_not_below_the_floor(add, source, visit_once, remote):
    add(8)
    visit_once()
    Source.objects.filter(pk=source.pk).update(next_pass_at=remote.now + timedelta(seconds=0.5))
    visit_once(seconds=0.5)
    assert remote.calls["list"] == 1
    Source.objects.filter(pk=source.pk).update(next_pass_at=remote.now)
    visit_once(seconds=1.5)
    assert remote.calls["list"] == 2


def test_an_event_brings_a_single_question_forward(add, source, visit_once, remote):
    row = add(ask_at=START + timedelta(seconds=30))
    Generation.objects.filter(pk=row.pk).update(ask_at=START)
    remote.put(row.task.remote_id, State.COMPLETED)
    visit_once()
    assert stand(row) == "completed"


# --- tasks of others


def test_tasks_of_others_appear_and_are_followed(visit_once, run_for, remote):
    remote.put("foreign", progress=10, input={"prompt": "A lighthouse"})
    visit_once()
    row = Generation.objects.get(task__remote_id="foreign")
    assert (row.actor_name, row.prompt, row.task.percent) == ("", "A lighthouse", 10)
    remote.put("foreign", State.COMPLETED)
    run_for(60)
    assert stand(row) == "completed"


def test_nothing_is_taken_for_somebody_elses_while_an_order_has_no_answer(source, visit_once, remote):
    order = make_generation(source, called_at=START)
    remote.put("perhaps_ours")
    visit_once()
    assert Generation.objects.count() == 1
    Generation.objects.filter(pk=order.pk).update(answered_at=START)
    visit_once(seconds=40)
    assert Generation.objects.count() == 2


def test_a_long_history_is_looked_up_once(visit_once, remote, django_assert_max_num_queries):
    for number in range(300):
        remote.put(f"old_{number}", State.COMPLETED, updated_at=START - timedelta(days=9))
    visit_once()
    assert Generation.objects.count() == 0
    with django_assert_max_num_queries(4):
        visit_once(seconds=40)


# --- idle sources


def test_an_idle_source_with_a_list_is_looked_at_every_half_minute(run_for, remote):
    run_for(600)
    assert 18 <= remote.calls["list"] <= 22
    assert remote.calls.total() == remote.calls["list"]


def test_an_idle_source_without_a_list_is_looked_at_every_five_minutes(run_for, remote):
    remote.capabilities = NO_LIST
    run_for(1800)
    assert 6 <= remote.calls["check"] <= 7
    assert remote.calls.total() == remote.calls["check"]


def test_an_idle_source_that_does_not_answer_is_noticed(visit_once, run_for, remote):
    remote.capabilities = NO_LIST
    visit_once()
    remote.failing = bad("refused")
    with pytest.raises(SourceUnavailable):
        run_for(1000)
    assert remote.calls["check"] == 6


# --- signs of life


def test_ten_questions_and_five_minutes_without_a_sign_are_a_warning_and_never_a_state(add, run_for, remote):
    remote.capabilities = NO_LIST
    row = add()
    run_for(290)
    row.refresh_from_db()
    assert row.quiet_since is None
    run_for(60)
    row.refresh_from_db()
    assert (row.task.state, row.quiet_since) == ("processing", row.last_sign_at)
    remote.put(row.task.remote_id, progress=5)
    run_for(40)
    row.refresh_from_db()
    assert row.quiet_since is None


def test_lists_count_as_questions(add, run_for, remote):
    rows = add(8)
    remote.put(rows[0].task.remote_id, progress=1)
    run_for(310)
    quiet = {row.pk for row in Generation.objects.filter(quiet_since__isnull=False)}
    assert quiet == {row.pk for row in rows}
    remote.put(rows[0].task.remote_id, progress=2)
    run_for(10)
    rows[0].refresh_from_db()
    assert rows[0].quiet_since is None


def test_what_usually_takes_long_may_be_quiet_for_long(source, add, run_for, remote):
    remote.capabilities = NO_LIST
    for _ in range(3):
        done = make_generation(source, state=State.COMPLETED, asked_at=START - timedelta(hours=1))
        ended_at = done.called_at + timedelta(seconds=400)
        Task.objects.filter(pk=done.pk).update(ended_at=ended_at)
    row = add()
    run_for(1150)
    row.refresh_from_db()
    assert row.quiet_since is None
    run_for(90)
    row.refresh_from_db()
    assert row.quiet_since is not None


def test_a_source_that_does_not_answer_makes_no_task_quiet(add, source, visit_once, remote):
    remote.capabilities = NO_LIST
    row = add(last_sign_at=START - timedelta(minutes=20))
    remote.failing = bad()
    for _ in range(4):
        visit_once(seconds=70)
    row.refresh_from_db()
    assert row.quiet_since is None
