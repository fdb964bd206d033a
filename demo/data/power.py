"""Logs of short tasks on guests: starts and stops, snapshots, consoles, configuration, removal."""

import random

from demo.data.work import Work
from demo.proxmox.guests import Guest
from demo.proxmox.scripts import MIB, Tape, format_bytes
from demo.proxmox.tasks import Script

QEMU_FAILED = "start failed: QEMU exited with code 1"


def quiet(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += rng.uniform(0.6, 4)
    return tape.script()


def start_cloudinit(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("generating cloud-init ISO", wait=rng.uniform(1, 3))
    return tape.script()


def start_without_efidisk(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say(
        "generating cloud-init ISO", "WARN: no efidisk configured! Using temporary efivars disk.", wait=1.6
    )
    return tape.script("WARNINGS: 1")


def start_without_memory(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("generating cloud-init ISO", wait=0.4)
    tape.say("kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory", wait=0.3)
    return tape.script(QEMU_FAILED)


def start_without_feature(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("host doesn't support requested feature: CPUID[eax=07h,ebx=00h].EBX.avx512f [bit 16]", wait=0.2)
    tape.say("kvm: Host doesn't support requested features", wait=0.2)
    return tape.script(QEMU_FAILED)


def start_timeout(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 30.2
    guest = work.one
    return tape.script(
        f"start failed: command '/usr/bin/kvm -id {guest.vmid} -name '{guest.name},debug-threads=on'"
        f" -no-shutdown -chardev 'socket,id=qmp,path=/var/run/qemu-server/{guest.vmid}.qmp,server=on,wait=off''"
        " failed: got timeout"
    )


def unknown_end(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += rng.uniform(2, 9)
    return tape.script("unexpected status")


def interrupted(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += rng.uniform(2, 20)
    return tape.script("received interrupt")


def locked_by_backup(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 0.3
    label = "CT" if work.one.kind == "lxc" else "VM"
    return tape.script(f"{label} is locked (backup)")


def lock_timeout(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("trying to acquire lock...", wait=rng.choice((1.0, 10.0)))
    kind = "lxc/pve-config" if work.one.kind == "lxc" else "qemu-server/lock"
    return tape.script(f"can't lock file '/var/lock/{kind}-{work.one.vmid}.conf' - got timeout")


def shutdown(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += rng.uniform(4, 40)
    return tape.script()


def shutdown_timeout(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 3
    tape.say(
        f"QEMU Guest Agent is not running - VM {work.one.vmid} qga command 'guest-ping' failed - got timeout",
        wait=60,
    )
    return tape.script("VM quit/powerdown failed - got timeout")


def container_start_failed(tape: Tape, work: Work, rng: random.Random) -> Script:
    vmid = work.one.vmid
    tape.say(
        "run_buffer: 571 Script exited with status 11",
        f'lxc_init: 845 Failed to run lxc.hook.pre-start for container "{vmid}"',
        f'__lxc_start: 2034 Failed to initialize container "{vmid}"',
        wait=0.4,
    )
    return tape.script(f"startup for container '{vmid}' failed")


def console(tape: Tape, work: Work, rng: random.Random) -> Script:
    """Minutes, now and then a whole afternoon."""
    tape.at += min(14_000.0, rng.lognormvariate(5.2, 1.2))
    return tape.script()


def console_unused(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 10.1
    return tape.script("connection timed out")


def snapshot(tape: Tape, work: Work, rng: random.Random) -> Script:
    for disk in work.one.disks():
        tape.say(f"snapshotting 'drive-{disk.key}' ({disk.volid})", wait=rng.uniform(0.3, 1.2))
    return tape.script()


def snapshot_with_ram(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest = work.one
    used, rate = guest.memory * rng.uniform(0.4, 0.7), rng.uniform(500, 900) * MIB
    tape.say(f"saving VM state and RAM using storage '{guest.disks()[0].storage}'")
    seconds, done = 0, rate / 2
    while done < used:
        tape.say(f"{format_bytes(done, 2)} in {seconds}s", wait=1.0)
        seconds += 1
        done += rate
    tape.say(f"completed saving the VM state in {seconds}s, saved {format_bytes(used, 2)}", wait=0.4)
    return snapshot(tape, work, rng)


def snapshot_taken(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 0.2
    return tape.script(f"snapshot name '{work.other or 'before_upgrade'}' already used")


def remove_snapshot(tape: Tape, work: Work, rng: random.Random) -> Script:
    for disk in work.one.disks():
        if disk.storage == "ceph-vm":
            tape.say("Removing snap: 100% complete...done.", wait=rng.uniform(0.3, 1))
    tape.at += 0.6
    return tape.script()


def roll_back(tape: Tape, work: Work, rng: random.Random) -> Script:
    for disk in work.one.disks():
        if disk.storage == "ceph-vm":
            tape.say("Rolling back to snapshot: 100% complete...done.", wait=rng.uniform(5, 40))
    tape.at += 2
    return tape.script()


def configure(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say(
        f"update VM {work.one.vmid}: -cores {rng.choice((2, 4))} -memory {rng.choice((2048, 4096, 8192))}"
    )
    tape.at += rng.uniform(0.3, 1)
    return tape.script()


def grow_disk(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("Resizing image: 100% complete...done.", wait=rng.uniform(0.3, 2))
    return tape.script()


def shrink_disk(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 0.2
    return tape.script("shrinking disks is not supported")


def destroy(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.say("Removing image: 100% complete...done.", wait=rng.uniform(0.5, 3))
    tape.say(f"purging VM {work.one.vmid} from related configurations..", wait=0.3)
    return tape.script()


def destroy_disk_left(tape: Tape, work: Work, rng: random.Random) -> Script:
    volid = f"ceph-vm:vm-{work.one.vmid}-disk-0"
    tape.say(
        f"WARN: Could not remove disk '{volid}', check manually: rbd error: rbd: error: image still has watchers",
        wait=rng.uniform(8, 32),
    )
    tape.say(f"purging VM {work.one.vmid} from related configurations..", wait=0.3)
    return tape.script("WARNINGS: 1")


def destroy_running(tape: Tape, work: Work, rng: random.Random) -> Script:
    tape.at += 0.2
    return tape.script(f"VM {work.one.vmid} is running - destroy failed")


def bulk_start(tape: Tape, work: Work, rng: random.Random) -> Script:
    """After a reboot. It ends OK whatever became of the guests."""
    for guest in work.guests:
        label = "VM" if guest.kind == "qemu" else "CT"
        tape.say(f"Starting {label} {guest.vmid}", wait=rng.uniform(2, 5))
    return tape.script()


def size_of(guest: Guest) -> int:
    """Bytes of all its disks."""
    return sum(disk.size for disk in guest.disks())
