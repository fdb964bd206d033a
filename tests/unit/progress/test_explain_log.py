"""`manage.py explain_log` prints what the portal makes of a log, without a database."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

LOG = "creating a clone of VM 100 with ID 110\ntransferred 1.0 GiB of 2.0 GiB (50.00%)\n"


def run(tmp_path, text, *arguments):
    path = tmp_path / "task.log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    out = io.StringIO()
    call_command("explain_log", *arguments, str(path), stdout=out)
    return out.getvalue()


def run_json(tmp_path, text, *arguments):
    rows = [json.loads(line) for line in run(tmp_path, text, "--json", *arguments).splitlines()]
    return rows[:-1], rows[-1]


def test_one_object_a_line_then_the_end(tmp_path):
    lines, end = run_json(tmp_path, LOG + "TASK OK\n", "--type", "qmclone")
    assert [(row["line"], row["percent"]) for row in lines] == [(1, None), (2, 50.0), (3, 100.0)]
    assert end == {"outcome": "completed", "exitstatus": "OK", "new_vmid": 110, "error": ""}


def test_without_an_end_the_task_still_runs(tmp_path):
    lines, end = run_json(tmp_path, LOG, "--type", "qmclone")
    assert (len(lines), end["outcome"], end["exitstatus"]) == (2, "processing", "")


def test_exit_status_from_elsewhere(tmp_path):
    _, end = run_json(tmp_path, LOG, "--type", "qmclone", "--exitstatus", "unexpected status")
    assert end["outcome"] == "lost"
    _, end = run_json(
        tmp_path, LOG, "--type", "qmclone", "--exitstatus", "unexpected status", "--cancel-requested"
    )
    assert end["outcome"] == "cancelled"


def test_an_error_keeps_the_last_number(tmp_path):
    lines, end = run_json(tmp_path, LOG + "TASK ERROR: no\n", "--type", "qmclone")
    assert (lines[-1]["percent"], end["outcome"], end["error"]) == (50.0, "failed", "no")


def test_warnings_have_a_word_of_their_own(tmp_path):
    _, end = run_json(tmp_path, "WARN: x\nTASK WARNINGS: 1\n", "--type", "qmstart")
    assert (end["outcome"], end["error"]) == ("warnings", "WARN: x")


def test_sizes_and_guests_are_used(tmp_path):
    lines, _ = run_json(tmp_path, LOG, "--type", "qmclone", "--disk-bytes", f"{2 * 1024**3},{6 * 1024**3}")
    assert lines[-1]["percent"] == 12.5
    log = "INFO: Starting Backup of VM 1 (lxc)\nINFO: Finished Backup of VM 1 (00:00:01)\n"
    lines, _ = run_json(tmp_path, log, "--type", "vzdump", "--guests", "4")
    assert lines[-1]["percent"] == 25.0


def test_backup_server_lines_have_a_time_in_front(tmp_path):
    log = "2024-01-01T00:00:00Z: percentage done: 36.84% (7/19 groups)\n2024-01-01T00:00:00Z: TASK OK\n"
    lines, end = run_json(tmp_path, log, "--type", "verificationjob", "--product", "pbs")
    assert ([row["percent"] for row in lines], end["outcome"]) == ([36.84, 100.0], "completed")


def test_a_person_gets_a_table(tmp_path):
    table = run(tmp_path, LOG + "TASK ERROR: no\x1b[31m\n", "--type", "qmclone")
    assert "50.0 %" in table and "outcome      failed" in table and "new guest    110" in table
    assert "\x1b" not in table


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xff\xfe\x00\x1b[2J\r\r\n", b"x" * 300_000, b"TASK OK\n\n"])
def test_any_bytes_are_read(tmp_path, data):
    lines, end = run_json(tmp_path, data, "--type", "qmclone")
    assert len(lines) == len(data.removesuffix(b"\n").split(b"\n")) if data else not lines
    assert end["outcome"] in ("processing", "completed")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--type", "x", "/nonexistent/file"],
        ["--type", "x", "/"],
        ["/dev/null"],
        ["--type", "x", "--guests", "-1", "/dev/null"],
        ["--type", "x", "--disk-bytes", "1,two", "/dev/null"],
        ["--type", "x", "--product", "pdm", "/dev/null"],
    ],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(CommandError):
        call_command("explain_log", *arguments)
