"""Snapshots: create with or without RAM, roll back, describe, delete."""

from typing import Any

from demo.proxmox import schema
from demo.proxmox.actions import change, prefix, set_running, set_stopped
from demo.proxmox.api import Call, needs, refuse
from demo.proxmox.guestcalls import can_snapshot, guest_route
from demo.proxmox.guests import Guest
from demo.proxmox.schema import Param
from demo.proxmox.scripts import MIB, Tape, format_bytes
from demo.proxmox.storages import STORAGES

_snapshot = needs("/vms/{vmid}", "VM.Snapshot")


@guest_route(
    "POST",
    "/snapshot",
    protected=True,
    check=_snapshot,
    params={
        "snapname": Param(schema.config_id(40), required=True),
        "description": Param(schema.string()),
        "vmstate": Param(schema.boolean),
    },
)
def create_snapshot(call: Call, guest: Guest) -> str:
    name = call.params["snapname"]
    if name in ("current", "pending"):
        raise refuse(f"unable to use snapshot name '{name}' (reserved name)")
    with_ram = bool(call.params.get("vmstate")) and guest.is_running
    failure = None
    if any(row["name"] == name for row in guest.snapshots):
        failure = f"snapshot name '{name}' already used"
    elif not can_snapshot(guest):
        failure = "snapshot feature is not available"

    def write(tape: Tape) -> None:
        if with_ram:
            _say_ram_state(tape, guest, name)
        for disk in guest.disks():
            tape.say(f"snapshotting 'drive-{disk.key}' ({disk.volid})", wait=0.3)
            if STORAGES[disk.storage].plugin == "lvmthin":
                tape.say(f'  Logical volume "snap_{disk.volume.split("/")[-1]}_{name}" created.')

    def done(at: float) -> None:
        row: dict[str, Any] = {
            "name": name,
            "snaptime": int(at),
            "description": call.params.get("description", ""),
            "vmstate": int(with_ram),
            "config": {key: value for key, value in guest.config.items() if key not in ("lock", "parent")},
        }
        if parent := guest.config.get("parent"):
            row["parent"] = parent
        guest.snapshots.append(row)
        guest.config["parent"] = name

    kind = f"{prefix(guest)}snapshot"
    upid = change(call, guest, kind, write, done=done, failure=failure, seconds=1.0)
    return _lock(call, guest, upid, failure, "snapshot")


def _say_ram_state(tape: Tape, guest: Guest, name: str) -> None:
    used, seconds, done = guest.memory * 0.6, 0, 1.0 * MIB
    rate = max(800 * MIB, used / 40)
    tape.say(f"saving VM state and RAM using storage '{guest.disks()[0].storage}'")
    while done < used:
        tape.say(f"{format_bytes(done, 2)} in {seconds}s", wait=1.0)
        seconds += 1
        done += rate
    tape.say(f"completed saving the VM state in {seconds}s, saved {format_bytes(used, 2)}")


def _lock(call: Call, guest: Guest, upid: str, failure: str | None, lock: str) -> str:
    if not failure and not guest.lock and call.cluster.tasks[upid].locks:
        guest.lock = lock
        call.cluster.save(guest)
    return upid


@guest_route(
    "POST",
    "/snapshot/{snapname}/rollback",
    protected=True,
    check=needs("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", every=False),
    params={"start": Param(schema.boolean)},
)
def rollback(call: Call, guest: Guest) -> str:
    """Stops a running VM without a question."""
    name = call.path["snapname"]
    row = next((row for row in guest.snapshots if row["name"] == name), None)

    def done(at: float) -> None:
        if row:
            guest.config = dict(row["config"]) | {"parent": name}
        set_stopped(guest)(at)
        if call.params.get("start"):
            set_running(guest)(at)

    failure = None if row else f"snapshot '{name}' does not exist"
    upid = change(
        call, guest, f"{prefix(guest)}rollback", lambda tape: None, done=done, failure=failure, seconds=3.0
    )
    return _lock(call, guest, upid, failure, "rollback")


@guest_route(
    "PUT",
    "/snapshot/{snapname}/config",
    protected=True,
    check=_snapshot,
    params={"description": Param(schema.string())},
)
def describe_snapshot(call: Call, guest: Guest) -> None:
    for row in guest.snapshots:
        if row["name"] == call.path["snapname"]:
            row["description"] = call.params.get("description", "")
            call.cluster.save(guest)
            return
    raise refuse(f"snapshot '{call.path['snapname']}' does not exist")


@guest_route(
    "DELETE", "/snapshot/{snapname}", protected=True, check=_snapshot, params={"force": Param(schema.boolean)}
)
def delete_snapshot(call: Call, guest: Guest) -> str:
    name = call.path["snapname"]
    row = next((row for row in guest.snapshots if row["name"] == name), None)

    def done(_at: float) -> None:
        parent = row.get("parent") if row else None
        guest.snapshots = [other for other in guest.snapshots if other["name"] != name]
        for owner in (guest.config, *guest.snapshots):
            if owner.get("parent") == name:
                if parent:
                    owner["parent"] = parent
                else:
                    del owner["parent"]

    failure = None if row else f"snapshot '{name}' does not exist"
    return change(
        call,
        guest,
        f"{prefix(guest)}delsnapshot",
        lambda tape: None,
        done=done,
        failure=failure,
        seconds=2.0,
    )
