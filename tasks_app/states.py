"""The states of a task, spelled once. Tables, JSON, CSS and tests use these words."""

from enum import StrEnum


class State(StrEnum):
    """Where a task, a submission or a job stands. Transitions go one way; see `may_become`."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


LABELS: dict[State, str] = {
    State.PENDING: "Queued",
    State.PROCESSING: "Running",
    State.COMPLETED: "Completed",
    State.FAILED: "Failed",
    State.CANCELLED: "Cancelled",
    State.LOST: "Unknown end",
}

CHOICES = [(state.value, LABELS[state]) for state in State]

WARNINGS, ATTENTION = "warnings", "attention"
"""What can be asked for beside the states: completed with warnings, and failures that nobody has acknowledged."""

OUTCOMES: dict[str, str] = {
    State.FAILED.value: LABELS[State.FAILED],
    State.LOST.value: LABELS[State.LOST],
    State.CANCELLED.value: LABELS[State.CANCELLED],
    WARNINGS: "Completed with warnings",
    State.PROCESSING.value: LABELS[State.PROCESSING],
    State.PENDING.value: LABELS[State.PENDING],
    State.COMPLETED.value: LABELS[State.COMPLETED],
}
"""Every task has exactly one of these: its state, and "warnings" if it completed with some. Failures first."""

OPEN_STATES = frozenset({State.PENDING, State.PROCESSING})
FINAL_STATES = frozenset(State) - OPEN_STATES


def outcome_of(state: str, warnings: int) -> str:
    """The one of OUTCOMES that a task has."""
    return WARNINGS if state == State.COMPLETED and warnings else State(state).value


def may_become(old: State, new: State) -> bool:
    """Whether a task in `old` may be written as `new`.

    pending → processing → one final state. A final state never changes, except
    that `lost` gives way to better evidence.
    """
    if old == new:
        return False
    if old is State.PENDING:
        return True
    if old is State.PROCESSING:
        return new in FINAL_STATES
    return old is State.LOST and new in FINAL_STATES
