"""vzdump of one or several guests: virtual machines with percentages, containers without."""

import random
import time
from functools import partial
from typing import Any

from demo.proxmox import schema
from demo.proxmox.access import Identity
from demo.proxmox.api import Call, refuse, route
from demo.proxmox.cluster import Cluster, Effect
from demo.proxmox.guests import Guest, format_size
from demo.proxmox.schema import Param
from demo.proxmox.scripts import MIB, Tape, error_script, format_clock, say_vm_backup
from demo.proxmox.storages import STORAGES
from demo.proxmox.tasks import Script

READ_RATE = 550.0 * MIB
_STOPPED = "interrupted by signal"


@route(
    "POST",
    "/nodes/{node}/vzdump",
    protected=True,
    params={
        "vmid": Param(schema.string()),
        "all": Param(schema.boolean),
        "exclude": Param(schema.string()),
        "pool": Param(schema.string()),
        "storage": Param(schema.string()),
        "mode": Param(schema.choice("snapshot", "suspend", "stop")),
        "compress": Param(schema.choice("0", "1", "gzip", "lzo", "zstd")),
        "notes-template": Param(schema.string(1024)),
        "remove": Param(schema.boolean),
        "protected": Param(schema.boolean),
        "quiet": Param(schema.boolean),
    },
)
def vzdump(call: Call) -> str:
    """The guests of this node among those named; without the right to one, the task fails.

    Where none of those named is here, "OK" is answered and nothing started.
    """
    params, cluster = call.params, call.cluster
    storage = params.get("storage", "local")
    if storage not in STORAGES:
        raise refuse(f"storage '{storage}' does not exist")
    call.require(f"/storage/{storage}", "Datastore.AllocateSpace")
    everything = params.get("all") or "pool" in params
    if not everything and "vmid" not in params:
        raise refuse("no guests specified")
    excluded = set(params.get("exclude", "").split(","))
    wanted = params.get("vmid", "").replace(" ", ",").split(",")
    guests = [
        guest
        for guest in cluster.guests.values()
        if guest.node == call.node
        and str(guest.vmid) not in excluded
        and (params.get("pool") in (None, guest.pool) if everything else str(guest.vmid) in wanted)
    ]
    if not everything and not guests:
        return "OK"
    options = {key: value for key, value in params.items() if key not in ("vmid", "storage")}
    return start_backup(
        cluster, guests, node=call.node, storage=storage, who=call.who, listed=not everything, options=options
    )


def start_backup(
    cluster: Cluster,
    guests: list[Guest],
    *,
    node: str,
    storage: str,
    who: Identity,
    listed: bool = True,
    options: dict[str, Any] | None = None,
    broken: int | None = None,
    warn: bool = False,
    rate: float = READ_RATE,
) -> str:
    """`broken` is a VMID whose backup fails; `warn` ends the job with one warning. Answers the UPID."""
    guests = sorted(guests, key=lambda guest: guest.vmid)
    flags = "".join(f" --{key} {_flag(value)}" for key, value in (options or {"mode": "snapshot"}).items())
    ids = " ".join(str(guest.vmid) for guest in guests)
    what = ids if listed else "--all 1"
    head = f"INFO: starting new backup job: vzdump {what} --storage {storage} --node {node}{flags}"
    task_id = str(guests[0].vmid) if len(guests) == 1 else ""
    common: dict[str, Any] = {"type": "vzdump", "id": task_id, "user": who.authid, "node": node}
    for guest in guests if listed else []:
        if "VM.Backup" not in cluster.access.privileges(who, f"/vms/{guest.vmid}"):
            error = f"403 Permission check failed (/vms/{guest.vmid}, VM.Backup)"
            return cluster.start_task(**common, build=error_script(error, head)).name
    guests = [
        guest for guest in guests if "VM.Backup" in cluster.access.privileges(who, f"/vms/{guest.vmid}")
    ]
    rng = random.Random(cluster.rng.random())
    effects: list[tuple[float, Effect]] = []
    locked: list[Guest] = []

    def build(tape: Tape) -> Script:
        tape.say(head, wait=0.2)
        failed = False
        for guest in guests:
            begin = tape.at
            failed |= not _say_guest(tape, cluster, guest, storage, rng, rate, broken=guest.vmid == broken)
            if guest.lock is None:
                effects.append((begin, partial(_lock, cluster, guest, locked)))
                effects.append((tape.at, partial(_unlock, cluster, guest, locked, storage)))
        if warn:
            tape.say("WARN: unable to open '/etc/pve/priv/storage': skipped in notes")
        tape.say(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}", wait=0.1)
        end = "job errors" if failed else ("WARNINGS: 1" if warn else "OK")
        lines = (f"ERROR: Backup job failed - {_STOPPED}",)
        return tape.script(end, stop_end=_STOPPED, stop_lines=lines)

    # The effects are known only when the log is written, so it is written here and not by start_task.
    tape = Tape(cluster.now(), cluster.scale)
    script = build(tape)

    def finish(_status: str, _at: float) -> None:
        for guest in list(locked):
            guest.lock = None
            cluster.save(guest)

    return cluster.start_task(
        **common, build=script, on_end=finish, effects=tuple(effects), started=tape.started
    ).name


def _flag(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"'{value}'" if " " in str(value) or "{" in str(value) else str(value)


def _lock(cluster: Cluster, guest: Guest, locked: list[Guest], _at: float) -> None:
    if guest.lock is None and guest.vmid in cluster.guests:
        guest.lock = "backup"
        locked.append(guest)
        cluster.save(guest)


def _unlock(cluster: Cluster, guest: Guest, locked: list[Guest], storage: str, at: float) -> None:
    if guest not in locked:
        return
    locked.remove(guest)
    guest.lock = None
    cluster.save(guest)
    cluster.backups.append(_backup_row(guest, storage, at))
    own = [row for row in cluster.backups if row["vmid"] == guest.vmid]
    if len(own) > 5:
        cluster.backups.remove(own[0])
    cluster.save_volumes()


def _backup_row(guest: Guest, storage: str, at: float) -> dict[str, Any]:
    stamp = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime(at))
    form = "vma.zst" if guest.kind == "qemu" else "tar.zst"
    return {
        "storage": storage,
        "node": guest.node,
        "volid": f"{storage}:backup/vzdump-{guest.kind}-{guest.vmid}-{stamp}.{form}",
        "vmid": guest.vmid,
        "content": "backup",
        "subtype": guest.kind,
        "format": form,
        "size": int(sum(disk.size for disk in guest.disks()) * 0.23),
        "ctime": int(at),
        "notes": guest.name,
    }


def _say_guest(
    tape: Tape, cluster: Cluster, guest: Guest, storage: str, rng: random.Random, rate: float, *, broken: bool
) -> bool:
    """One guest's part of the log; false when its backup fails."""
    begin = tape.at
    tape.say(f"INFO: Starting Backup of VM {guest.vmid} ({guest.kind})")
    tape.say(f"INFO: Backup started at {tape.stamp()}", f"INFO: status = {guest.status}", wait=0.2)
    is_machine = guest.kind == "qemu"
    if is_machine:
        tape.say(f"INFO: VM Name: {guest.name}")
        for disk in guest.disks():
            tape.say(f"INFO: include disk '{disk.key}' '{disk.volid}' {format_size(disk.size)}")
    tape.say(f"INFO: backup mode: {'snapshot' if guest.is_running else 'stop'}", "INFO: ionice priority: 7")
    if not is_machine:
        tape.say(
            f"INFO: CT Name: {guest.name}", "INFO: including mount point rootfs ('/') in backup", wait=0.3
        )
    error = f"VM is locked ({guest.lock})" if guest.lock else None
    if error is None:
        path = f"{STORAGES[storage].path}/dump/vzdump-{guest.kind}-{guest.vmid}-{tape.stamp('%Y_%m_%d-%H_%M_%S')}"
        tape.say(f"INFO: creating vzdump archive '{path}.{'vma' if is_machine else 'tar'}.zst'", wait=0.5)
    if error is None and broken:
        tape.say("INFO: issuing guest-agent 'fs-freeze' command", wait=1.0)
        tape.say("INFO: issuing guest-agent 'fs-thaw' command", wait=4.0)
        error = f"VM {guest.vmid} qmp command 'backup' failed - got timeout"
        tape.say(f"ERROR: {error}", "INFO: aborting backup job", "INFO: resuming VM again")
    if error is not None:
        tape.say(f"ERROR: Backup of VM {guest.vmid} failed - {error}", f"INFO: Failed at {tape.stamp()}")
        return False
    _say_data(tape, guest, rng, rate)
    tape.say(f"INFO: Finished Backup of VM {guest.vmid} ({format_clock(tape.at - begin)})")
    tape.say(f"INFO: Backup finished at {tape.stamp()}", wait=0.1)
    return True


def _say_data(tape: Tape, guest: Guest, rng: random.Random, rate: float) -> None:
    size = sum(disk.size for disk in guest.disks())
    if guest.kind == "qemu":
        identity = f"{rng.getrandbits(32):08x}-5ca9-402e-b37e-{rng.getrandbits(48):012x}"
        tape.say(f"INFO: started backup task '{identity}'", "INFO: resuming VM again")
        say_vm_backup(tape, size, rate, rng)
    else:
        written = int(size * 0.35)
        seconds = max(1.0, written / (rate / 3))
        tape.at += seconds
        speed = int(written / seconds / MIB)
        tape.say(f"INFO: Total bytes written: {written} ({written // MIB}MiB, {speed}MiB/s)")
    tape.say(f"INFO: archive file size: {int(size * 0.23) // MIB}MB")
    tape.say("INFO: adding notes to backup", wait=0.2)
