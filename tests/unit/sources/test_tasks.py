from datetime import UTC, datetime

import pytest

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.tasks import MAX_TEXT_CHARACTERS, parse_log, parse_task_rows, parse_task_status
from tests.unit.sources.recorded import load_body

RUNNING = "UPID:pve1:00000184:0004BC46:6B0007A1:qmclone:100:ops@pve!t1:"


def rows_of(number):
    return parse_task_rows(load_body(number)["data"])


def log_of(number, *, after=0):
    body = load_body(number)
    return parse_log(body["data"], body.get("total"), after=after)


@pytest.mark.parametrize("number", [115, 123])
def test_a_running_task_looks_the_same_in_both_lists(number):
    task = rows_of(number)[0]
    assert task.remote_id == RUNNING
    assert (task.node, task.type, task.object_id) == ("pve1", "qmclone", "100")
    assert (task.user, task.token) == ("ops@pve", "t1")
    assert task.started_at == datetime.fromtimestamp(1795164065, UTC)
    assert (task.running, task.ended_at, task.exit_text) == (True, None, None)


def test_a_finished_row_has_its_end_and_the_remotes_words():
    task = next(t for t in rows_of(140) if t.type == "qmdestroy")
    assert task.running is False
    assert task.ended_at == datetime.fromtimestamp(1795164076, UTC)
    assert task.exit_text == "can't lock file '/var/lock/qemu-server/lock-110.conf' - got timeout"


def test_all_forty_running_tasks_of_a_cluster_are_seen():
    tasks = rows_of(302)
    assert len(tasks) == len(load_body(302)["data"])
    assert sum(task.running is True for task in tasks) == 40


def test_every_recorded_list_is_read_without_loss():
    for number in (123, 125, 140, 244, 301, 302, 303, 418, 425, 428, 436):
        rows = load_body(number)["data"]
        assert [t.remote_id for t in rows_of(number)] == [row["upid"] for row in rows]


def test_numbers_may_arrive_as_text():
    row = load_body(140)["data"][0]
    changed = row | {"starttime": str(row["starttime"]), "endtime": str(row["endtime"])}
    assert parse_task_rows([changed])[0].ended_at == parse_task_rows([row])[0].ended_at


def test_a_row_with_nothing_but_its_upid_is_completed_from_it():
    (task,) = parse_task_rows([{"upid": RUNNING}])
    assert (task.node, task.type, task.object_id, task.user, task.token) == (
        "pve1",
        "qmclone",
        "100",
        "ops@pve",
        "t1",
    )
    assert task.started_at == datetime.fromtimestamp(0x6B0007A1, UTC)


def test_a_task_that_is_in_twice_is_given_once_and_finished():
    running, finished = {"upid": RUNNING}, {"upid": RUNNING, "endtime": 1795164079, "status": "OK"}
    for rows in ([running, finished], [finished, running], [finished, finished]):
        (task,) = parse_task_rows(rows)
        assert task.exit_text == "OK"


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        "text",
        [],
        {},
        {"upid": None},
        {"upid": "UPID:garbage"},
        {"upid": RUNNING + "x"},
        {"upid": RUNNING, "endtime": 10**18},
        {"upid": RUNNING, "endtime": 253402300799},  # the year 9999, which no zone east of Greenwich can show
        {"upid": RUNNING, "endtime": -62135596800},
        {"upid": RUNNING.replace("pve1", "pv\0e")},
    ],
)
def test_a_malformed_row_is_left_out_and_counted(row, caplog):
    (task,) = parse_task_rows([row, load_body(140)["data"][0]])
    assert task.remote_id == RUNNING
    assert "count=1 of=2" in caplog.text


@pytest.mark.parametrize("start", [None, [], "soon", -1, 253402300799, 10**30])
def test_the_start_is_what_the_upid_says(start):
    (task,) = parse_task_rows([{"upid": RUNNING, "starttime": start}])
    assert task.started_at == datetime.fromtimestamp(0x6B0007A1, UTC)


def test_a_text_of_ten_megabytes_is_cut():
    (task,) = parse_task_rows([{"upid": RUNNING, "endtime": 1795164076, "status": "x" * 10_000_000}])
    assert task.exit_text == "x" * MAX_TEXT_CHARACTERS
    assert len(task.raw["status"]) == MAX_TEXT_CHARACTERS


@pytest.mark.parametrize("data", [None, {}, "x", 3])
def test_a_list_that_is_none_is_garbage(data):
    with pytest.raises(SourceUnavailable) as caught:
        parse_task_rows(data)
    assert caught.value.kind == "garbage"


def test_nul_and_twice_encoded_words_do_not_reach_the_tables():
    (task,) = parse_task_rows([{"upid": RUNNING, "endtime": 1, "status": "Ã¤\0", "x": {"deep": 1}}])
    assert task.exit_text == "ä\ufffd"
    assert "\0" not in str(task.raw)
    assert "x" not in task.raw


def test_status_of_a_running_task():
    task = parse_task_status(load_body(216)["data"])
    assert (task.running, task.exit_text, task.ended_at, task.user, task.token) == (
        True,
        None,
        None,
        "low@pve",
        "t1",
    )


def test_status_of_a_stopped_task():
    task = parse_task_status(load_body(145)["data"])
    assert (task.running, task.ended_at) == (False, None)
    assert "interrupted by signal" in (task.exit_text or "")


def test_status_of_a_killed_task():
    assert parse_task_status(load_body(149)["data"]).exit_text == "unexpected status"


@pytest.mark.parametrize("data", [None, [], {}, {"upid": "x", "status": "stopped"}])
def test_a_status_that_is_none_is_garbage(data):
    with pytest.raises(SourceUnavailable):
        parse_task_status(data)


def test_a_log_is_numbered_from_one_without_gaps():
    page = log_of(103)
    assert [line.number for line in page.lines] == list(range(1, 17))
    assert page.total == 16
    assert page.lines[0].text == "creating a clone of VM 100 with ID 110"


def test_a_tail_carries_on_the_numbers():
    page = log_of(133, after=3)
    assert [line.number for line in page.lines] == [4]
    assert page.total == 101


def test_a_tail_without_news_keeps_the_true_total():
    page = log_of(105, after=16)
    assert (page.lines, page.total, page.missing) == ((), 16, "")


def test_an_empty_log_has_no_line_and_does_not_advance():
    page = log_of(193)
    assert (page.lines, page.total, page.missing) == ((), 0, "")


@pytest.mark.parametrize("after", [0, 57])
def test_a_missing_log_says_so_in_the_remotes_words(after):
    page = log_of(181, after=after)
    assert (page.lines, page.total) == ((), 0)
    assert page.missing == "unable to open file - No such file or directory"


def test_the_words_of_a_placeholder_inside_a_log_are_a_line():
    data = [{"n": 1, "t": "no content"}, {"n": 2, "t": "TASK OK"}]
    assert [line.text for line in parse_log(data, 2, after=0).lines] == ["no content", "TASK OK"]


def test_hostile_lines_survive():
    lines = log_of(207).lines
    assert lines[0].text == "umlaut äöü euro € emoji 😀"
    assert lines[2].text == "tab\there esc \x1b[31mred\x1b[0m nul [\0]"
    assert lines[3].text == "cr progress 10%\rcr progress 50%\rcr progress 100%"


def test_a_line_of_300000_characters_survives():
    assert max(len(line.text) for line in log_of(211).lines) >= 300_000


def test_a_malformed_line_keeps_its_number():
    page = parse_log([{"t": "a"}, None, {"t": "c"}], 3, after=0)
    assert [(line.number, line.text) for line in page.lines] == [(1, "a"), (2, ""), (3, "c")]
