"""Every recorded log gives the result and the percentages its index expects."""

import json
from pathlib import Path

import pytest

from tasks_app.progress.explain import explain
from tasks_app.progress.tracker import Tracker

FOLDER = Path(__file__).parents[2] / "data" / "pve-task-logs"
INDEX = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))["logs"]
OUTCOMES = {
    "ok": "completed",
    "warning": "warnings",
    "error": "failed",
    "cancelled": "cancelled",
    "unknown": "lost",
}


def lines_of(entry):
    return (FOLDER / entry["file"]).read_text(encoding="utf-8").split("\n")[: entry["lines"]]


def explained(entry):
    return explain(
        lines_of(entry),
        type=entry["type"],
        product=entry["product"],
        disk_bytes=entry.get("disk_bytes", ()),
        guests=entry["guests"] or None,
    )


def by_file(entry):
    return entry["file"]


@pytest.mark.parametrize("entry", INDEX, ids=by_file)
def test_percentages_match_the_checkpoints(entry):
    result = explained(entry)
    for line, expected in entry["checkpoints"]:
        got = result.lines[line - 1].percent
        if expected is None:
            assert got is None, line
        elif expected == 99:
            assert got is not None and 98.5 <= got < 100, line
        else:
            assert got == pytest.approx(expected, abs=entry["tolerance"]), line


@pytest.mark.parametrize("entry", INDEX, ids=by_file)
def test_outcome_and_exit_status_follow_from_the_last_line(entry):
    result = explained(entry)
    if entry["terminal_line"]:
        assert (result.outcome, result.exit_text) == (OUTCOMES[entry["outcome"]], entry["exitstatus"])
    else:
        assert (result.outcome, result.exit_text) == ("processing", "")


@pytest.mark.parametrize("entry", INDEX, ids=by_file)
def test_state_can_be_stored_and_read_back_at_every_line(entry):
    kwargs = {"product": entry["product"], "guests": entry["guests"] or None}
    straight = Tracker(entry["type"], **kwargs)
    stored = Tracker(entry["type"], **kwargs)
    for number, line in enumerate(lines_of(entry)):
        straight.feed(line, at=float(number))
        stored.feed(line, at=float(number))
        stored = Tracker.from_state(json.loads(json.dumps(stored.to_state())))
        for name in ("percent", "step", "lines", "bytes_done", "seconds_left", "error_line", "new_vmid"):
            assert getattr(stored, name) == getattr(straight, name), (number + 1, name)


def test_failed_tasks_name_a_reason():
    for entry in INDEX:
        if entry["terminal_line"] and entry["outcome"] == "error":
            assert explained(entry).error, entry["file"]
