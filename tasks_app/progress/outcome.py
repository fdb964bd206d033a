"""How a task ended: from the remote's exit text to one of our states."""

import re
from dataclasses import dataclass

from tasks_app.progress.logtext import without_time
from tasks_app.states import State

_WARNINGS = re.compile(r"WARNINGS: (\d{1,9})")
_TERMINAL = re.compile(r"TASK (?:(?P<plain>OK|WARNINGS: \d{1,9})\s*|ERROR: (?P<error>.*\S.*))", re.DOTALL)

# The remote has no state "cancelled"; these texts are what a stopped worker leaves. `'mirror' has been cancelled`
# is not among them: that is an I/O error.
_STOPPED = re.compile(
    r"received interrupt|interrupted by (?:unexpected )?signal|got signal 15|abort requested|task aborted"
    r"|sync aborted|job aborted|shutdown requested - aborting task",
    re.IGNORECASE,
)
# Migrations say only this; the reason is in an ERROR line of the log.
_HIDES_A_STOP = frozenset({"migration aborted", "migration problems"})
_SEARCHED_CHARS = 16_384


@dataclass(frozen=True, slots=True)
class Outcome:
    """State of a task, and how many warnings it counted (only of a completed one)."""

    state: State
    warnings: int = 0


def classify(
    exit_text: str | None, *, cancel_requested: bool = False, last_line: str = "", error_line: str = ""
) -> Outcome:
    """Outcome for the remote's exit text; None while the task runs.

    `last_line` of the log tells a success whose output was glued to `TASK OK` from an
    unknown end; `error_line` of the log tells a stopped migration from a failed one.
    """
    if exit_text is None:
        return Outcome(State.PROCESSING)
    text = exit_text.strip()
    if text == "OK":
        return Outcome(State.COMPLETED)
    warnings = _WARNINGS.fullmatch(text)
    if warnings:
        return Outcome(State.COMPLETED, int(warnings[1]))
    is_unknown = text in ("", "unknown", "unexpected status")
    if is_unknown and last_line.rstrip().endswith("TASK OK"):
        return Outcome(State.COMPLETED)
    if cancel_requested or was_stopped(text) or (text in _HIDES_A_STOP and was_stopped(error_line)):
        return Outcome(State.CANCELLED)
    return Outcome(State.LOST if is_unknown else State.FAILED)


def was_stopped(text: str) -> bool:
    """Whether a text of the remote says that somebody or something stopped the task."""
    return _STOPPED.search(text[:_SEARCHED_CHARS]) is not None


def terminal_line(text: str) -> str | None:
    """The exit text in a log's last line (`OK`, `WARNINGS: 2`, the error), or None if it is no such line.

    Only the start of the line counts, after the time stamp of Backup Server.
    """
    match = _TERMINAL.fullmatch(without_time(text.rstrip("\r\n")))
    if match is None:
        return None
    plain: str | None = match["plain"]
    return plain if plain is not None else str(match["error"]).strip()
