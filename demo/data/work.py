"""One task of the invented past, and what the writer of its log has to know."""

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from demo.proxmox.guests import Guest
from demo.proxmox.scripts import Tape
from demo.proxmox.tasks import Script, format_terminal_line
from demo.proxmox.upid import Upid, split_user


@dataclass(frozen=True, slots=True)
class Work:
    """What a task works on. `other` is the target node, the new VMID, the snapshot or the file, as its type has it."""

    node: str
    guest: Guest | None = None
    guests: tuple[Guest, ...] = ()
    other: str = ""

    @property
    def one(self) -> Guest:
        """The guest of a task that has one."""
        assert self.guest is not None
        return self.guest


Writer = Callable[[Tape, Work, random.Random], Script]
"""Writes the log of a task and decides how long it takes and how it ends."""


@dataclass(frozen=True, slots=True)
class PastTask:
    """A task that has ended. `seconds` is its length, `end` its exit status as Proxmox words it.

    The log is not kept but written again when it is asked for: with the same random seed it is the same.
    """

    upid: Upid
    seconds: float
    end: str
    writer: Writer
    work: Work
    seed: int

    @property
    def ended(self) -> int:
        return self.upid.starttime + int(self.seconds)

    def row(self) -> dict[str, str | int]:
        """As the task list of its node shows it."""
        upid = self.upid
        user, token = split_user(upid.user)
        row: dict[str, str | int] = {
            "upid": str(upid),
            "node": upid.node,
            "pid": upid.pid,
            "pstart": upid.pstart,
            "starttime": upid.starttime,
            "endtime": self.ended,
            "type": upid.type,
            "id": upid.id,
            "user": user,
            "status": self.end,
        }
        return row | {"tokenid": token} if token else row

    def lines(self) -> list[str]:
        """The whole log, its terminal line included (there is none after an unknown end)."""
        script = write(self.writer, self.work, self.upid.starttime, self.seed)
        # Cut off where the node lost its power.
        shown = bisect_right(script.lines, self.seconds + 1e-6, key=lambda line: line[0])
        return [text for _, text in script.lines[:shown]] + format_terminal_line(self.end)


def write(writer: Writer, work: Work, started: float, seed: int) -> Script:
    """The script of a task that began at `started` (Unix seconds)."""
    return writer(Tape(started), work, random.Random(seed))
