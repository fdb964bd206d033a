"""One day being written down: every task with its start, its owner and its fate."""

import random
from dataclasses import dataclass

from demo.data.backups import backup_no_space
from demo.data.copying import clone_without_space
from demo.data.fates import Routine
from demo.data.ground import DAY, Ground, weekday
from demo.data.work import Work, Writer, write
from demo.proxmox.guests import Guest

# Weight of each hour of the day, from midnight.
OFFICE = (0, 0, 0, 0, 0, 0.2, 0.6, 2, 5, 8, 9, 8, 4, 6, 9, 8, 7, 5, 2, 1, 0.6, 0.4, 0.2, 0)
BUILDING = (0.5, 0.4, 0.3, 0.3, 1, 2, 2, 4, 7, 9, 10, 9, 6, 8, 10, 9, 9, 7, 5, 3, 4, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A task without its process number, which is given out in the order of starts at the end."""

    started: float
    type: str
    id: str
    user: str
    work: Work
    writer: Writer
    seed: int
    seconds: float
    end: str

    @property
    def ended(self) -> float:
        return self.started + self.seconds

    @property
    def is_done(self) -> bool:
        """Whether what came after it could begin."""
        return self.end == "OK" or self.end.startswith("WARNINGS")


class Diary:
    """The tasks of `day` (days since 1970, UTC)."""

    def __init__(self, ground: Ground, day: int) -> None:
        self.ground, self.day = ground, day
        self.rng = random.Random(f"{ground.seed} {day}")
        self.start = float(day * DAY)
        self.entries: list[Entry] = []

    @property
    def is_workday(self) -> bool:
        return weekday(self.day) < 5

    def moment(self, hours: tuple[float, ...]) -> float:
        """A time of this day, by the weights of its hours."""
        return self.start + self.rng.choices(range(24), hours)[0] * 3600 + self.rng.uniform(0, 3600)

    def about(self, mean: float) -> int:
        """A whole number near `mean`, as busy as the time was; weekends are the caller's matter."""
        mean *= self.ground.busyness(self.day)
        return max(0, round(self.rng.gauss(mean, mean**0.5 * 0.8)))

    def note(
        self,
        routine: Routine,
        at: float,
        user: str,
        *,
        guest: Guest | None = None,
        guests: tuple[Guest, ...] = (),
        node: str = "",
        id: str | None = None,
        other: str = "",
        writer: Writer | None = None,
    ) -> Entry:
        """Write down one task; `writer` decides its fate instead of chance. A guest's node is where it was then."""
        rng = self.rng
        node = node or (self.ground.node_of(guest, at) if guest else "")
        work = Work(node, guest, guests, other)
        chosen = writer or self._draw(routine, at, other, guest)
        seed = rng.getrandbits(48)
        script = write(chosen, work, int(at), seed)
        id = id if id is not None else str(guest.vmid) if guest else ""
        entry = Entry(float(int(at)), routine.type, id, user, work, chosen, seed, script.seconds, script.end)
        self.entries.append(entry)
        return entry

    def _draw(self, routine: Routine, at: float, other: str, guest: Guest | None) -> Writer:
        if self.ground.is_storage_full(at):
            if routine.type == "vzdump" and self.rng.random() < 0.85:
                return backup_no_space
            if routine.type == "qmclone" and guest is not None and guest.disks()[0].storage == "nas":
                return clone_without_space
        return routine.draw(self.rng)
