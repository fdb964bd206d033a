"""Where and by whom things happened: the guests of the demo cluster, its people, and what befell it in ninety days."""

import random
from dataclasses import dataclass, field
from functools import cached_property

from demo.proxmox.cluster import OPERATORS
from demo.proxmox.guests import Guest
from demo.proxmox.inventory import NODES, make_guests

DAY = 86400
ROOT = "root@pam"
ALICE, BOB, CAROL = OPERATORS
BUILDS = "ci@pve!jenkins"
SNAPSHOTS = "automation@pve!autosnap"
PORTAL = "portal@pve!web"

# Build machines and those of orders have VMIDs that nothing of the running demo uses.
BUILD_IDS, ORDER_IDS, TRIAL_IDS = range(800, 900), range(400, 700), range(900, 980)
# What befell the cluster, in days before the end of the history.
FULL_STORAGE_DAYS = range(8, 11)  # the file server was full
POWER_LOSS_DAY, POWER_LOSS_NODE, POWER_LOSS_SECONDS = 23, "pve3", 14 * 3600 + 20 * 60  # or the Friday before
HOLIDAY_DAYS = range(45, 54)  # most people were away
RELEASE_DAYS = range(16, 22)  # before a release everything is built twice
MAINTENANCE_DAYS = (37, 66)  # the nodes were emptied one after another, updated and rebooted
DARK_SECONDS = 11 * 60


@dataclass(frozen=True, slots=True)
class Move:
    """`guest` was away on `node` for a while."""

    vmid: int
    node: str
    since: float
    until: float


@dataclass
class Ground:
    """Everything the episodes of a day ask about. `end` is when the history ends (Unix seconds)."""

    seed: int
    end: int
    moves: list[Move] = field(default_factory=list)

    @cached_property
    def guests(self) -> dict[int, Guest]:
        return make_guests(random.Random(self.seed), float(self.end))

    @cached_property
    def machines(self) -> list[Guest]:
        return [guest for guest in self.guests.values() if guest.kind == "qemu" and not guest.is_template]

    @cached_property
    def running(self) -> list[Guest]:
        return [guest for guest in self.machines if guest.is_running]

    @cached_property
    def containers(self) -> list[Guest]:
        return [guest for guest in self.guests.values() if guest.kind == "lxc"]

    @cached_property
    def movable(self) -> list[Guest]:
        """Running machines on shared storage that are moved within minutes."""
        return [guest for guest in self.running if guest.disks()[0].storage != "local-lvm"]

    def on(self, node: str) -> list[Guest]:
        """Guests that are at home on `node`, templates left out."""
        return [guest for guest in self.guests.values() if guest.node == node and not guest.is_template]

    def node_of(self, guest: Guest, at: float) -> str:
        for move in self.moves:
            if move.vmid == guest.vmid and move.since <= at < move.until:
                return move.node
        return guest.node

    def day_before(self, day: int, days: int) -> bool:
        """Whether `day` (days since 1970) is that many days before the end."""
        return self.end // DAY - day == days

    def busyness(self, day: int) -> float:
        """How much is going on, around 1: more from week to week, little in a holiday."""
        days = self.end // DAY - day
        factor = 1.2 - 0.4 * days / 90
        return factor * (0.4 if days in HOLIDAY_DAYS else 1.3 if days in RELEASE_DAYS else 1)

    def is_storage_full(self, at: float) -> bool:
        return (self.end // DAY - int(at) // DAY) in FULL_STORAGE_DAYS

    def booted(self, node: str, at: float) -> float:
        """When `node` was last started before `at`; the evening of a maintenance, or long ago."""
        number = NODES[node].number
        starts: list[float] = [
            (self.end // DAY - days) * DAY + 19 * 3600 + number * 2700 for days in MAINTENANCE_DAYS
        ]
        if node == POWER_LOSS_NODE:
            starts.append(self.power_loss + DARK_SECONDS - 90)
        return max([start for start in starts if start <= at], default=self.end - 200 * DAY)

    @property
    def power_loss(self) -> float:
        day = self.end // DAY - POWER_LOSS_DAY
        return float((day - max(0, weekday(day) - 4)) * DAY + POWER_LOSS_SECONDS)


def weekday(day: int) -> int:
    """0 is Monday; 1 January 1970 was a Thursday."""
    return (day + 3) % 7


def make_copy(template: Guest, vmid: int, name: str, node: str) -> Guest:
    """The machine that a clone of `template` makes; its volumes are on the shared storage."""
    config = {key: value for key, value in template.config.items() if key in ("memory", "cores")}
    for number, disk in enumerate(template.disks()):
        config[disk.key] = f"ceph-vm:vm-{vmid}-disk-{number},size={disk.size}"
    return Guest(vmid, "qemu", node, config | {"name": name})
