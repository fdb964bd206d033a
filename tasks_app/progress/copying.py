"""Progress of tasks that copy disks: clone, move, import, restore, migration. A fold over log lines."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks_app.progress.formats import Progress, disk_of_job, parse_progress
from tasks_app.progress.parts import Part, Parts, known_sizes

# Room kept for the memory of a live migration while its size is unknown: a quarter of the disks, at most 8 GiB.
_ASSUMED_RAM_BYTES = 8 * 1024**3
_ASSUMED_RAM_SHARE = 0.25
# An integer percent this large gives the size of a disk well enough to doubt one known from elsewhere.
_DOUBT_FROM_PERCENT = 3

_CLONE_DRIVE = re.compile(r"create full clone of drive ([\w.-]{1,40})(.{0,300})")
_MIRROR_STARTS = re.compile(r"drive mirror is starting for ([\w.-]{1,80})")
_RESTORE_IMAGE = re.compile(
    r"restore proxmox backup image: .{0,4000}?\b(?:drive-)?([a-z]{2,10}\d{1,3})\.img\.fidx", re.DOTALL
)
_IMAGE_COMPLETE = re.compile(r"restore image complete \(bytes=(\d{1,18})")
_NEW_VOLUME = re.compile(r"new volume ID is '([^']{1,300})'")
_ARCHIVE_DISK = re.compile(r"DEV: dev_id=\d{1,4} size: (\d{1,18}) devname: ([\w.-]{1,80})")
# `Done.` is not among these: it follows a job that was cancelled, too.
_JOB_ENDED = re.compile(r"([\w.-]{1,80}): (?:Completed successfully|\w{1,20}-job finished)")
_JOBS_READY = re.compile(r"all '?\w{1,20}'? (?:\w{1,20} )?jobs are ready")
_FOUND_VOLUME = re.compile(r"found (?:local(?:, replicated)?|generated) (?:disk|volume) '")
_VOLUME_IMPORTED = re.compile(r"successfully imported '")
_VOLUME_ON_TARGET = re.compile(r"volume '[^']{1,300}' is '[^']{1,300}' on the target")
_LIVE = re.compile(r"starting (?:VM \d{1,9} on remote node|storage migration|online/live migration)")
_RAM_DONE = re.compile(r"migration (?:completed\b|status: completed)")

_SINGLE_DISK = frozenset({"qmmove", "importdisk"})
_LETTERS = {
    "qmrestore": frozenset({"B", "F", "G"}),
    "qmigrate": frozenset({"B", "H", "I1", "I2", "I3"}),
    "vzmigrate": frozenset({"I1", "I2", "I3"}),
}
_DISK_LETTERS = frozenset({"A", "B"})


class Copying:
    """How much of all disks (and memory) is copied."""

    def __init__(
        self, type: str, disk_bytes: Sequence[int] | Mapping[str, int] = (), ram_bytes: int | None = None
    ) -> None:
        self.type = type
        self.parts = Parts(known_sizes(disk_bytes), is_single=type in _SINGLE_DISK)
        self.ram_bytes = ram_bytes
        self.ram_done = 0
        self.ram_total = 0
        self.archive: float | None = None
        self.archive_done = 0
        self.archive_total = 0
        self.has_marker = False
        self.is_live = False
        self.is_finished = False
        self.phase = ""

    # ── reading ──

    def feed(self, line: str) -> bool:
        """Read one line (see `logtext.searched`); True if it carried a number or a phase."""
        progress = parse_progress(line)
        if progress is None:
            return self._feed_marker(line)
        if progress.kind not in _LETTERS.get(self.type, _DISK_LETTERS):
            return False
        if progress.kind == "H":
            self._feed_ram(progress)
        elif progress.kind == "F":
            self._feed_archive(progress)
        elif progress.kind == "B":
            self._feed_job(progress)
        elif progress.kind == "I2":
            self._begin_stream(progress)
        else:
            self._feed_current(progress)
        return True

    def _feed_ram(self, progress: Progress) -> None:
        self.parts.close_all()
        self.phase = "copying RAM"
        self.ram_done = max(self.ram_done, progress.done or 0)
        self.ram_total = max(self.ram_total, progress.total or 0)

    def _feed_archive(self, progress: Progress) -> None:
        self.phase = "restoring the archive"
        self.archive = max(self.archive or 0.0, (progress.percent or 0.0) / 100)
        self.archive_done = max(self.archive_done, progress.done or 0)

    def _feed_job(self, progress: Progress) -> None:
        self._notice_missing_head()
        part = self.parts.named(progress.job)
        if part is not self.parts.current and not part.is_closed and not progress.is_ready:
            self.parts.seen.remove(part)
            self.parts.seen.append(part)
        part.total = max(part.total or 0, progress.total or 0)
        part.share = 1.0 if progress.is_ready or part.is_closed else (progress.percent or 0.0) / 100
        part.done = int(part.total * part.share)
        self.phase = "disk"

    def _begin_stream(self, progress: Progress) -> None:
        part = self._open_part()
        part.total, part.share, part.is_estimate = progress.total, 0.0, True
        self.phase = "disk"

    def _notice_missing_head(self) -> None:
        """Numbers before any line that names a disk: the log begins in the middle. Jobs of a restore or a
        migration may run in any order, so only their volumes one after another are concerned."""
        if not self.parts.seen and self.type in ("qmclone", "qmigrate", "vzmigrate"):
            self.parts.is_head_missing = not self.has_marker and not self.parts.expected

    def _open_part(self) -> Part:
        part = self.parts.current
        return self.parts.open() if part is None or part.is_closed else part

    def _feed_current(self, progress: Progress) -> None:
        """A line without the disk's name (A, G, dd, zfs): it belongs to the current one, or starts the next."""
        self.phase = "disk"
        self._notice_missing_head()
        part = self._open_part() if progress.kind != "A" else self.parts.current or self.parts.open()
        if _begins_another(part, progress):
            part.close()
            part = self.parts.open()
        done = progress.done or 0
        if progress.kind == "A":
            part.total = max(part.total or 0, progress.total or 0)
            part.share = (progress.percent or 0.0) / 100
            part.done = int(part.total * part.share)
        elif progress.kind == "G":
            self._feed_restore(part, progress.percent or 0.0, done)
        else:
            part.done = done
            if part.total is None and progress.kind == "I1":
                part.total = self._volume_size(part)
            if part.total:
                part.share = min(1.0, done / part.total)

    def _volume_size(self, part: Part) -> int | None:
        sizes = list(self.parts.sizes.values())
        if self.parts.is_head_missing and len(sizes) != 1:
            return None  # which of the disks this is nobody can tell
        index = self.parts.seen.index(part)
        return sizes[index] if index < len(sizes) else None

    def _feed_restore(self, part: Part, percent: float, done: int) -> None:
        part.share, part.done = percent / 100, done
        if part.total is None:
            part.total = self.parts.size_ahead(part.name)
            part.is_estimate = part.total is None
        estimate = int(done * 100 / (percent + 0.5)) if percent < 100 else done
        is_doubtful = not 0.7 < estimate / max(1, part.total or 0) < 1.4
        if estimate and (part.is_estimate or (percent >= _DOUBT_FROM_PERCENT and is_doubtful)):
            part.total, part.is_estimate = estimate, True

    def _feed_marker(self, line: str) -> bool:
        """A line that names a disk or a phase."""
        if match := _CLONE_DRIVE.match(line):
            self._begin_clone(match[1], is_copied="cloudinit" not in match[2])
        elif match := _MIRROR_STARTS.match(line):
            self.has_marker = True
        elif match := _NEW_VOLUME.match(line):
            self.parts.expected += self.type == "qmrestore" and "cloudinit" not in match[1]
        elif match := _ARCHIVE_DISK.match(line):
            self.archive_total += int(match[1])
            self.has_marker = True
        elif match := _RESTORE_IMAGE.match(line):
            self.has_marker = True
            self._begin_named(match[1])
        elif match := _IMAGE_COMPLETE.match(line):
            part = self._open_part()
            part.total = int(match[1])
            part.close()
        elif match := _JOB_ENDED.match(line):
            self._end_job(disk_of_job(match[1]))
        elif _JOBS_READY.match(line):
            self.parts.close_all()
        elif self.type in ("qmigrate", "vzmigrate"):
            return self._feed_migration(line)
        elif line.startswith(("rescan volumes", "total bytes read ")) and self.type == "qmrestore":
            self._finish(after=self.archive is not None)
        elif not line.startswith(("creating a clone of ", "restore vma archive", "importing disk ")):
            return False
        else:
            self.has_marker = True
        return True

    def _begin_clone(self, name: str, *, is_copied: bool) -> None:
        self.has_marker = True
        self.phase = "disk"
        part = self.parts.current
        if part is not None and not part.is_closed:
            if part.total is None:  # made new, without a copy
                part.total = self.parts.sizes.get(part.name, 0)
            part.close()
        if is_copied:
            self._begin_named(name)

    def _begin_named(self, name: str) -> None:
        part = self.parts.current
        if part is not None and not part.is_closed:
            part.close()
        size = self.parts.size_ahead(name) if self.type == "qmrestore" else None
        self.parts.open(name, size)
        self.phase = "disk"

    def _end_job(self, name: str) -> None:
        for part in self.parts.seen:
            if part.name == name and part.total is not None:
                part.close()

    def _feed_migration(self, line: str) -> bool:
        if _FOUND_VOLUME.match(line):
            self.parts.expected = min(64, self.parts.expected + 1)
        elif _VOLUME_IMPORTED.match(line):
            self._open_part().close()
            self.phase = "volume imported"
        elif _VOLUME_ON_TARGET.match(line):
            if not self.is_live and (self.phase != "volume imported" or not self._is_all_closed()):
                self._open_part().close()
            self.phase = "disk"
        elif _LIVE.match(line):
            self.is_live = True
        elif _RAM_DONE.match(line):
            self._finish(after=True)
        else:
            return False
        return True

    def _is_all_closed(self) -> bool:
        return all(part.is_closed for part in self.parts.seen)

    def _finish(self, *, after: bool) -> None:
        if after:
            self.is_finished = True
            self.parts.close_all()
            self.phase = "finishing"

    # ── what is known ──

    @property
    def is_surprised(self) -> bool:
        """A disk came that nothing had announced: a share shown earlier was of fewer disks."""
        parts = self.parts
        return len(parts.seen) > max(1, len(parts.sizes), parts.expected)

    def _amounts(self) -> tuple[float, float] | None:
        disks = self.parts.amounts(ignore_pending=self.ram_total > 0)
        has_jobs = self.type == "qmigrate" and any(part.name for part in self.parts.seen)
        if self.ram_total:
            before = disks if disks is not None and disks[1] > 1000 else (0.0, 0.0)
            return before[0] + min(self.ram_done, self.ram_total), before[1] + self.ram_total
        if disks is not None and has_jobs:
            ram = self.ram_bytes or min(_ASSUMED_RAM_BYTES, int(disks[1] * _ASSUMED_RAM_SHARE))
            return disks[0], disks[1] + ram
        return disks

    def share(self) -> float | None:
        """0 to 1 of everything to copy, or None."""
        if self.is_finished:
            return 1.0
        if self.archive is not None:
            return self.archive
        amounts = self._amounts()
        return None if amounts is None or amounts[1] <= 0 else min(1.0, amounts[0] / amounts[1])

    def bytes(self) -> tuple[int | None, int | None]:
        """(done, total); total None when unknown."""
        if self.archive is not None:
            total = self.archive_total
            if not total and self.archive:
                total = int(self.archive_done / self.archive)
            return self.archive_done, total or None
        amounts = self._amounts()
        if amounts is not None and amounts[1] > 1000:
            return int(amounts[0]), int(amounts[1])
        done = sum(part.done for part in self.parts.seen)
        return (done or None), None

    def step(self) -> str:
        """Words for what goes on now."""
        if self.phase in ("finishing", "copying RAM", "restoring the archive"):
            return self.phase
        part = self.parts.current
        if not self.phase or part is None:
            return ""
        if self._is_all_closed() and len(self.parts.seen) >= self.parts.count:
            return "disks copied"
        is_known = (
            self.parts.is_single or bool(self.parts.sizes) or self.parts.expected >= len(self.parts.seen)
        )
        count = 1 if self.parts.is_single else self.parts.count
        position = f"disk {min(self.parts.position(), count)}" + (f" of {count}" if is_known else "")
        return f"{position} · {part.name}" if part.name else position

    def to_state(self) -> dict[str, Any]:
        """JSON-able, bounded by the number of disks."""
        fields = {key: value for key, value in vars(self).items() if key not in ("parts", "type")}
        return {**fields, "parts": self.parts.to_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        self.parts = Parts.from_state(state["parts"])
        self.ram_bytes = None if state["ram_bytes"] is None else int(state["ram_bytes"])
        self.archive = None if state["archive"] is None else min(1.0, float(state["archive"]))
        for name in ("ram_done", "ram_total", "archive_done", "archive_total"):
            setattr(self, name, int(state[name]))
        for name in ("has_marker", "is_live", "is_finished"):
            setattr(self, name, bool(state[name]))
        self.phase = str(state["phase"])[:40]


def _begins_another(part: Part, progress: Progress) -> bool:
    """Whether a nameless line belongs to the disk after `part`: its number starts again or its total differs."""
    if progress.kind in ("A", "G"):
        if part.share is None:
            return False
        is_other_size = part.total and progress.total and abs(part.total - progress.total) > 0.01 * part.total
        if progress.kind == "A" and is_other_size:
            return True
        return (progress.percent or 0.0) / 100 < part.share - 0.005
    return (progress.done or 0) < part.done and part.done > 0
