"""Exit texts become states by the table of the design."""

import pytest

from tasks_app.progress.outcome import Outcome, classify, terminal_line
from tasks_app.states import State


@pytest.mark.parametrize(
    ("exit_text", "state"),
    [
        (None, State.PROCESSING),
        ("OK", State.COMPLETED),
        ("", State.LOST),
        ("unknown", State.LOST),
        ("unexpected status", State.LOST),
        ("job errors", State.FAILED),
        ("migration aborted", State.FAILED),
        ("connection timed out", State.FAILED),
        ("WARNINGS: many", State.FAILED),
        ("block job (mirror) error: drive-scsi0: 'mirror' has been cancelled", State.FAILED),
        ("received interrupt", State.CANCELLED),
        ("Interrupted by signal", State.CANCELLED),
        ("interrupted by unexpected signal", State.CANCELLED),
        ("clone failed: copy failed: command 'x' failed: interrupted by signal", State.CANCELLED),
        ("command 'wget' failed: got signal 15", State.CANCELLED),
        ("abort requested - aborting task", State.CANCELLED),
        ("verification failed - job aborted", State.CANCELLED),
        ("Server shutdown requested - aborting task", State.CANCELLED),
    ],
)
def test_state_of_an_exit_text(exit_text, state):
    assert classify(exit_text) == Outcome(state, 0)


def test_warnings_are_counted_on_a_completed_task():
    assert classify("WARNINGS: 12", cancel_requested=True) == Outcome(State.COMPLETED, 12)


@pytest.mark.parametrize("exit_text", ["job errors", "unexpected status", "migration aborted"])
def test_our_own_stop_makes_any_bad_end_cancelled(exit_text):
    assert classify(exit_text, cancel_requested=True).state is State.CANCELLED


def test_a_task_that_was_done_first_was_not_cancelled():
    assert classify("OK", cancel_requested=True).state is State.COMPLETED
    assert classify(None, cancel_requested=True).state is State.PROCESSING


def test_success_glued_to_other_output_is_success():
    glued = "more PGs to list...[OSD 0] RDMA initialized successfullyTASK OK"
    assert classify("unexpected status", last_line=glued).state is State.COMPLETED


def test_stopped_migration_is_told_by_its_error_line():
    error = "ERROR: online migrate failure - interrupted by signal"
    assert classify("migration problems", error_line=error).state is State.CANCELLED
    assert classify("job errors", error_line=error).state is State.FAILED


@pytest.mark.parametrize(
    ("line", "exit_text"),
    [
        ("TASK OK", "OK"),
        ("TASK OK\n", "OK"),
        ("TASK WARNINGS: 3", "WARNINGS: 3"),
        ("TASK ERROR: first line second: x", "first line second: x"),
        ("2024-08-19T23:27:40+02:00: TASK ERROR: invalid type", "invalid type"),
        ("2024-08-19T23:27:40Z: TASK OK", "OK"),
        ("gluedTASK OK", None),
        ("INFO: TASK OK", None),
        ("TASK ERROR: ", None),
        ("TASK OKAY", None),
        ("", None),
    ],
)
def test_terminal_line(line, exit_text):
    assert terminal_line(line) == exit_text
