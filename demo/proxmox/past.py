"""A believable past for a new demo cluster: the finished tasks of the last three days, with their logs."""

import random
from collections.abc import Callable
from typing import Any

from demo.proxmox.cluster import OPERATORS, Cluster
from demo.proxmox.guests import Guest, format_size
from demo.proxmox.inventory import NODES
from demo.proxmox.life import CI
from demo.proxmox.scripts import GIB, MIB, Tape, format_clock, say_copy, say_download, say_ram, say_vm_backup
from demo.proxmox.tasks import Script, Task

DAYS = 3
TASKS = 300

type_writer = Callable[[Tape, Guest, random.Random], Script]


def write_past(cluster: Cluster, seed: int) -> None:
    """Adds `TASKS` finished tasks, oldest first, and the nightly backups of every node."""
    rng = random.Random(seed + 7)
    now = cluster.now()
    moments = sorted(now - rng.uniform(0.02, DAYS) * 86400 for _ in range(TASKS - DAYS * len(NODES)))
    machines = [guest for guest in cluster.guests.values() if guest.kind == "qemu" and not guest.is_template]
    containers = [guest for guest in cluster.guests.values() if guest.kind == "lxc"]
    made: list[Task] = []
    for day in range(DAYS):
        for node in NODES:
            own = [guest for guest in machines if guest.node == node]
            begin = now - (day + 1) * 86400 + 3600
            made.append(_add(cluster, "vzdump", "", "root@pam", node, begin, _write_nightly(own, rng, day)))
    for moment in moments:
        kind, write, on_machine = rng.choices([row[1:] for row in _KINDS], [row[0] for row in _KINDS])[0]
        guest = rng.choice(machines if on_machine else containers)
        user = rng.choice((*OPERATORS, CI, "root@pam"))
        made.append(_add(cluster, kind, str(guest.vmid), user, guest.node, moment, _bind(write, guest, rng)))
    cluster.settle()
    if cluster.store:
        cluster.store.save_tasks(*made)


def _bind(write: type_writer, guest: Guest, rng: random.Random) -> Callable[[Tape], Script]:
    return lambda tape: write(tape, guest, rng)


def _add(
    cluster: Cluster, kind: str, id: str, user: str, node: str, at: float, build: Callable[[Tape], Script]
) -> Task:
    return cluster.start_task(
        type=kind, id=id, user=user, node=node, build=build, started=at, scale=1.0, save=False
    )


def _quiet(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.at += rng.uniform(0.4, 3)
    return tape.script()


def _start_failed(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say("generating cloud-init ISO", wait=0.4)
    tape.say("kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory", wait=0.2)
    return tape.script("start failed: QEMU exited with code 1")


def _agent_timeout(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.at += 3
    tape.say(
        f"QEMU Guest Agent is not running - VM {guest.vmid} qga command 'guest-ping' failed - got timeout",
        wait=60,
    )
    return tape.script("VM quit/powerdown failed - got timeout")


def _copy(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    newid = rng.randrange(700, 799)
    tape.say(f"creating a clone of VM {guest.vmid} with ID {newid}", wait=0.2)
    for disk in guest.disks():
        tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.2)
        say_copy(tape, disk.size, rng.uniform(150, 500) * MIB)
    return tape.script()


def _copy_busy(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say("trying to acquire lock...", wait=1.0)
    return tape.script(f"can't lock file '/var/lock/qemu-server/lock-{guest.vmid}.conf' - got timeout")


def _copy_stopped(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    newid = rng.randrange(700, 799)
    tape.say(f"creating a clone of VM {guest.vmid} with ID {newid}", wait=0.2)
    disk = guest.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})")
    say_copy(tape, disk.size // 4, 300 * MIB)
    return tape.script(
        "clone failed: copy failed: command '/usr/bin/qemu-img convert -p -n -f raw -O raw"
        f" rbd:ceph-vm/{disk.volume} zeroinit:rbd:ceph-vm/vm-{newid}-disk-0' failed: interrupted by signal"
    )


def _live_migration(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    target = rng.choice([node for node in NODES.values() if node.name != guest.node])
    tape.say_stamped(f"starting migration of VM {guest.vmid} to node '{target.name}' ({target.ip})", wait=1)
    tape.say_stamped(f"starting VM {guest.vmid} on remote node '{target.name}'", wait=2)
    tape.say_stamped("start remote tunnel", "ssh tunnel ver 1")
    tape.say_stamped(f"starting online/live migration on unix:/run/qemu-server/{guest.vmid}.migrate")
    say_ram(tape, guest.memory, 650 * MIB)
    tape.say_stamped(f"migration finished successfully (duration {format_clock(tape.at)})")
    return tape.script()


def _migration_failed(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    target = rng.choice([node for node in NODES.values() if node.name != guest.node])
    tape.say_stamped(f"starting migration of VM {guest.vmid} to node '{target.name}' ({target.ip})", wait=3)
    tape.say_stamped(
        "ERROR: migration aborted (duration 00:00:03): storage 'local-lvm' is not available on node"
        f" '{target.name}'"
    )
    return tape.script("migration aborted")


def _snapshot(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    for disk in guest.disks():
        tape.say(f"snapshotting 'drive-{disk.key}' ({disk.volid})", wait=0.4)
    return tape.script()


def _snapshot_taken(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    return tape.script("snapshot name 'before_upgrade' already used")


def _unknown_end(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say("generating cloud-init ISO", wait=2)
    return tape.script("unexpected status")


def _console(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.at += rng.uniform(10, 900)
    return tape.script("connection timed out" if rng.random() < 0.2 else "OK")


def _warning(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say(
        "generating cloud-init ISO", "WARN: no efidisk configured! Using temporary efivars disk.", wait=1.4
    )
    return tape.script("WARNINGS: 1")


def _container_failed(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say(
        "lxc_init: 850 Failed to initialize LSM",
        f'lxc_start: 2007 Failed to initialize container "{guest.vmid}"',
        wait=0.5,
    )
    return tape.script(f"startup for container '{guest.vmid}' failed")


def _download(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    name = "debian-13-standard_13.1-2_amd64.tar.zst"
    url = f"https://download.example/images/system/{name}"
    say_download(tape, url, f"/var/lib/vz/template/cache/{name}", 129_473_881, 11 * MIB)
    return tape.script()


def _resize(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    tape.say("Image resized.", wait=0.3)
    return tape.script()


def _shrink(tape: Tape, guest: Guest, rng: random.Random) -> Script:
    return tape.script("shrinking disks is not supported")


# weight, worker type, what writes it, on a machine (else a container)
_KINDS: tuple[tuple[int, str, Any, bool], ...] = (
    (12, "qmstart", _quiet, True),
    (2, "qmstart", _start_failed, True),
    (2, "qmstart", _warning, True),
    (1, "qmstart", _unknown_end, True),
    (10, "qmshutdown", _quiet, True),
    (2, "qmshutdown", _agent_timeout, True),
    (3, "qmstop", _quiet, True),
    (4, "qmreboot", _quiet, True),
    (9, "qmclone", _copy, True),
    (2, "qmclone", _copy_busy, True),
    (1, "qmclone", _copy_stopped, True),
    (7, "qmigrate", _live_migration, True),
    (2, "qmigrate", _migration_failed, True),
    (7, "qmsnapshot", _snapshot, True),
    (1, "qmsnapshot", _snapshot_taken, True),
    (4, "qmdelsnapshot", _quiet, True),
    (2, "resize", _resize, True),
    (1, "resize", _shrink, True),
    (9, "vncproxy", _console, True),
    (6, "vzstart", _quiet, False),
    (1, "vzstart", _container_failed, False),
    (5, "vzshutdown", _quiet, False),
    (2, "download", _download, False),
)


def _write_nightly(guests: list[Guest], rng: random.Random, day: int) -> Callable[[Tape], Script]:
    """The backup job of one node; on the second night one guest fails."""

    def write(tape: Tape) -> Script:
        ids = " ".join(str(guest.vmid) for guest in guests)
        tape.say(
            f"INFO: starting new backup job: vzdump {ids} --storage nas --mode snapshot --quiet 1", wait=0.3
        )
        failed = False
        for guest in guests:
            begin = tape.at
            tape.say(
                f"INFO: Starting Backup of VM {guest.vmid} (qemu)", f"INFO: Backup started at {tape.stamp()}"
            )
            tape.say(f"INFO: status = {guest.status}", f"INFO: VM Name: {guest.name}", wait=0.3)
            for disk in guest.disks():
                tape.say(f"INFO: include disk '{disk.key}' '{disk.volid}' {format_size(disk.size)}")
            tape.say("INFO: backup mode: snapshot", "INFO: ionice priority: 7")
            if day == 1 and guest is guests[-1]:
                error = f"VM {guest.vmid} qmp command 'backup' failed - got timeout"
                tape.at += 125
                tape.say(f"ERROR: {error}", "INFO: aborting backup job", "INFO: resuming VM again")
                tape.say(
                    f"ERROR: Backup of VM {guest.vmid} failed - {error}", f"INFO: Failed at {tape.stamp()}"
                )
                failed = True
                continue
            size = sum(disk.size for disk in guest.disks())
            say_vm_backup(tape, size, max(500 * MIB, size / 150), rng)
            tape.say(f"INFO: archive file size: {size // GIB * 230}MB")
            tape.say(f"INFO: Finished Backup of VM {guest.vmid} ({format_clock(tape.at - begin)})")
            tape.say(f"INFO: Backup finished at {tape.stamp()}", wait=0.2)
        tape.say(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}")
        return tape.script("job errors" if failed else "OK")

    return write
