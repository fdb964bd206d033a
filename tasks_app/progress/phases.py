"""Progress of tasks with one number at a time: Backup Server jobs, downloads, snapshots, tasks over many guests."""

import re
from typing import Any

from tasks_app.progress.formats import Progress, parse_progress, parse_size

# A lower percentage than this many points below the last one is a new part, not rounding.
_RESTART_POINTS = 5.0

_GC_PHASE = re.compile(r"Start GC phase ?([12])", re.IGNORECASE)
_GC_DONE = re.compile(r"Removed garbage:")
_LENGTH = re.compile(r"Length: (\d{1,18})\b")
_STATE_SAVED = re.compile(r"completed saving the VM state in .{1,60}, saved (\d{1,9}(?:\.\d{1,4})? \w{1,3})")
_SNAPSHOT_DISK = re.compile(r"snapshotting '(?:drive-)?([\w.-]{1,40})'")
_GUEST_STEP = re.compile(
    r"(Starting|Stopping|Shutting down|Suspending|Migrating) (VM|CT) (\d{1,9})\b(?! failed)"
)
_DELAY = re.compile(r"Waiting for (\d{1,6}) seconds? \(startup delay\)")

_BULK = frozenset(
    [
        "startall",
        "stopall",
        "suspendall",
        "migrateall",
        "bulk-start",
        "bulk-shutdown",
        "bulk-suspend",
        "bulk-migrate",
    ]
)


class Phases:
    """One number after another, and what it counts."""

    def __init__(self, type: str, guests: int | None = None, ram_bytes: int | None = None) -> None:
        self.type = type
        self.guests = guests if type in _BULK else None
        self.ram_bytes = ram_bytes
        self.percent: float | None = None
        self.phase = 0
        self.parts = 1
        self.done: int | None = None
        self.total: int | None = None
        self.label = ""

    def feed(self, line: str) -> bool:
        """Read one line (see `logtext.searched`); True if it carried a number or a phase."""
        if self.type == "garbage_collection":
            return self._feed_collection(line)
        if self.type in _BULK:
            return self._feed_bulk(line)
        if self.type == "download":
            return self._feed_download(line)
        if self.type in ("qmsnapshot", "qmsuspend", "qmpause"):
            return self._feed_snapshot(line)
        progress = parse_progress(line)
        if progress is None or progress.kind != ("O" if self.type == "create-datastore" else "M"):
            return False
        self._feed_share(progress)
        return True

    def _feed_share(self, progress: Progress) -> None:
        percent = progress.percent or 0.0
        if self.percent is not None and percent < self.percent - _RESTART_POINTS:
            self.parts += 1
            self.percent = None
        self.percent = max(self.percent or 0.0, percent)
        self.label = progress.note[:80] if progress.kind == "M" else "creating the chunk store"

    def _feed_collection(self, line: str) -> bool:
        if match := _GC_PHASE.search(line):
            self.phase, self.percent = int(match[1]), (0.0 if match[1] == "2" else None)
        elif _GC_DONE.match(line):
            self.phase, self.percent = 2, 100.0
        else:
            progress = parse_progress(line)
            if progress is None or progress.kind not in ("N0", "N1", "N2", "M"):
                return False
            named = {"N1": 1, "N2": 2}.get(progress.kind)
            # before phases were named, only the second one printed numbers
            phase = named or (self.phase or 2 if progress.kind == "N0" else self.phase or 1)
            if phase != self.phase:
                self.phase, self.percent = phase, None
            self.percent = max(self.percent or 0.0, progress.percent or 0.0)
        self.label = "phase 1 of 2 · marking used chunks" if self.phase == 1 else "phase 2 of 2 · sweeping"
        return True

    def _feed_download(self, line: str) -> bool:
        if match := _LENGTH.match(line):
            self.total = int(match[1])
        elif line.startswith("calculating checksum"):
            self.label = "verifying the checksum"
            self.percent = 100.0
        elif line.startswith(("decompressing ", "download of ")):
            self.label = "decompressing" if line.startswith("deco") else "finishing"
        else:
            progress = parse_progress(line)
            if progress is None or progress.kind != "L":
                return False
            self.percent = max(self.percent or 0.0, progress.percent or 0.0)
            self.label = "downloading"
            if self.total:
                self.done = int(self.total * self.percent / 100)
        return True

    def _feed_snapshot(self, line: str) -> bool:
        if match := _STATE_SAVED.match(line):
            self.done, self.label = parse_size(match[1]), "RAM saved"
            self.total = None
        elif match := _SNAPSHOT_DISK.match(line):
            self.label = f"snapshot of {match[1]}"
        elif line.startswith("saving VM state and RAM"):
            self.label = "saving RAM"
        else:
            progress = parse_progress(line)
            if progress is None or progress.kind != "J":
                return False
            self.done, self.total, self.label = progress.done, self.ram_bytes, "saving RAM"
            if self.ram_bytes and progress.done:
                self.percent = min(100.0, 100.0 * progress.done / self.ram_bytes)
        return True

    def _feed_bulk(self, line: str) -> bool:
        if match := _DELAY.match(line):
            self.label = f"waiting {match[1]} s before the next guest"
        elif match := _GUEST_STEP.match(line):
            self.phase += 1
            self.label = f"{match[1].lower()} {match[2]} {match[3]}"
        else:
            return False
        return True

    @property
    def is_surprised(self) -> bool:
        """The percentage began again: it was of one part among an unknown number."""
        return self.parts > 1

    def share(self) -> float | None:
        """0 to 1 of the whole task, or None."""
        if self.type in _BULK:
            if not self.guests or not self.phase:
                return None
            return min(1.0, (self.phase - 1) / max(self.guests, self.phase))
        if self.percent is None:
            return None
        if self.parts > 1:
            return None
        if self.type == "garbage_collection":
            return ((100.0 if self.phase == 2 else 0.0) + self.percent) / 200
        return self.percent / 100

    def bytes(self) -> tuple[int | None, int | None]:
        """(done, total) where the log tells."""
        return self.done, self.total

    def step(self) -> str:
        """Words for what goes on now."""
        if self.parts > 1 and self.percent is not None:
            return f"part {self.parts} · {self.percent:.0f} % · {self.label}"
        if self.type in _BULK and self.guests and self.phase and not self.label.startswith("waiting"):
            return f"guest {self.phase} of {max(self.guests, self.phase)} · {self.label}"
        return self.label

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        return {key: value for key, value in vars(self).items() if key != "type"}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        for name in ("guests", "ram_bytes", "done", "total"):
            setattr(self, name, None if state[name] is None else int(state[name]))
        self.percent = None if state["percent"] is None else min(100.0, max(0.0, float(state["percent"])))
        self.phase, self.parts = int(state["phase"]), int(state["parts"])
        self.label = str(state["label"])[:120]
