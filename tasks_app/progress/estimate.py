"""How long tasks of one kind usually take, from the durations of earlier runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Fewer runs say nothing about what is usual.
_MIN_RUNS = 3
# A tenth at each end may be accidents.
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Usual:
    """Durations in seconds: nine of ten runs took at least `low`, nine of ten at most `high`."""

    low: float
    high: float
    median: float
    runs: int


def usual_duration(seconds: Sequence[float]) -> Usual | None:
    """What is usual among earlier runs (any order); None below three. Negative and infinite ones are left out."""
    runs = sorted(value for value in seconds if math.isfinite(value) and value >= 0)
    if len(runs) < _MIN_RUNS:
        return None
    return Usual(_quantile(runs, _LOW), _quantile(runs, _HIGH), _quantile(runs, 0.5), len(runs))


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def format_usual(usual: Usual) -> str:
    """`usually 20–40 s (last 30 runs)`."""
    low, high = _rounded(usual.low), _rounded(usual.high)
    low_number, low_unit = _in_units(low)
    high_number, high_unit = _in_units(high)
    if high < 1:
        text = "under 1 s"
    elif (low_number, low_unit) == (high_number, high_unit):
        text = f"about {high_number} {high_unit}"
    elif low < 1:
        text = f"up to {high_number} {high_unit}"
    elif low_unit == high_unit:
        text = f"{low_number}–{high_number} {high_unit}"
    else:
        text = f"{low_number} {low_unit} – {high_number} {high_unit}"
    return f"usually {text} (last {usual.runs} runs)"


def _rounded(seconds: float) -> int:
    """Whole seconds; above ten of them to two digits, as more would only pretend to be known."""
    if seconds < 10:
        return round(seconds)
    step = int(10 ** (math.floor(math.log10(seconds)) - 1))
    return round(seconds / step) * step


def _in_units(seconds: int) -> tuple[str, str]:
    if seconds < 100:
        return str(seconds), "s"
    if seconds < 100 * 60:
        return str(round(seconds / 60)), "min"
    return f"{seconds / 3600:.1f}".removesuffix(".0"), "h"
