"""What goes on in the demo cluster by itself, so that there is always something to watch.

A seeded scheduler keeps a few tasks going for different people: backups, clones, migrations, snapshots, new
containers; now and then one fails or ends with warnings. Its own guests have VMIDs of `OWN_RANGE` and go again.
"""

import random

from demo.proxmox.access import Identity
from demo.proxmox.backups import start_backup
from demo.proxmox.cloning import CloneOrder, start_clone
from demo.proxmox.cluster import OPERATORS, Cluster
from demo.proxmox.creation import make_container, start_creation, write_creation
from demo.proxmox.guestcalls import is_shared
from demo.proxmox.guests import GIB, Guest
from demo.proxmox.inventory import CONTAINER_TEMPLATES, NODES
from demo.proxmox.migration import start_migration
from demo.proxmox.scripts import Tape, error_script, quick_script
from demo.proxmox.tasks import Script

OWN_RANGE = range(700, 800)
KEPT_GUESTS = 6
MOST_RUNNING = 4
CLONE_SECONDS = (40.0, 90.0)
# Larger guests would need hours or absurd rates.
BACKUP_LIMIT = 110 * GIB
CI = "automation@pve!ci"
_NAMES = ("build", "review", "training", "demo", "customer", "branch")


def _size(guest: Guest) -> int:
    return sum(disk.size for disk in guest.disks())


class Life:
    """`look_round` is called about once a second with the cluster's lock held."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._next = 0.0
        self._turn = 0
        self._tasks: set[str] = set()

    def look_round(self) -> None:
        now = self._cluster.now()
        running = {name for name in self._tasks if name in self._cluster.tasks and self._is_running(name)}
        self._tasks = running
        if running and (now < self._next or len(running) >= MOST_RUNNING):
            return
        if not self._cluster.has_quorum():
            return
        self._next = now + self._rng.uniform(6, 20) * self._cluster.scale
        upid = self._do_something()
        if upid:
            self._tasks.add(upid)

    def _is_running(self, name: str) -> bool:
        return self._cluster.tasks[name].ended is None

    def _do_something(self) -> str | None:
        """Long ones with a bar take turns; the short ones come in between by chance."""
        if self._rng.random() < 0.25:
            short = (self._destroy, self._start_broken, self._snapshot, self._start_with_warning)
            return self._rng.choice(short)()
        long = (
            self._clone,
            self._backup_several,
            self._migrate,
            self._clone,
            self._backup_one,
            self._container,
        )
        self._turn += 1
        return long[(self._turn - 1) % len(long)]()

    def _pick(self, kind: str, *, running: bool | None = None) -> Guest | None:
        cluster = self._cluster
        free = [
            guest
            for guest in cluster.guests.values()
            if guest.kind == kind
            and guest.lock is None
            and not guest.is_template
            and guest.pool != "portal"
            and running in (None, guest.is_running)
            and cluster.is_online(guest.node)
            and cluster.holder(guest.vmid, exclusive=True) is None
        ]
        return self._rng.choice(free) if free else None

    def _free_vmid(self) -> int | None:
        return next((vmid for vmid in OWN_RANGE if vmid not in self._cluster.guests), None)

    def _name(self) -> str:
        return f"{self._rng.choice(_NAMES)}-{self._rng.randrange(10, 99)}"

    def _clone(self) -> str | None:
        cluster, rng = self._cluster, self._rng
        if sum(vmid in OWN_RANGE for vmid in cluster.guests) >= KEPT_GUESTS:
            return self._destroy()
        source = cluster.guests.get(rng.choice((9002, 123, 120, 121, 9001)))
        newid = self._free_vmid()
        if (
            source is None
            or newid is None
            or source.lock
            or cluster.holder(source.vmid, exclusive=source.is_running)
        ):
            return None
        size = _size(source)
        order = CloneOrder(
            source=source,
            newid=newid,
            name=self._name(),
            pool="staging",
            full=True,
            storage=rng.choice(("ceph-vm", "nas")),
            description=None,
            form=None,
            target=source.node,
            rate=size / rng.uniform(*CLONE_SECONDS),
        )
        return start_clone(cluster, order, user=rng.choice((*OPERATORS, CI)))

    def _backup_several(self) -> str | None:
        cluster, rng = self._cluster, self._rng
        node = rng.choice(list(NODES))
        guests = [guest for guest in cluster.guests.values() if guest.node == node and guest.lock is None]
        guests = [guest for guest in guests if not guest.is_template and guest.vmid not in OWN_RANGE]
        guests = [guest for guest in guests if _size(guest) <= BACKUP_LIMIT]
        if len(guests) < 2 or not cluster.is_online(node):
            return None
        chosen = rng.sample(guests, min(len(guests), rng.randint(3, 5)))
        broken = chosen[0].vmid if rng.random() < 0.2 else None
        return self._backup(chosen, node, "root@pam", broken, rng.random() < 0.2)

    def _backup_one(self) -> str | None:
        guest = self._pick("qemu", running=True)
        if guest is None or _size(guest) > BACKUP_LIMIT:
            return None
        return self._backup([guest], guest.node, self._rng.choice(OPERATORS), None, False)

    def _backup(self, guests: list[Guest], node: str, user: str, broken: int | None, warn: bool) -> str:
        size = sum(_size(guest) for guest in guests)
        options = {"mode": "snapshot", "compress": "zstd", "notes-template": "{{guestname}}"}
        return start_backup(
            self._cluster,
            guests,
            node=node,
            storage="nas",
            who=Identity(user),
            options=options,
            broken=broken,
            warn=warn,
            rate=size / self._rng.uniform(50, 110),
        )

    def _migrate(self) -> str | None:
        guest = self._pick("qemu", running=True)
        if guest is None or not is_shared(guest):
            return None
        target = self._rng.choice([name for name in NODES if name != guest.node])
        return start_migration(self._cluster, guest, target, user=self._rng.choice(OPERATORS))

    def _container(self) -> str | None:
        cluster, rng, vmid = self._cluster, self._rng, self._free_vmid()
        if vmid is None:
            return None
        node = rng.choice([name for name in NODES if cluster.is_online(name)])
        name = CONTAINER_TEMPLATES[0][0] if rng.random() < 0.85 else "debian-11-standard_11.7-1_amd64.tar.zst"
        guest = make_container(cluster, vmid, node, "local-lvm", 8, {"hostname": self._name()})
        script = write_creation(Tape(cluster.now(), cluster.scale), guest, f"local:vztmpl/{name}")
        return start_creation(cluster, guest, "vzcreate", script, user=rng.choice(OPERATORS), pool="staging")

    def _destroy(self) -> str | None:
        """The oldest of our own; also what a kill has left half made."""
        cluster = self._cluster
        own = [guest for guest in cluster.guests.values() if guest.vmid in OWN_RANGE]
        own = [
            guest
            for guest in own
            if cluster.holder(guest.vmid, exclusive=True) is None and guest.lock in (None, "clone", "create")
        ]
        if not own:
            return None
        guest = min(own, key=lambda guest: guest.born_at)
        kind = "qmdestroy" if guest.kind == "qemu" else "vzdestroy"
        label = "VM" if guest.kind == "qemu" else "CT"
        script = quick_script(f"purging {label} {guest.vmid} from related configurations..", seconds=1.5)
        return self._short(kind, guest, script, gone=True)

    def _snapshot(self) -> str | None:
        guest = self._pick("qemu")
        if guest is None:
            return None
        lines = [f"snapshotting 'drive-{disk.key}' ({disk.volid})" for disk in guest.disks()]
        return self._short("qmsnapshot", guest, quick_script(*lines, seconds=4.0))

    def _start_broken(self) -> str | None:
        guest = self._pick("qemu", running=False)
        if guest is None:
            return None
        before = ("host doesn't support requested feature: CPUID[eax=07h,ebx=00h].EBX.avx512f [bit 16]",)
        return self._short(
            "qmstart", guest, error_script("start failed: QEMU exited with code 1", *before, seconds=2.0)
        )

    def _start_with_warning(self) -> str | None:
        guest = self._pick("qemu", running=True)
        if guest is None:
            return None
        lines = (
            (0.3, "generating cloud-init ISO"),
            (0.6, "WARN: no efidisk configured! Using temporary efivars disk."),
        )
        return self._short("qmreboot", guest, Script(lines, 5.0, "WARNINGS: 1"))

    def _short(self, type: str, guest: Guest, script: Script, *, gone: bool = False) -> str:
        cluster = self._cluster

        def finish(status: str, _at: float) -> None:
            if gone and status == "OK":
                cluster.remove(guest.vmid)

        user = self._rng.choice((*OPERATORS, CI))
        locks = ((guest.vmid, True),)
        return cluster.start_task(
            type=type,
            id=str(guest.vmid),
            user=user,
            node=guest.node,
            build=script,
            on_end=finish,
            locks=locks,
        ).name
