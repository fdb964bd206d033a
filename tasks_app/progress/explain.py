"""A whole log at once: the percentage after each line and how the task ended."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks_app.progress.outcome import classify, terminal_line
from tasks_app.progress.tracker import Tracker, final_percent
from tasks_app.states import State


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """What is known after reading lines 1 to `line`."""

    line: int
    percent: float | None
    step: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`outcome` is a state's word, or `warnings` for a completed task that counted some."""

    lines: list[ExplainedLine]
    outcome: str
    exit_text: str
    new_vmid: int | None
    error: str


def explain(
    lines: Iterable[str],
    *,
    type: str,
    product: str = "pve",
    exit_text: str | None = None,
    disk_bytes: Sequence[int] = (),
    guests: int | None = None,
    cancel_requested: bool = False,
) -> Explanation:
    """Read a log to its end. `exit_text` is what the remote says, by default what the last line says."""
    texts = list(lines)
    last_index = max((index for index, text in enumerate(texts) if text.strip()), default=-1)
    last_line = texts[last_index] if texts else ""
    written = terminal_line(last_line)
    tracker = Tracker(type, product=product, disk_bytes=disk_bytes, guests=guests)
    explained = list(_follow(tracker, texts))
    ending = exit_text if exit_text is not None else written
    error = tracker.error_for(ending) if ending is not None else tracker.error_line
    outcome = classify(ending, cancel_requested=cancel_requested, last_line=last_line, error_line=error)
    if written is not None:
        final = final_percent(tracker.percent, outcome)
        explained[last_index:] = [
            ExplainedLine(line.line, final, outcome.state.value) for line in explained[last_index:]
        ]
    is_clean = outcome.state is State.COMPLETED and not outcome.warnings
    return Explanation(
        lines=explained,
        outcome="warnings" if outcome.warnings else outcome.state.value,
        exit_text=ending or "",
        new_vmid=tracker.new_vmid,
        error="" if is_clean else error,
    )


def _follow(tracker: Tracker, texts: list[str]) -> Iterator[ExplainedLine]:
    for number, text in enumerate(texts, 1):
        tracker.feed(text)
        yield ExplainedLine(number, tracker.percent, tracker.step)
