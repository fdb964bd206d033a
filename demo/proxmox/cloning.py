"""Clones: full and linked, of stopped and running machines, of containers; with locks, leftovers and errors."""

from dataclasses import dataclass
from typing import Any

from demo.proxmox import schema
from demo.proxmox.actions import lock_path
from demo.proxmox.api import ApiError, Call, refuse
from demo.proxmox.cluster import Cluster
from demo.proxmox.configcalls import require_bridge
from demo.proxmox.guestcalls import find_snapshot, guest_route, is_shared
from demo.proxmox.guests import Disk, Guest, format_size
from demo.proxmox.inventory import NODES, make_mac, make_uuid
from demo.proxmox.schema import Param
from demo.proxmox.scripts import MIB, Tape, error_script, say_copy, say_mirror
from demo.proxmox.storages import STORAGES, Storage, describe_allocation, name_linked, name_volume, path_of
from demo.proxmox.tasks import Script

# A clone waits this long for the source's lock.
CLONE_LOCK_SECONDS = 1.0
# What the demo's storages copy, in bytes a second.
COPY_RATE = 420 * MIB
STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CloneOrder:
    """What is wanted of one clone; `storage` None keeps each disk's own."""

    source: Guest
    newid: int
    name: str | None
    pool: str | None
    full: bool
    storage: str | None
    description: str | None
    form: str | None
    target: str
    rate: float


def _may_clone(call: Call) -> None:
    call.require(f"/vms/{call.vmid}", "VM.Clone")


_PARAMS = {
    "newid": Param(schema.vmid, required=True),
    "description": Param(schema.string(8192)),
    "pool": Param(schema.string()),
    "full": Param(schema.boolean),
    "storage": Param(schema.string()),
    "target": Param(schema.string()),
    "bwlimit": Param(schema.integer(0)),
    "snapname": Param(schema.string(40)),
}


@guest_route(
    "POST",
    "/clone",
    kinds=("qemu",),
    protected=True,
    check=_may_clone,
    params=_PARAMS | {"name": Param(schema.dns_name), "format": Param(schema.choice("raw", "qcow2", "vmdk"))},
)
def clone_machine(call: Call, guest: Guest) -> str:
    order = _order(call, guest, call.params.get("name"))
    other = call.cluster.guests.get(order.newid)
    if other is not None and other.kind == "qemu" and not _is_being_made(call.cluster, other):
        raise refuse(f"unable to create VM {order.newid}: config file already exists")
    return start_clone(call.cluster, order, user=call.who.authid)


@guest_route(
    "POST",
    "/clone",
    kinds=("lxc",),
    protected=True,
    check=_may_clone,
    params=_PARAMS | {"hostname": Param(schema.dns_name)},
)
def clone_container(call: Call, guest: Guest) -> str:
    order = _order(call, guest, call.params.get("hostname"))
    other = call.cluster.guests.get(order.newid)
    if other is not None:
        raise refuse(f"CT {order.newid} already exists on node '{other.node}'")
    return start_clone(call.cluster, order, user=call.who.authid)


def _order(call: Call, guest: Guest, name: str | None) -> CloneOrder:
    """Everything that is refused before a task starts."""
    params = call.params
    pool, storage, newid = params.get("pool"), params.get("storage"), params["newid"]
    allowed = (
        call.allowed(f"/pool/{pool}", "VM.Allocate") if pool else call.allowed(f"/vms/{newid}", "VM.Allocate")
    )
    if not allowed:
        raise ApiError(403, "Permission check failed")
    full = params.get("full", not guest.is_template)
    target = params.get("target", call.node)
    if target not in NODES:
        raise refuse(f"no such cluster node '{target}'")
    if storage and storage not in STORAGES:
        raise refuse(f"storage '{storage}' does not exist")
    if guest.lock:
        raise refuse(f"{'VM' if guest.kind == 'qemu' else 'CT'} is locked ({guest.lock})")
    if snapname := params.get("snapname"):
        find_snapshot(guest, snapname)
    if target != call.node:
        _require_shared(guest, storage, target)
    if not full:
        _require_linkable(call, guest)
    for disk in guest.disks():
        call.require(f"/storage/{storage or disk.storage}", "Datastore.AllocateSpace")
    for key, value in guest.config.items():
        if key.startswith("net") and "bridge=" in str(value):
            require_bridge(call, str(value).partition("bridge=")[2].partition(",")[0])
    limit = params.get("bwlimit")
    rate = limit * 1024.0 if limit else COPY_RATE
    return CloneOrder(
        guest, newid, name, pool, full, storage, params.get("description"), params.get("format"), target, rate
    )


def _require_shared(guest: Guest, storage: str | None, target: str) -> None:
    """Another node takes a clone only when it sees both the old disks and the new ones."""
    if storage and not STORAGES[storage].shared:
        raise refuse(f"can't clone to non-shared storage '{storage}'")
    if not is_shared(guest):
        kind, tail = ("VM", "VM") if guest.kind == "qemu" else ("CT", "container")
        raise refuse(f"can't clone {kind} to node '{target}' ({tail} uses local storage)")


def _require_linkable(call: Call, guest: Guest) -> None:
    for parameter in ("storage", "format"):
        if parameter in call.params:
            raise refuse(f"parameter '{parameter}' not allowed for linked clones")
    if guest.is_template:
        return
    disk = guest.disks()[0]
    if guest.kind == "lxc":
        raise refuse(f"Linked clone feature for '{disk.volid}' is not available")
    raise refuse(f"Linked clone feature is not supported for '{disk.volid}' ({disk.key})")


def _is_being_made(cluster: Cluster, guest: Guest) -> bool:
    """Its maker still runs: then the loser learns it in its task, not from the call."""
    return guest.lock == "clone" and cluster.holder(guest.vmid, exclusive=True) is not None


def start_clone(cluster: Cluster, order: CloneOrder, *, user: str) -> str:
    """The UPID; the target exists at once, locked, and joins its pool when the task is OK."""
    source = order.source
    kind = "qmclone" if source.kind == "qemu" else "vzclone"
    common: dict[str, Any] = {"type": kind, "id": str(source.vmid), "user": user, "node": source.node}
    failure = _lock_failure(cluster, order)
    if failure:
        return cluster.start_task(**common, build=failure).name
    target = _make_target(cluster, order)
    cluster.guests[target.vmid] = target
    cluster.save(target)

    def finish(status: str, at: float) -> None:
        if status == "OK":
            target.lock = None
            target.pool = order.pool
            target.born_at = at
            target.node = order.target
            cluster.save(target)
        elif status == "unexpected status":
            for disk in target.disks():
                cluster.orphans.append(_orphan(target, disk, at))
            cluster.save_volumes()
        else:
            cluster.remove(target.vmid)

    def build(tape: Tape) -> Script:
        tape.at += 0.2
        return write_clone(tape, order, target)

    locks = ((source.vmid, source.is_running), (target.vmid, True))
    return cluster.start_task(**common, build=build, on_end=finish, locks=locks).name


def _lock_failure(cluster: Cluster, order: CloneOrder) -> Script | None:
    source = order.source
    for vmid, exclusive in ((source.vmid, source.is_running), (order.newid, True)):
        if cluster.holder(vmid, exclusive=exclusive):
            text = f"can't lock file '{lock_path(vmid, source.kind)}' - got timeout"
            return error_script(text, "trying to acquire lock...", seconds=CLONE_LOCK_SECONDS)
    if order.newid in cluster.guests:
        path = f"/etc/pve/nodes/{source.node}/qemu-server/{order.newid}.conf"
        return error_script(
            f"close (rename) atomic file '{path}' failed: File exists",
            f"creating a clone of VM {source.vmid} with ID {order.newid}",
        )
    return None


def _make_target(cluster: Cluster, order: CloneOrder) -> Guest:
    source, rng = order.source, cluster.rng
    config: dict[str, Any] = {
        key: value
        for key, value in source.config.items()
        if key not in ("template", "lock", "parent", "onboot") and not key.startswith("unused")
    }
    name_key = "name" if source.kind == "qemu" else "hostname"
    config[name_key] = order.name or f"Copy-of-VM-{source.name}"
    if order.description is not None:
        config["description"] = order.description
    for key, value in source.config.items():
        if key.startswith("net"):
            parts = str(value).split(",")
            fresh = make_mac(rng)
            config[key] = ",".join(_new_mac(part, fresh) for part in parts)
    if source.kind == "qemu":
        config |= {"smbios1": f"uuid={make_uuid(rng)}", "vmgenid": make_uuid(rng)}
    for number, disk in enumerate(source.disks()):
        storage = STORAGES[order.storage or disk.storage]
        volume = (
            name_volume(
                storage, order.newid, number, form=order.form or "qcow2", container=source.kind == "lxc"
            )
            if order.full
            else name_linked(storage, disk.volume, order.newid, number)
        )
        config[disk.key] = f"{storage.name}:{volume},size={format_size(disk.size)}"
    for disk in source.disks(cdroms=True):
        if disk.is_cdrom and "cloudinit" in disk.volume:
            config[disk.key] = f"{name_cloudinit(order, disk)},media=cdrom,size=4M"
    config["lock"] = "clone"
    return Guest(order.newid, source.kind, source.node, config, born_at=cluster.now())


def name_cloudinit(order: CloneOrder, disk: Disk) -> str:
    """The cloud-init drive goes where the other disks go; its volid."""
    storage = STORAGES[order.storage or disk.storage]
    plain = f"vm-{order.newid}-cloudinit"
    return f"{storage.name}:{f'{order.newid}/{plain}.qcow2' if storage.is_file_based else plain}"


def _new_mac(part: str, mac: str) -> str:
    key, _, value = part.partition("=")
    return f"{key}={mac}" if value.count(":") == 5 else part


def _orphan(target: Guest, disk: Disk, at: float) -> dict[str, Any]:
    return {
        "storage": disk.storage,
        "node": target.node,
        "volid": disk.volid,
        "vmid": target.vmid,
        "content": "images",
        "format": "qcow2" if disk.volume.endswith("qcow2") else "raw",
        "size": disk.size,
        "used": disk.size // 8,
        "ctime": int(at),
        "parent": None,
    }


def write_clone(tape: Tape, order: CloneOrder, target: Guest) -> Script:
    source = order.source
    if source.kind == "lxc":
        return _write_container_clone(tape, order, target)
    tape.say(f"creating a clone of VM {source.vmid} with ID {order.newid}", wait=0.1)
    copied: tuple[Disk, Storage, str] | None = None
    for disk in source.disks(cdroms=True):
        if disk.is_cdrom:
            if "cloudinit" in disk.volume:
                volid = name_cloudinit(order, disk)
                storage, volume = STORAGES[volid.partition(":")[0]], volid.partition(":")[2]
                tape.say(f"create full clone of drive {disk.key} ({disk.volid})")
                tape.say(*describe_allocation(storage, volume, 4 * MIB))
                tape.say(f"allocated target volume '{volid}'", wait=0.1)
            continue
        volid = str(target.config[disk.key]).partition(",")[0]
        storage, volume = STORAGES[volid.partition(":")[0]], volid.partition(":")[2]
        if not order.full:
            tape.say(f"create linked clone of drive {disk.key} ({disk.volid})", wait=0.15)
            if storage.is_file_based:
                own = volume.rsplit("/", 1)[-1]
                tape.say(
                    f"clone {disk.volume}: images, {own}, {order.newid} to {own} (base=../{disk.volume})"
                )
            continue
        tape.say(f"create full clone of drive {disk.key} ({disk.volid})", wait=0.1)
        tape.say(*describe_allocation(storage, volume, disk.size))
        tape.say(f"allocated target volume '{volid}'", wait=0.1)
        copied = (disk, storage, volume)
        if source.is_running:
            say_mirror(tape, disk.key, disk.size, order.rate)
        else:
            say_copy(tape, disk.size, order.rate)
    if source.is_running and order.full:
        tape.say("suspend vm", wait=0.1)
        for disk in source.disks():
            tape.say(f"mirror-{disk.key}: Cancelling block job", f"mirror-{disk.key}: Done.", wait=0.1)
        tape.say("resume vm")
    tape.at += 0.3
    return tape.script(stop_end=_stopped_text(source, copied), stop_seconds=STOP_SECONDS)


def _stopped_text(source: Guest, copied: tuple[Disk, Storage, str] | None) -> str:
    if copied is None or source.is_running:
        return "clone failed: interrupted by signal" if source.is_running else "received interrupt"
    disk, storage, volume = copied
    form = "qcow2" if volume.endswith("qcow2") else "raw"
    old = path_of(STORAGES[disk.storage], disk.volume)
    return (
        f"clone failed: copy failed: command '/usr/bin/qemu-img convert -p -n -f"
        f" {'qcow2' if disk.volume.endswith('qcow2') else 'raw'} -O {form} {old}"
        f" zeroinit:{path_of(storage, volume)}' failed: interrupted by signal"
    )


def _write_container_clone(tape: Tape, order: CloneOrder, target: Guest) -> Script:
    """rsync tells its figures only at the end."""
    source = order.source
    tape.say(f"creating a clone of container {source.vmid} with ID {order.newid}", wait=0.2)
    for disk in source.disks():
        tape.say(f"create full clone of mountpoint {disk.key} ({disk.volid})")
        volume = str(target.config[disk.key]).partition(",")[0].partition(":")[2]
        tape.say(*describe_allocation(STORAGES[order.storage or disk.storage], volume, disk.size))
        blocks = disk.size // 4096
        tape.say(f"Creating filesystem with {blocks} 4k blocks and {blocks // 4} inodes", wait=1.0)
        used = int(disk.size * 0.4)
        seconds = max(2.0, used / (120 * MIB))
        tape.at += seconds
        tape.say(
            "",
            "Number of files: 26,272 (reg: 20,525, dir: 2,274, link: 3,449, special: 24)",
            f"Total file size: {used:,} bytes",
            f"Total bytes sent: {used:,}",
            "",
            f"sent {used:,} bytes  received 414,189 bytes  {used / seconds:,.2f} bytes/sec",
            f"total size is {used:,}  speedup is 1.00",
        )
    return tape.script(stop_end="clone failed: interrupted by signal", stop_seconds=STOP_SECONDS)
