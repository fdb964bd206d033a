"""Logs of tasks that move data: clones, migrations, moves of disks, restores, downloads, new containers."""

import random

from demo.data.power import size_of
from demo.data.work import Work
from demo.proxmox.inventory import CONTAINER_TEMPLATES, NODES
from demo.proxmox.scripts import (
    MIB,
    Tape,
    format_bytes,
    format_clock,
    say_copy,
    say_dd,
    say_download,
    say_ram,
)
from demo.proxmox.storages import STORAGES
from demo.proxmox.tasks import Script


def _say_begin(tape: Tape, work: Work) -> None:
    tape.say(f"creating a clone of VM {work.one.vmid} with ID {work.other}", wait=0.2)


def linked_clone(tape: Tape, work: Work, rng: random.Random) -> Script:
    _say_begin(tape, work)
    for disk in work.one.disks():
        tape.say(f"create linked clone of drive {disk.key} ({disk.volid})", wait=rng.uniform(0.3, 1.5))
    return tape.script()


def full_clone(tape: Tape, work: Work, rng: random.Random) -> Script:
    _say_begin(tape, work)
    for disk in work.one.disks():
        tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.3)
        say_copy(tape, disk.size, rng.uniform(140, 480) * MIB)
    tape.at += 0.5
    return tape.script()


def clone_stopped(tape: Tape, work: Work, rng: random.Random) -> Script:
    _say_begin(tape, work)
    disk = work.one.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.3)
    _say_part_of_copy(tape, disk.size, rng)
    return tape.script(f"{_copy_failed(work)}: interrupted by signal")


def clone_without_space(tape: Tape, work: Work, rng: random.Random) -> Script:
    """Onto the file server in the days when it was full."""
    _say_begin(tape, work)
    disk = work.one.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.3)
    at = _say_part_of_copy(tape, disk.size, rng)
    tape.say(f"qemu-img: error while writing at byte {at}: No space left on device", wait=0.4)
    return tape.script(f"{_copy_failed(work)}: exit code 1")


def clone_busy_volume(tape: Tape, work: Work, rng: random.Random) -> Script:
    _say_begin(tape, work)
    disk = work.one.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.4)
    tape.say(
        f"device-mapper: create ioctl on pve-vm--{work.other}--disk--0 failed: Device or resource busy",
        wait=0.3,
    )
    return tape.script(
        f"clone failed: lvcreate 'pve/vm-{work.other}-disk-0' error: Failed to activate new LV"
        f" pve/vm-{work.other}-disk-0."
    )


def _say_part_of_copy(tape: Tape, size: int, rng: random.Random) -> int:
    """The first part of a copy; answers the byte it came to."""
    step, rate, done = max(2 * MIB, size // 100), rng.uniform(140, 320) * MIB, 0
    for _ in range(rng.randrange(8, 90)):
        tape.say(f"transferred {format_bytes(done)} of {format_bytes(size)} ({done / size:.2%})")
        done += step
        tape.at += step / rate
    return done


def _copy_failed(work: Work) -> str:
    disk = work.one.disks()[0]
    return (
        f"clone failed: copy failed: command '/usr/bin/qemu-img convert -p -n -f raw -O qcow2 /dev/{disk.volume}"
        f" zeroinit:/mnt/pve/nas/images/{work.other}/vm-{work.other}-disk-0.qcow2' failed"
    )


def live_migration(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest, target = work.one, NODES[work.other]
    tape.say_stamped(
        "conntrack state migration not supported or disabled, active connections might get dropped",
        f"starting migration of VM {guest.vmid} to node '{target.name}' ({target.ip})",
        wait=1,
    )
    tape.say_stamped(f"starting VM {guest.vmid} on remote node '{target.name}'", wait=2)
    tape.say_stamped("start remote tunnel", "ssh tunnel ver 1", wait=0.4)
    tape.say_stamped(
        f"starting online/live migration on unix:/run/qemu-server/{guest.vmid}.migrate",
        "set migration capabilities",
        "migration downtime limit: 100 ms",
        f"start migrate command to unix:/run/qemu-server/{guest.vmid}.migrate",
    )
    say_ram(tape, guest.memory, rng.uniform(350, 900) * MIB)
    tape.at += 1
    tape.say_stamped(f"migration finished successfully (duration {format_clock(tape.at)})")
    return tape.script()


def migration_without_storage(tape: Tape, work: Work, rng: random.Random) -> Script:
    return _aborted(tape, work, f"storage 'local-lvm' is not available on node '{work.other}'")


def migration_host_key(tape: Tape, work: Work, rng: random.Random) -> Script:
    target = NODES[work.other]
    tape.say_stamped(
        f"# /usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={target.name}' root@{target.ip} /bin/true",
        "Host key verification failed.",
        "ERROR: migration aborted (duration 00:00:00): Can't connect to destination address using public key",
    )
    tape.at += 0.6
    return tape.script("migration aborted")


def migration_stopped(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest, target = work.one, NODES[work.other]
    tape.say_stamped(f"starting migration of VM {guest.vmid} to node '{target.name}' ({target.ip})", wait=3)
    tape.say_stamped(f"starting online/live migration on unix:/run/qemu-server/{guest.vmid}.migrate", wait=1)
    for second in range(1, rng.randrange(4, 20)):
        tape.say_stamped(
            f"migration active, transferred {format_bytes(second * 112.6 * MIB)} of {format_bytes(guest.memory)}"
            " VM-state, 112.6 MiB/s",
            wait=1,
        )
    tape.say_stamped(
        "ERROR: online migrate failure - interrupted by signal", "aborting phase 2 - cleanup resources"
    )
    tape.say_stamped("migrate_cancel", wait=1.5)
    tape.say_stamped(f"ERROR: migration finished with problems (duration {format_clock(tape.at)})")
    return tape.script("migration problems")


def offline_migration(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest, target = work.one, NODES[work.other]
    label = "VM" if guest.kind == "qemu" else "CT"
    tape.say_stamped(
        f"starting migration of {label} {guest.vmid} to node '{target.name}' ({target.ip})", wait=0.4
    )
    for disk in guest.disks():
        if STORAGES[disk.storage].shared:
            tape.say_stamped(f"volume '{disk.volid}' is on shared storage '{disk.storage}'")
            continue
        tape.say_stamped(f"found local disk '{disk.volid}' (attached)", "copying local disk images", wait=0.6)
        say_dd(tape, disk.size, rng.uniform(150, 260) * MIB)
        tape.say_stamped(f"successfully imported '{disk.volid}'")
    tape.say_stamped("start final cleanup", wait=1)
    tape.say_stamped(f"migration finished successfully (duration {format_clock(tape.at)})")
    return tape.script()


def _aborted(tape: Tape, work: Work, reason: str) -> Script:
    target = NODES[work.other]
    tape.say_stamped(
        f"starting migration of VM {work.one.vmid} to node '{target.name}' ({target.ip})", wait=1.2
    )
    tape.say_stamped(
        f"ERROR: Failed to sync data - {reason}", "aborting phase 1 - cleanup resources", wait=0.6
    )
    tape.say_stamped(f"ERROR: migration aborted (duration 00:00:02): Failed to sync data - {reason}")
    return tape.script("migration aborted")


def move_disk(tape: Tape, work: Work, rng: random.Random) -> Script:
    disk = work.one.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.4)
    say_copy(tape, disk.size, rng.uniform(140, 420) * MIB)
    return tape.script()


def move_disk_stopped(tape: Tape, work: Work, rng: random.Random) -> Script:
    disk = work.one.disks()[0]
    tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.4)
    _say_part_of_copy(tape, disk.size, rng)
    return tape.script("storage migration failed: copy failed: interrupted by signal")


def restore(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest = work.one
    size, rate = size_of(guest), rng.uniform(180, 520) * MIB
    stamp = tape.stamp("%Y_%m_%d-01_02_11")
    tape.say(
        f"restore vma archive: zstd -q -d -c /mnt/pve/nas/dump/vzdump-qemu-{guest.vmid}-{stamp}.vma.zst"
        " | vma extract -v -r /var/tmp/vzdumptmp177197.fifo - /var/tmp/vzdumptmp177197",
        "CFG: size: 458 name: qemu-server.conf",
    )
    for number, disk in enumerate(guest.disks(), start=1):
        tape.say(f"DEV: dev_id={number} size: {disk.size} devname: drive-{disk.key}")
    tape.at += 1
    for percent in range(1, 101):
        tape.at += size / 100 / rate
        tape.say(f"progress {percent}% (read {size * percent // 100} bytes, duration {int(tape.at)} sec)")
    sparse = int(size * rng.uniform(0.3, 0.8))
    tape.say(
        f"total bytes read {size}, sparse bytes {sparse} ({sparse * 100 / size:.3g}%)", "rescan volumes..."
    )
    return tape.script()


def restore_checksum(tape: Tape, work: Work, rng: random.Random) -> Script:
    guest = work.one
    name = f"vzdump-qemu-{guest.vmid}-{tape.stamp('%Y_%m_%d-01_02_11')}.vma.zst"
    unpack = "vma extract -v -r /var/tmp/vzdumptmp8492.fifo"
    command = f"set -o pipefail && zstd -q -d -c /mnt/pve/nas/dump/{name} | {unpack}"
    tape.say(f"restore vma archive: {command}", wait=90)
    tape.say(f"{name} : Decoding error (36) : Restored data doesn't match checksum", wait=1)
    tape.say("no lock found trying to remove 'create' lock")
    return tape.script(f"command '{command} - /var/tmp/vzdumptmp8492' failed: exit code 1")


def download(tape: Tape, work: Work, rng: random.Random) -> Script:
    url = f"https://download.example/images/system/{work.other}"
    size = dict(CONTAINER_TEMPLATES)[work.other]
    say_download(tape, url, f"/var/lib/vz/template/cache/{work.other}", size, rng.uniform(5, 30) * MIB)
    return tape.script()


def download_stopped(tape: Tape, work: Work, rng: random.Random) -> Script:
    url = f"https://download.example/images/system/{work.other}"
    tape.say(f"downloading {url} to /var/lib/vz/template/cache/{work.other}", wait=rng.uniform(5, 30))
    return tape.script(
        f"download failed: command '/usr/bin/wget --progress=dot:giga -O x {url}' failed: got signal 15"
    )


def create_container(tape: Tape, work: Work, rng: random.Random) -> Script:
    name, size = CONTAINER_TEMPLATES[0]
    tape.say(f'  Logical volume "vm-{work.other}-disk-0" created.', wait=0.6)
    tape.say("Creating filesystem with 2097152 4k blocks and 524288 inodes", wait=1)
    tape.say(f"extracting archive '/var/lib/vz/template/cache/{name}'", wait=rng.uniform(4, 9))
    tape.say(f"Total bytes read: {size * 4} ({size * 4 // MIB}MiB, {rng.randrange(70, 220)}MiB/s)", wait=0.4)
    tape.say("Detected container architecture: amd64", wait=2)
    return tape.script()


def create_without_template(tape: Tape, work: Work, rng: random.Random) -> Script:
    missing = "volume 'local:vztmpl/debian-11-standard_11.7-1_amd64.tar.zst' does not exist"
    tape.say(missing, wait=0.4)
    return tape.script(f"unable to create CT {work.other} - {missing}")
