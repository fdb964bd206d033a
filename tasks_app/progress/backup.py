"""Progress of a backup task (vzdump) over its guests, one after another. A fold over log lines."""

import re
from typing import Any

from tasks_app.progress.formats import parse_progress
from tasks_app.progress.outcome import was_stopped

# A job line names guests only before its first option; with --all or --pool it names none.
_HEADER = re.compile(r"INFO: starting new backup job: vzdump((?: \d{1,9}){0,2000})(?= |$)")
_SKIPPED = re.compile(r"INFO: skip external VMs: (\d{1,9}(?:, ?\d{1,9}){0,2000})")
_STARTED = re.compile(r"INFO: Starting Backup of VM (\d{1,9}) \((\w{1,10})\)")
_FINISHED = re.compile(r"INFO: Finished Backup of VM (\d{1,9})\b")
_FAILED = re.compile(r"ERROR: Backup of VM (\d{1,9}) failed\b")
_JOB_ENDED = re.compile(r"INFO: Backup job finished")
_LETTERS = frozenset({"D", "E", "K"})


class Backup:
    """Which guest of how many, and how much of it."""

    is_surprised = False

    def __init__(self, guests: int | None = None) -> None:
        self.guests = guests
        self.listed: list[int] = []
        self.finished = 0
        self.last_finished = 0
        self.failed = 0
        self.vmid = 0
        self.kind = ""
        self.item: float | None = None
        self.done: int | None = None
        self.total: int | None = None
        self.is_head_missing: bool | None = None
        self.is_ended = False

    def feed(self, line: str) -> bool:
        """Read one line (see `logtext.searched`); True if it carried a number or a phase."""
        if match := _HEADER.match(line):
            if match[1]:
                self.guests = len(set(match[1].split()))
                self.listed = sorted({int(vmid) for vmid in match[1].split()})
            self.is_head_missing = False
        elif match := _SKIPPED.match(line):
            self._skip({int(vmid) for vmid in match[1].split(",")})
        elif match := _STARTED.match(line):
            self._start(int(match[1]), "VM" if match[2] == "qemu" else "CT")
        elif match := _FINISHED.match(line):
            self._finish(int(match[1]))
        elif match := _FAILED.match(line):
            # an interrupt ends the whole job, so nothing more is done by it
            if not was_stopped(line):
                self.failed += int(match[1]) != self.last_finished
                self._finish(int(match[1]))
        elif _JOB_ENDED.match(line):
            self.is_ended = True
        else:
            return self._feed_numbers(line)
        return True

    def _skip(self, skipped: set[int]) -> None:
        if self.listed:
            self.listed = [vmid for vmid in self.listed if vmid not in skipped]
            self.guests = len(self.listed)

    def _start(self, vmid: int, kind: str) -> None:
        if self.is_head_missing is None:
            self.is_head_missing = False
        if self.vmid and vmid != self.vmid and self.last_finished != self.vmid:
            self._finish(self.vmid)  # its last line is not in the log
        self.vmid, self.kind = vmid, kind
        self.item = self.done = self.total = None

    def _finish(self, vmid: int) -> None:
        if self.is_head_missing is None:
            self.is_head_missing = True
        if vmid == self.last_finished:
            return
        self.finished += 1
        self.last_finished = vmid
        if not self._is_only_one_failed:
            self.item = None

    def _feed_numbers(self, line: str) -> bool:
        progress = parse_progress(line)
        if progress is None or progress.kind not in _LETTERS:
            return False
        if self.is_head_missing is None:
            self.is_head_missing = True
        if progress.percent is not None:
            self.item = max(self.item or 0.0, progress.percent / 100)
        self.done, self.total = progress.done, progress.total
        return True

    @property
    def _is_only_one_failed(self) -> bool:
        """The one guest of this task failed: the task has, and keeps its number."""
        return self._count == 1 and self.failed > 0

    @property
    def _count(self) -> int | None:
        if self.guests is None or self.guests < 1:
            return None
        return max(self.guests, self.finished + (self.vmid != self.last_finished))

    def share(self) -> float | None:
        """0 to 1 over all guests; None where their number or the place among them is unknown."""
        if self._is_only_one_failed:
            return self.item
        if self.is_ended:
            return 1.0 if self.finished or self.item else None
        count = self._count
        if count is None or (count > 1 and self.is_head_missing is not False):
            return None
        if count == 1 and self.item is None and not self.finished:
            return None
        if not self.finished and not self.vmid and self.item is None:
            return None
        return min(1.0, (self.finished + (self.item or 0.0)) / count)

    def bytes(self) -> tuple[int | None, int | None]:
        """Of the current guest: (done, total)."""
        return self.done, self.total

    def step(self) -> str:
        """`guest 3 of 8 · VM 104`."""
        if self.is_ended:
            return "finishing"
        if not self.vmid:
            return ""
        count = self._count
        name = f"{self.kind} {self.vmid}"
        if count == 1:
            return name
        if self.is_head_missing:
            return f"guest {name}" if count is None else f"one of {count} guests · {name}"
        number = self.finished + (self.vmid != self.last_finished)
        return f"guest {number} of {count} · {name}" if count else f"guest {number} · {name}"

    def to_state(self) -> dict[str, Any]:
        """JSON-able. The guests' ids are needed only until the backup begins, and are then dropped."""
        return {**vars(self), "listed": [] if self.vmid else self.listed}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        for name in ("finished", "last_finished", "failed", "vmid"):
            setattr(self, name, int(state[name]))
        for name in ("guests", "done", "total"):
            setattr(self, name, None if state[name] is None else int(state[name]))
        self.listed = [int(vmid) for vmid in list(state["listed"])[:2000]]
        self.kind = str(state["kind"])[:4]
        self.item = None if state["item"] is None else min(1.0, max(0.0, float(state["item"])))
        self.is_head_missing = None if state["is_head_missing"] is None else bool(state["is_head_missing"])
        self.is_ended = bool(state["is_ended"])
