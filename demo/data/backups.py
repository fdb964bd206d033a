"""Logs of vzdump: the nightly job of a node and single guests, with the ways in which a backup fails."""

import random
from collections.abc import Callable

from demo.data.power import size_of
from demo.data.work import Work, Writer
from demo.proxmox.guests import Guest, format_size
from demo.proxmox.scripts import GIB, MIB, Tape, format_clock, say_vm_backup
from demo.proxmox.tasks import Script

Fate = Callable[[Tape, Guest, str, random.Random], str]
"""Writes what goes wrong in one guest's backup and answers the error; "" when it goes well."""

INTERRUPTED = "interrupted by signal"


def _well(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    _say_archive(tape, path)
    size = size_of(guest)
    if guest.kind == "qemu":
        tape.say("INFO: resuming VM again")
        # A line every three seconds: fast enough that a large guest does not write ten thousand of them.
        say_vm_backup(tape, size, max(500 * MIB, size / 150), rng)
    else:
        written = int(size * 0.35)
        seconds = max(1.0, written / (180 * MIB))
        tape.at += seconds
        speed = int(written / seconds / MIB)
        tape.say(f"INFO: Total bytes written: {written} ({written // MIB}MiB, {speed}MiB/s)")
    tape.say(f"INFO: archive file size: {size // GIB * 230}MB", "INFO: adding notes to backup", wait=0.4)
    return ""


def _no_space(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    _say_archive(tape, path)
    tape.at += rng.uniform(20, 300)
    if guest.kind == "lxc":
        tape.say(
            "INFO: zstd: error 70 : Write error : cannot write block : No space left on device", wait=0.5
        )
        return (
            "command 'set -o pipefail && lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- tar cpf - --totals'"
            " failed: exit code 70"
        )
    tape.say("INFO: zstd: error 70 : Write error : cannot write block : No space left on device", wait=0.5)
    error = "vma_queue_write: write error - Broken pipe"
    tape.say(f"ERROR: {error}", "INFO: aborting backup job", "INFO: resuming VM again")
    return error


def _locked(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    label = "CT" if guest.kind == "lxc" else "VM"
    return f"{label} is locked ({rng.choice(('snapshot', 'clone', 'migrate'))})"


def _timeout(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    _say_archive(tape, path)
    tape.say("INFO: issuing guest-agent 'fs-freeze' command", wait=1)
    tape.say("INFO: issuing guest-agent 'fs-thaw' command", wait=124)
    error = f"VM {guest.vmid} qmp command 'backup' failed - got timeout"
    tape.say(f"ERROR: {error}", "INFO: aborting backup job", "INFO: resuming VM again")
    return error


def _io_error(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    _say_archive(tape, path)
    tape.at += rng.uniform(30, 200)
    error = "job failed with err -5 - Input/output error"
    tape.say(f"ERROR: {error}", "INFO: aborting backup job", "INFO: resuming VM again")
    return error


def _interrupted(tape: Tape, guest: Guest, path: str, rng: random.Random) -> str:
    _say_archive(tape, path)
    tape.at += rng.uniform(10, 240)
    tape.say(f"ERROR: {INTERRUPTED}", "INFO: aborting backup job", "INFO: resuming VM again")
    return INTERRUPTED


def _say_archive(tape: Tape, path: str) -> None:
    tape.say(f"INFO: creating vzdump archive '{path}'", wait=0.6)


def _job(spoil: Fate, *, warn: bool = False) -> Writer:
    """A backup job in which `spoil` happens to one of the guests; the others go well unless somebody stops it."""

    def write(tape: Tape, work: Work, rng: random.Random) -> Script:
        guests = work.guests or (work.one,)
        unlucky = rng.choice(guests)
        ids = " ".join(str(guest.vmid) for guest in guests)
        tape.say(
            f"INFO: starting new backup job: vzdump {ids} --storage nas --node {work.node} --mode snapshot"
            " --compress zstd --notes-template '{{guestname}}'",
            wait=0.3,
        )
        failed = False
        for guest in guests:
            # What fills a storage spoils all that follows.
            is_spoilt = guest is unlucky or (spoil is _no_space and failed)
            error = _say_guest(tape, guest, spoil if is_spoilt else _well, rng)
            failed = failed or bool(error)
            if error == INTERRUPTED:
                tape.say(f"ERROR: Backup job failed - {INTERRUPTED}")
                return tape.script(INTERRUPTED)
        if warn:
            tape.say("WARN: unable to prune old backups on 'nas': volume is protected")
        tape.say(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}", wait=0.2)
        return tape.script("job errors" if failed else "WARNINGS: 1" if warn else "OK")

    return write


def _say_guest(tape: Tape, guest: Guest, fate: Fate, rng: random.Random) -> str:
    begin = tape.at
    is_machine = guest.kind == "qemu"
    tape.say(
        f"INFO: Starting Backup of VM {guest.vmid} ({guest.kind})", f"INFO: Backup started at {tape.stamp()}"
    )
    tape.say(
        f"INFO: status = {guest.status}", f"INFO: {'VM' if is_machine else 'CT'} Name: {guest.name}", wait=0.3
    )
    for disk in guest.disks() if is_machine else []:
        tape.say(f"INFO: include disk '{disk.key}' '{disk.volid}' {format_size(disk.size)}")
    tape.say("INFO: backup mode: snapshot", "INFO: ionice priority: 7")
    ending = "vma.zst" if is_machine else "tar.zst"
    path = f"/mnt/pve/nas/dump/vzdump-{guest.kind}-{guest.vmid}-{tape.stamp('%Y_%m_%d-%H_%M_%S')}.{ending}"
    error = fate(tape, guest, path, rng)
    if error:
        tape.say(f"ERROR: Backup of VM {guest.vmid} failed - {error}", f"INFO: Failed at {tape.stamp()}")
        return error
    tape.say(f"INFO: Finished Backup of VM {guest.vmid} ({format_clock(tape.at - begin)})")
    tape.say(f"INFO: Backup finished at {tape.stamp()}", wait=0.2)
    return ""


backup = _job(_well)
backup_warning = _job(_well, warn=True)
backup_no_space = _job(_no_space)
backup_locked = _job(_locked)
backup_timeout = _job(_timeout)
backup_io_error = _job(_io_error)
backup_interrupted = _job(_interrupted)


def prune(tape: Tape, work: Work, rng: random.Random) -> Script:
    for _ in range(rng.randrange(2, 9)):
        vmid = rng.randrange(100, 123)
        tape.say(
            f"INFO: removing backup 'nas:backup/vzdump-qemu-{vmid}-{tape.stamp('%Y_%m_%d')}-01_02_11.vma.zst'"
        )
        tape.at += 0.3
    return tape.script()
