"""Progress of one task as a fold over its log: feed lines, read percent, step, rate and time left."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from tasks_app.progress.backup import Backup
from tasks_app.progress.copying import Copying
from tasks_app.progress.logtext import searched
from tasks_app.progress.outcome import Outcome, terminal_line
from tasks_app.progress.phases import Phases
from tasks_app.progress.reasons import Reasons
from tasks_app.progress.speed import Speed
from tasks_app.states import State

_VERSION = 1
# 100 belongs to the remote's word that the task has ended well.
_CEILING = 99.0
# A share this many points below the one shown is not rounding.
_CONTRADICTION_POINTS = 5.0
_MAX_STEP = 120

_COPYING = frozenset(
    [
        "qmcreate",
        "qmrestore",
        "qmclone",
        "qmmove",
        "qmigrate",
        "qmconfig",
        "qmdelsnapshot",
        "importdisk",
        "vzmigrate",
    ]
)
_PVE_NUMBERS = _COPYING | {"qmsnapshot", "qmsuspend", "qmpause", "vzdump", "download"}
_PBS_NUMBERS = frozenset(
    [
        "garbage_collection",
        "verify",
        "verify_group",
        "verify_snapshot",
        "verificationjob",
        "sync",
        "syncjob",
        "tape-backup",
        "tape-backup-job",
        "tape-restore",
        "create-datastore",
    ]
)
_NEW_GUEST = re.compile(r"creating a clone of (?:VM|CT|container) \d{1,9} with ID (\d{1,9})\b")
_NEW_VOLUME = re.compile(
    r"(?:allocated target volume '[^':]{1,100}:(?:\d{1,9}/)?|\s{0,4}Logical volume \"|Formatting '/[^']{1,400}/)"
    r"(?:vm|subvol)-(\d{1,9})-(?:disk-\d|cloudinit)"
)
_NEW_NAME = re.compile(r"update VM \d{1,9}: (?:.{0,2000}? )?-name ([A-Za-z0-9.-]{1,255})(?= |$)")

_Part = Copying | Backup | Phases


def can_show_progress(type: str, product: str = "pve") -> bool:
    """Whether the log of such a task carries numbers, so that following it every second is worth a request."""
    return type in (_PBS_NUMBERS if product == "pbs" else _PVE_NUMBERS)


def final_percent(tracked: float | None, outcome: Outcome) -> float | None:
    """What to show once a task has ended: 100 for a completed one, the last number for any other."""
    return 100.0 if outcome.state is State.COMPLETED else tracked


class Tracker:
    """Reads a task's log line by line.

    `disk_bytes` are the sizes of the disks to copy, by name or in the order of the
    configuration; `guests` is the number of guests of a backup or bulk task;
    `ram_bytes` the memory of the guest. All are optional: without them the percentage
    is less exact, or None.
    """

    def __init__(
        self,
        type: str,
        *,
        product: str = "pve",
        disk_bytes: Sequence[int] | Mapping[str, int] = (),
        guests: int | None = None,
        ram_bytes: int | None = None,
    ) -> None:
        self.type = type
        self.product = product
        self.lines = 0
        self.new_vmid: int | None = None
        self.new_name = ""
        self.last_line = ""
        self._is_new_vmid_sure = False
        self._shown: float | None = None
        self._is_contradicted = False
        self._step = ""
        self._is_step_known = False
        self._speed = Speed()
        self._reasons = Reasons(type)
        self._part: _Part
        if product != "pbs" and type == "vzdump":
            self._part = Backup(guests)
        elif product != "pbs" and type in _COPYING:
            self._part = Copying(type, disk_bytes, ram_bytes)
        else:
            self._part = Phases(type, guests, ram_bytes)

    def feed(self, text: str, *, at: float | None = None) -> None:
        """Read one line of the log (or several, separated by line feeds), seen at unix time `at`.

        Never raises on any text. Lines are counted in `lines`; feed each only once.
        """
        for raw in text.removesuffix("\n").split("\n"):
            self.lines += 1
            line = searched(raw)
            if line.strip():
                self.last_line = line[-500:]
            is_end = terminal_line(line) is not None
            is_telling = not is_end and self._part.feed(line)
            self._reasons.feed(line, is_progress=is_telling)
            if not is_end:
                self._follow(line, at, is_telling=is_telling)

    def _follow(self, line: str, at: float | None, *, is_telling: bool) -> None:
        self._find_new_guest(line)
        if is_telling and (step := self._part.step()):
            self._step, self._is_step_known = step[:_MAX_STEP], True
        elif line.strip() and not self._is_step_known:
            self._step = line.strip().removeprefix("INFO: ").strip()[:_MAX_STEP]
        if not is_telling:
            return
        share = self._part.share()
        self._show(None if share is None else min(_CEILING, 100.0 * share))
        if at is not None and math.isfinite(at):
            done, _ = self._part.bytes()
            self._speed.add(at, self._shown or 0.0, float(done or 0))

    def _show(self, percent: float | None) -> None:
        if percent is None:
            self._is_contradicted = self._is_contradicted or self._part.is_surprised
        elif self._shown is None or percent >= self._shown:
            self._shown, self._is_contradicted = percent, False
        elif self._part.is_surprised and percent < self._shown - _CONTRADICTION_POINTS:
            self._is_contradicted = True

    def _find_new_guest(self, line: str) -> None:
        if self.type in ("qmclone", "vzclone") and not self._is_new_vmid_sure:
            if match := _NEW_GUEST.match(line):
                self.new_vmid, self._is_new_vmid_sure = int(match[1]), True
            elif self.new_vmid is None and (match := _NEW_VOLUME.match(line)):
                self.new_vmid = int(match[1])
        elif self.type == "qmconfig" and (match := _NEW_NAME.match(line)):
            self.new_name = match[1]

    @property
    def percent(self) -> float | None:
        """0 to 99 of the whole task, never going back; None when the log justifies no number."""
        return None if self._is_contradicted else self._shown

    @property
    def step(self) -> str:
        """What goes on now, in words: `disk 1 of 2 · scsi0`; the last line of the log where nothing better is known."""
        return self._step

    @property
    def bytes_done(self) -> int | None:
        """Bytes copied, of all disks or of the guest being backed up."""
        return self._part.bytes()[0]

    @property
    def bytes_total(self) -> int | None:
        """Bytes to copy, beside `bytes_done`."""
        return self._part.bytes()[1]

    @property
    def rate_bytes_per_second(self) -> float | None:
        """Mean of the last minute; None before two times were given to `feed`."""
        return (self._speed.bytes_per_second() or None) if self.bytes_done else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate; None in the first 10 s, without a percentage, and while the speed varies by more than 3."""
        return self._speed.left if self.percent is not None else None

    @property
    def error_line(self) -> str:
        """The line that tells best what went wrong, "" if none does."""
        return self._reasons.best()

    def error_for(self, exit_text: str) -> str:
        """As `error_line`, for an exit text learnt from elsewhere than the log."""
        return self._reasons.best(exit_text)

    def finish(self, outcome: Outcome) -> float | None:
        """The percentage to keep for ever; see `final_percent`."""
        return final_percent(self.percent, outcome)

    def to_state(self) -> dict[str, Any]:
        """Everything that reading on needs, JSON-able and a few KB at most."""
        return {
            "version": _VERSION,
            "type": self.type,
            "product": self.product,
            "lines": self.lines,
            "new_vmid": self.new_vmid,
            "new_vmid_sure": self._is_new_vmid_sure,
            "new_name": self.new_name,
            "last_line": self.last_line,
            "shown": self._shown,
            "contradicted": self._is_contradicted,
            "step": self._step,
            "step_known": self._is_step_known,
            "part": self._part.to_state(),
            "speed": self._speed.to_state(),
            "reasons": self._reasons.to_state(),
        }

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """Inverse of `to_state`. Garbage or another version gives a new tracker (`lines` is then 0)."""
        known = state if isinstance(state, dict) else {}
        fresh = cls(str(known.get("type", ""))[:80], product=str(known.get("product", "pve"))[:10])
        if known.get("version") != _VERSION:
            return fresh
        tracker = cls(fresh.type, product=fresh.product)
        try:
            tracker._restore(known)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            return fresh
        return tracker

    def _restore(self, state: dict[str, Any]) -> None:
        self.lines = max(0, int(state["lines"]))
        self.new_vmid = None if state["new_vmid"] is None else int(state["new_vmid"])
        self._is_new_vmid_sure = bool(state["new_vmid_sure"])
        self.new_name = str(state["new_name"])[:255]
        self.last_line = str(state["last_line"])[:500]
        self._shown = None if state["shown"] is None else min(_CEILING, max(0.0, float(state["shown"])))
        self._is_contradicted = bool(state["contradicted"])
        self._step = str(state["step"])[:_MAX_STEP]
        self._is_step_known = bool(state["step_known"])
        self._part.restore(state["part"])
        self._speed = Speed.from_state(state["speed"])
        self._reasons.restore(state["reasons"])
