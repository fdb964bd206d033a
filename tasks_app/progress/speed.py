"""How fast a number grows, and when it will be full: smooth, and silent where a guess would be wild."""

import itertools
from typing import Any

# The rate is that of this window: long enough to smooth, short enough to follow a change.
_WINDOW_SECONDS = 60.0
# A slow task needs a longer one: until it has grown by this many points, but no longer than this.
_WINDOW_POINTS = 5.0
_LONGEST_SECONDS = 1800.0
# At most this many samples are kept (and stored with the task).
_MAX_SAMPLES = 12
# Samples closer than this replace each other.
_SPACING_SECONDS = 5.0
# No time left before this much has been seen.
_MIN_SECONDS = 10.0
# Speeds that differ by more than this factor promise nothing.
_MAX_SPREAD = 3.0
_SMOOTHING = 0.3


class Speed:
    """Samples (at, percent, bytes) in order of time, at least five seconds apart but for the last."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []
        self.first_at: float | None = None
        self.left: float | None = None
        self.left_at = 0.0

    def restart(self) -> None:
        """Forget everything: another thing is measured from here on."""
        self.__init__()  # type: ignore[misc]

    def add(self, at: float, percent: float, done: float) -> None:
        """Note that `percent` and `done` bytes had been reached at unix time `at`."""
        if self.samples and (at < self.samples[-1][0] or done < self.samples[-1][2]):
            self.restart()
        if self.first_at is None:
            self.first_at = at
        too_close = len(self.samples) > 1 and at - self.samples[-2][0] < _SPACING_SECONDS
        if too_close or (self.samples and at == self.samples[-1][0]):
            self.samples[-1] = (at, percent, done)
        else:
            self.samples.append((at, percent, done))
        self._forget()
        self._estimate(at)

    def _forget(self) -> None:
        """Drop samples that are too old, or every second one where a slow task needs them far apart."""
        while len(self.samples) > 2:
            (start, percent, _), (end, last, _) = self.samples[1], self.samples[-1]
            is_enough = end - start >= _WINDOW_SECONDS and last - percent >= _WINDOW_POINTS
            if not is_enough and end - start < _LONGEST_SECONDS:
                break
            del self.samples[0]
        if len(self.samples) > _MAX_SAMPLES:
            del self.samples[1:-1:2]

    def bytes_per_second(self) -> float | None:
        """Over the window; None before two samples."""
        if len(self.samples) < 2:
            return None
        end, _, last = self.samples[-1]
        recent = [sample for sample in self.samples[:-1] if end - sample[0] <= _WINDOW_SECONDS]
        start, _, first = recent[0] if recent else self.samples[-2]
        return (last - first) / (end - start) if end > start and last >= first else None

    def _estimate(self, at: float) -> None:
        fresh = self._fresh_estimate(at)
        if fresh is not None and self.left is not None:
            expected = max(0.0, self.left - (at - self.left_at))
            fresh = (1 - _SMOOTHING) * expected + _SMOOTHING * fresh
        self.left, self.left_at = fresh, at

    def _fresh_estimate(self, at: float) -> float | None:
        if self.first_at is None or at - self.first_at < _MIN_SECONDS or len(self.samples) < 3:
            return None
        start, end = self.samples[0], self.samples[-1]
        count = len(self.samples) - 1
        marks = [self.samples[0], self.samples[count // 3], self.samples[2 * count // 3], end]
        speeds = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(marks) if b[0] - a[0] >= 1.0]
        grown = end[1] - start[1]
        if not speeds or grown <= 0 or end[0] <= start[0] or end[1] >= 99:
            return None
        if min(speeds) <= 0 or max(speeds) / min(speeds) > _MAX_SPREAD:
            return None
        return (100.0 - end[1]) * (end[0] - start[0]) / grown

    def to_state(self) -> dict[str, Any]:
        """JSON-able, at most `_MAX_SAMPLES` samples."""
        return {
            "samples": [list(sample) for sample in self.samples],
            "first_at": self.first_at,
            "left": self.left,
            "left_at": self.left_at,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Speed":
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        speed = cls()
        for at, percent, done in list(state["samples"])[:_MAX_SAMPLES]:
            speed.samples.append((float(at), float(percent), float(done)))
        speed.first_at = None if state["first_at"] is None else float(state["first_at"])
        speed.left = None if state["left"] is None else float(state["left"])
        speed.left_at = float(state["left_at"])
        return speed
