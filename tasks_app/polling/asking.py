"""When a generation task, or the list of its source, is asked for next. Pure: no clock, no tables.

`chance` is from 0 to 1 and moves an interval by ± 20 %, so that tasks and portals spread.
"""

from dataclasses import dataclass
from enum import StrEnum

from tasks_app.states import State

LIST_FROM = 6
"""Open tasks from which one list call replaces single questions, where there is one."""
LIST_QUICK_SECONDS = 2.0
"""Between two lists while they tell something new, or somebody looks."""
LIST_SLOW_SECONDS = 4.0
"""The same while nothing moves: one request for all tasks, so it need not become as rare as single questions do."""
LIST_SHARE = 5.0
"""A list that takes long is asked for so many times its own length apart: a large history must not load the source."""
LIST_LOOK_SECONDS = 30.0
"""Between looks for tasks of others while single questions do for our own."""
CHECK_SECONDS = 300.0
"""Between looks whether a source without a list still answers, while nothing is open there."""
LIST_AGAIN_SECONDS = 600.0
"""A source that refuses its list is asked task by task for so long."""

PENDING_SECONDS = (3.0, 30.0)
"""First and longest interval while the remote has not begun; half as long again each time."""
UNTOLD_SECONDS = (2.0, 30.0)
"""The same while it works and tells no number."""
HOSTED_VIDEO_SECONDS = 10.0
"""First interval of a video at a provider, of which hardly any ends before a minute."""
GROWTH = 1.5
BAD_SECONDS = (2.0, 60.0)
"""After a bad answer: from the first to the longest, doubled each time, up to half of it more by chance."""
MOST_TOLD_SECONDS = 300.0
"""The longest wait that a remote's own word is followed for."""
CREDENTIALS_SECONDS = 300.0
"""A source that refuses the key is tried with one question this often."""
MISS_SECONDS = 30.0
"""A task that the remote does not know is asked for this often, until it is lost."""
BAD_IN_A_ROW = 5
"""Bad answers in a row after which a source is unreachable: one question at a time until it answers."""

QUIET_ASKS = 10
"""Questions without a sign of life before a task is called quiet; beside the time below."""
QUIET_SECONDS = 300.0
QUIET_TIMES = 3.0
"""Times the usual duration of such a task."""


class Answer(StrEnum):
    """What came of a question about one task. BAD: 429, 5xx, dropped or malformed. MISSING: the remote knows no such
    task."""

    TOLD = "told"
    BAD = "bad"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the next interval depends on.

    `pause` is the last one before chance, 0 for the first. `has_moved`: another state than before, or another place in
    the queue. `bad_answers` in a row, this one included. `told_seconds`: the remote's own wish (Retry-After and the
    like). `floor` seconds: never sooner.
    """

    answer: Answer
    state: State = State.PROCESSING
    progress: float | None = None
    pause: float = 0.0
    has_moved: bool = False
    bad_answers: int = 0
    told_seconds: float | None = None
    floor: float = 2.0
    is_hosted_video: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """`seconds` until the next question. `pause` is to be remembered for the one after."""

    seconds: float
    pause: float


def next_question(asked: Asked, chance: float) -> Next:
    """The table of intervals; what a remote asks for goes before it."""
    pause = asked.pause
    if asked.answer is Answer.TOLD:
        pause = _pause(asked)
    if asked.told_seconds is not None and asked.told_seconds > 0:
        # Never sooner than told, so chance only adds.
        told = min(MOST_TOLD_SECONDS, max(asked.floor, asked.told_seconds))
        return Next(min(MOST_TOLD_SECONDS, told * (1.0 + 0.2 * chance)), pause)
    if asked.answer is Answer.BAD:
        first, most = BAD_SECONDS
        wait = min(most, max(first, pause) * 2.0 ** min(max(asked.bad_answers, 1), 10))
        return Next(max(asked.floor, wait * (1.0 + 0.5 * chance)), pause)
    if asked.answer is Answer.MISSING:
        return Next(max(asked.floor, spread(MISS_SECONDS, chance)), pause)
    return Next(max(asked.floor, spread(pause, chance)), pause)


def next_list(pause: float, *, has_news: bool, took_seconds: float, floor: float, chance: float) -> Next:
    """The same for the list of a source. `pause` is the last one, 0 for the first."""
    pause = LIST_QUICK_SECONDS if has_news or not pause else min(LIST_SLOW_SECONDS, max(1.0, pause) * GROWTH)
    least = max(floor, min(LIST_LOOK_SECONDS, took_seconds * LIST_SHARE))
    return Next(max(least, spread(pause, chance)), pause)


def quiet_after(usual_seconds: float | None) -> float:
    """Seconds without a sign of life that are worth a warning."""
    return max(QUIET_SECONDS, QUIET_TIMES * (usual_seconds or 0.0))


def is_quiet(*, asks: int, seconds: float, usual_seconds: float | None) -> bool:
    """Whether `asks` questions and `seconds` have passed without a sign of life. A warning, never a state."""
    return asks >= QUIET_ASKS and seconds >= quiet_after(usual_seconds)


def spread(seconds: float, chance: float) -> float:
    """± 20 %."""
    return seconds * (0.8 + 0.4 * chance)


def _pause(asked: Asked) -> float:
    is_first = asked.has_moved or asked.pause <= 0
    if asked.state is State.PENDING:
        first, most = PENDING_SECONDS
        return first if is_first else min(most, asked.pause * GROWTH)
    if asked.progress is not None:
        return 3.0 if asked.progress < 20 else 5.0 if asked.progress <= 80 else 2.0
    first, most = UNTOLD_SECONDS
    first = HOSTED_VIDEO_SECONDS if asked.is_hosted_video else first
    return first if is_first else min(most, asked.pause * GROWTH)
