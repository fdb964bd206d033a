"""Moving guests between nodes: live with RAM and disks, offline, and containers."""

from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import Call, invalid, needs, refuse
from demo.proxmox.cluster import Cluster
from demo.proxmox.guestcalls import guest_route, is_shared
from demo.proxmox.guests import Guest
from demo.proxmox.inventory import NODES
from demo.proxmox.schema import Param
from demo.proxmox.scripts import MIB, Tape, error_script, format_clock, say_dd, say_mirror, say_ram
from demo.proxmox.storages import STORAGES
from demo.proxmox.tasks import Script

DISK_RATE = 260.0 * MIB
RAM_RATE = 700.0 * MIB


@guest_route(
    "POST",
    "/migrate",
    protected=True,
    check=needs("/vms/{vmid}", "VM.Migrate"),
    params={
        "target": Param(schema.string(), required=True),
        "online": Param(schema.boolean),
        "restart": Param(schema.boolean),
        "with-local-disks": Param(schema.boolean),
        "targetstorage": Param(schema.string()),
        "force": Param(schema.boolean),
        "bwlimit": Param(schema.integer(0)),
        "timeout": Param(schema.integer(0)),
    },
)
def migrate(call: Call, guest: Guest) -> str:
    target = call.params["target"]
    if target not in NODES:
        raise refuse(f"no such cluster node '{target}'")
    if target == guest.node:
        raise invalid(target="target is local node.")
    if guest.lock:
        raise refuse(f"{'VM' if guest.kind == 'qemu' else 'CT'} is locked ({guest.lock})")
    if guest.is_running and not (call.params.get("online") or call.params.get("restart")):
        raise refuse(
            f"can't migrate running {'VM' if guest.kind == 'qemu' else 'container'} without --online"
        )
    return start_migration(call.cluster, guest, target, user=call.who.authid)


def start_migration(cluster: Cluster, guest: Guest, target: str, *, user: str) -> str:
    """The UPID. The guest is locked meanwhile and stands on `target` when the task is OK."""
    kind = "qmigrate" if guest.kind == "qemu" else "vzmigrate"
    common: dict[str, Any] = {"type": kind, "id": str(guest.vmid), "user": user, "node": guest.node}
    if cluster.holder(guest.vmid, exclusive=True):
        return cluster.start_task(
            **common, build=error_script("can't acquire lock - got timeout", seconds=1.0)
        ).name
    if not cluster.is_online(target):
        return cluster.start_task(**common, build=lambda tape: _write_unreachable(tape, guest, target)).name
    guest.lock = "migrate"
    cluster.save(guest)

    def finish(status: str, at: float) -> None:
        guest.lock = None
        if status == "OK":
            guest.node = target
        if guest.vmid in cluster.guests:
            cluster.save(guest)

    live = guest.kind == "qemu" and guest.is_running

    def build(tape: Tape) -> Script:
        return _write_live(tape, guest, target) if live else _write_offline(tape, guest, target)

    return cluster.start_task(**common, build=build, on_end=finish, locks=((guest.vmid, True),)).name


def _write_unreachable(tape: Tape, guest: Guest, target: str) -> Script:
    ip = NODES[target].ip
    tape.say_stamped(f"starting migration of VM {guest.vmid} to node '{target}' ({ip})", wait=3.0)
    tape.say_stamped(
        f"ERROR: migration aborted (duration 00:00:03): command '/usr/bin/ssh -o BatchMode=yes root@{ip} /bin/true'"
        " failed: exit code 255"
    )
    return tape.script("migration aborted")


def _write_live(tape: Tape, guest: Guest, target: str) -> Script:
    vmid, ip = guest.vmid, NODES[target].ip
    tape.at += 0.5
    begin = tape.at
    tape.say_stamped(
        "conntrack state migration not supported or disabled, active connections might get dropped",
        f"starting migration of VM {vmid} to node '{target}' ({ip})",
    )
    local = [] if is_shared(guest) else guest.disks()
    for disk in local:
        tape.say_stamped(f"found local disk '{disk.volid}' (attached)")
    tape.say_stamped(f"starting VM {vmid} on remote node '{target}'", wait=1.5)
    for disk in local:
        tape.say_stamped(f"volume '{disk.volid}' is '{disk.volid}' on the target")
    tape.say_stamped("start remote tunnel", wait=0.6)
    tape.say_stamped("ssh tunnel ver 1", wait=0.1)
    if local:
        tape.say_stamped("starting storage migration")
        for disk in local:
            name = f"/run/qemu-server/{vmid}_nbd.migrate:exportname=drive-{disk.key}"
            tape.say_stamped(f"{disk.key}: start migration to nbd:unix:{name}")
            say_mirror(tape, disk.key, disk.size, DISK_RATE)
        tape.say_stamped("switching mirror jobs to actively synced mode")
        for disk in local:
            tape.say(f"mirror-{disk.key}: switching to actively synced mode")
            tape.say(f"mirror-{disk.key}: successfully switched to actively synced mode", wait=0.2)
    tape.say_stamped(
        f"starting online/live migration on unix:/run/qemu-server/{vmid}.migrate",
        "set migration capabilities",
        "migration downtime limit: 100 ms",
        "migration cachesize: 1.0 GiB",
        "set migration parameters",
        f"start migrate command to unix:/run/qemu-server/{vmid}.migrate",
    )
    say_ram(tape, guest.memory, RAM_RATE)
    if local:
        tape.say("all 'mirror' jobs are ready")
        for disk in local:
            job = f"mirror-{disk.key}"
            tape.say(
                f"{job}: Completing block job...",
                f"{job}: Completed successfully.",
                f"{job}: mirror-job finished",
            )
        tape.say_stamped("stopping NBD storage migration server on target.", wait=0.4)
    tape.at += 1.5
    tape.say_stamped(f"migration finished successfully (duration {format_clock(tape.at - begin)})")
    stamp = tape.stamp()
    lines = (
        f"{stamp} ERROR: online migrate failure - interrupted by signal",
        f"{stamp} aborting phase 2 - cleanup resources",
        f"{stamp} migrate_cancel",
    )
    return tape.script(stop_end="migration aborted", stop_lines=lines, stop_seconds=2.0)


def _write_offline(tape: Tape, guest: Guest, target: str) -> Script:
    label = "VM" if guest.kind == "qemu" else "CT"
    tape.at += 0.5
    begin = tape.at
    tape.say_stamped(
        f"starting migration of {label} {guest.vmid} to node '{target}' ({NODES[target].ip})", wait=0.3
    )
    for disk in guest.disks():
        if STORAGES[disk.storage].shared:
            tape.say_stamped(f"volume '{disk.volid}' is on shared storage '{disk.storage}'")
            continue
        tape.say_stamped(f"found local disk '{disk.volid}' (attached)", "copying local disk images", wait=0.5)
        tape.say(f'  Logical volume "{disk.volume}" created.')
        say_dd(tape, disk.size, DISK_RATE)
        tape.say_stamped(
            f"successfully imported '{disk.volid}'", f"volume '{disk.volid}' is '{disk.volid}' on the target"
        )
    tape.say_stamped("start final cleanup", wait=1.0)
    tape.say_stamped(f"migration finished successfully (duration {format_clock(tape.at - begin)})")
    stop = (f"{tape.stamp()} ERROR: storage migration failed: interrupted by signal",)
    return tape.script(stop_end="migration aborted", stop_lines=stop, stop_seconds=2.0)
