"""The made-up past of the demo cluster: believable, well-formed, and the same for the same seed."""

import re
from collections import Counter
from datetime import UTC, datetime

import pytest

from demo.data import make_history, note_of
from demo.data.ground import FULL_STORAGE_DAYS, HOLIDAY_DAYS, Ground
from demo.proxmox.inventory import NODES
from tasks_app.progress.outcome import classify, terminal_line
from tasks_app.progress.tracker import Tracker
from tasks_app.progress.upid import parse_upid
from tasks_app.states import State

END = int(datetime(2026, 11, 17, 14, 5, tzinfo=UTC).timestamp())
DAY = 86400


@pytest.fixture(scope="module")
def history():
    return make_history(end=END, seed=1)


def starts_at(task):
    return datetime.fromtimestamp(task.upid.starttime, UTC)


def test_there_are_fifty_thousand_tasks_of_about_ninety_days(history):
    assert len(history) == 50_000
    assert 84 * DAY <= END - history[0].upid.starttime <= 90 * DAY


def test_all_have_started_and_ended_before_the_end_and_stand_in_the_order_of_their_starts(history):
    assert max(task.ended for task in history) < END
    starts = [task.upid.starttime for task in history]
    assert starts == sorted(starts)


def test_names_are_unique_and_read_as_what_they_were_made_of(history):
    assert len({str(task.upid) for task in history}) == len(history)
    for task in history[::97]:
        read = parse_upid(str(task.upid))
        assert (read.node, read.type, read.object_id) == (task.upid.node, task.upid.type, task.upid.id)
        assert int(read.started_at.timestamp()) == task.upid.starttime
        assert f"{read.user}!{read.token}".rstrip("!") == task.upid.user


def test_outcomes_are_those_of_a_cluster_that_is_looked_after(history):
    outcomes = Counter()
    for task in history:
        outcome = classify(task.end, error_line="received interrupt" if "problems" in task.end else "")
        outcomes["warnings" if outcome.warnings else outcome.state] += 1
    share = {outcome: 100 * count / len(history) for outcome, count in outcomes.items()}
    assert 93 <= share[State.COMPLETED] <= 95
    assert 2.6 <= share["warnings"] <= 3.5
    assert 2 <= share[State.FAILED] <= 3
    assert 0.3 <= share[State.CANCELLED] <= 0.8
    assert 0 < share[State.LOST] <= 0.2


def test_people_work_by_day_and_backups_run_at_one(history):
    hours, weekdays = Counter(), Counter()
    for task in history:
        at = starts_at(task)
        if task.upid.type == "vncproxy":
            hours[at.hour] += 1
            weekdays[at.weekday()] += 1
        if task.upid.type == "vzdump" and not task.upid.id:
            assert (at.hour, at.minute) == (1, 0)
    assert sum(hours[hour] for hour in range(8, 18)) > 0.85 * sum(hours.values())
    assert weekdays[6] < weekdays[1] / 4
    nightly = [task for task in history if task.upid.type == "vzdump" and not task.upid.id]
    assert len(nightly) > 80 * len(NODES)


def test_all_sorts_of_work_and_identities_are_there(history):
    kinds = {task.upid.type for task in history}
    assert kinds >= {"qmclone", "qmigrate", "vzmigrate", "qmsnapshot", "vzdump", "qmrestore", "aptupdate"}
    assert len(kinds) > 24
    assert {task.upid.user for task in history} == {
        "root@pam",
        "alice@pve",
        "bob@pve",
        "carol@pve",
        "ci@pve!jenkins",
        "automation@pve!autosnap",
        "portal@pve!web",
    }


def test_a_log_is_the_same_each_time_and_ends_as_the_task_did(history):
    for task in history[::53]:
        lines = task.lines()
        assert lines == task.lines()
        if task.end == "unexpected status":
            assert not lines or terminal_line(lines[-1]) is None
        else:
            assert terminal_line(lines[-1]) == task.end


def test_a_clones_log_tells_what_it_made(history):
    clones = [task for task in history if task.upid.type == "qmclone" and task.end == "OK"]
    for task in clones[::101]:
        tracker = Tracker("qmclone")
        for line in task.lines():
            tracker.feed(line)
        assert str(tracker.new_vmid) == task.work.other


def test_a_full_file_server_can_be_found_by_the_words_of_the_logs(history):
    full = [task for task in history if END // DAY - task.upid.starttime // DAY in FULL_STORAGE_DAYS]
    speaking = [task for task in full if any("No space left on device" in line for line in task.lines())]
    assert len(speaking) > 30
    assert {task.upid.type for task in speaking} == {"vzdump", "qmclone"}
    assert sum(bool(note_of(task, end=END)) for task in speaking) >= 6


def test_when_a_node_lost_its_power_nothing_ran_on_it_for_a_while(history):
    dark = int(Ground(1, END).power_loss)
    assert datetime.fromtimestamp(dark, UTC).weekday() < 5
    on_node = [task for task in history if task.upid.node == "pve3"]
    assert not [task for task in on_node if dark <= task.upid.starttime < dark + 600]
    assert {task.end for task in on_node if task.ended == dark and task.seconds} == {"unexpected status"}
    assert [task for task in on_node if task.upid.type == "startall" and 0 < task.upid.starttime - dark < 900]


def test_every_other_word_of_a_failure_is_proxmoxs_own(history):
    """Exit texts are few: each says one of the things Proxmox says."""
    texts = {re.sub(r"\d+", "N", task.end) for task in history}
    assert len(texts) < 60


def test_weeks_differ(history):
    """A holiday shows, and that there is more to do from month to month."""
    days = Counter((END - task.upid.starttime) // DAY for task in history)
    holiday = sum(days[day] for day in HOLIDAY_DAYS) / len(HOLIDAY_DAYS)
    usual = sum(days[day] for day in range(24, 45)) / 21
    oldest = sum(days[day] for day in range(56, 77)) / 21
    assert holiday < 0.6 * usual
    assert oldest < 0.95 * usual


def test_the_same_seed_makes_the_same_past_and_another_another():
    names = [
        [(str(task.upid), task.end) for task in make_history(end=END, seed=seed, tasks=900)]
        for seed in (1, 1, 2)
    ]
    assert names[0] == names[1] != names[2]
