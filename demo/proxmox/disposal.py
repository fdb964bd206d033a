"""Resize, conversion to a template, and destruction."""

from demo.proxmox import schema
from demo.proxmox.actions import SKIPLOCK, change, prefix
from demo.proxmox.api import Call, Reply, invalid, needs, refuse
from demo.proxmox.cluster import Cluster
from demo.proxmox.guestcalls import guest_route
from demo.proxmox.guests import Guest, format_size, parse_size
from demo.proxmox.schema import Param
from demo.proxmox.scripts import GIB, Tape
from demo.proxmox.storages import STORAGES

_allocate = needs("/vms/{vmid}", "VM.Allocate")


DISKS = [
    f"{bus}{number}"
    for bus, count in (("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6))
    for number in range(count)
]


@guest_route(
    "PUT",
    "/resize",
    protected=True,
    check=needs("/vms/{vmid}", "VM.Config.Disk"),
    params={
        "disk": Param(
            schema.choice(*DISKS, "efidisk0", "tpmstate0", "rootfs", *(f"mp{n}" for n in range(8))),
            required=True,
        ),
        "size": Param(schema.pattern(r"\+?\d+(?:\.\d+)?[KMGT]?"), required=True),
        "digest": Param(schema.string(64)),
        "skiplock": Param(schema.boolean),
    },
)
def resize(call: Call, guest: Guest) -> str:
    key, text = call.params["disk"], call.params["size"]
    disk = next((disk for disk in guest.disks(cdroms=True) if disk.key == key), None)
    size = parse_size(text.removeprefix("+")) + (disk.size if disk and text.startswith("+") else 0)
    failure = None
    if disk is None:
        failure = f"disk '{key}' does not exist"
    elif disk.is_cdrom:
        failure = "you can't resize a cdrom"
    elif size < disk.size:
        failure = "shrinking disks is not supported"
    elif size > STORAGES[disk.storage].total:
        failure = f"command 'resize {disk.volid} {size // GIB}G' failed: got timeout"

    def write(tape: Tape) -> None:
        if disk and size > disk.size and not guest.is_running:
            tape.say("Image resized.")

    def done(_at: float) -> None:
        value = str(guest.config[key])
        guest.config[key] = value.replace(
            f"size={format_size(disk.size if disk else 0)}", f"size={format_size(size)}"
        )

    return change(call, guest, "resize", write, done=done, failure=failure)


@guest_route("POST", "/template", protected=True, check=_allocate, params={"disk": Param(schema.string())})
def template(call: Call, guest: Guest) -> str | None:
    if guest.is_template:
        raise refuse(
            f"you can't convert a template to a {'template' if guest.kind == 'qemu' else 'CT template'}"
        )
    if guest.is_running:
        raise refuse(
            f"you can't convert a {'VM' if guest.kind == 'qemu' else 'CT'} to template if VM is running"
        )

    def done(_at: float) -> None:
        guest.config["template"] = 1
        for disk in guest.disks():
            guest.config[disk.key] = str(guest.config[disk.key]).replace(
                f"vm-{guest.vmid}-disk", f"base-{guest.vmid}-disk"
            )

    upid = change(call, guest, f"{prefix(guest)}template", lambda tape: None, done=done, seconds=1.0)
    return upid if guest.kind == "qemu" else None


@guest_route(
    "DELETE",
    "",
    protected=True,
    check=_allocate,
    params=SKIPLOCK
    | {
        "purge": Param(schema.boolean),
        "force": Param(schema.boolean),
        "destroy-unreferenced-disks": Param(schema.boolean),
    },
)
def destroy(call: Call, guest: Guest) -> Reply:
    cluster, label = call.cluster, "VM" if guest.kind == "qemu" else "CT"
    if call.params.get("skiplock") and not call.who.is_root:
        raise invalid(skiplock="Only root may use this option.")
    if guest.config.get("protection"):
        raise refuse(f"can't remove {label} {guest.vmid} - protection mode enabled")
    if guest.is_running:
        raise refuse(f"{label} {guest.vmid} is running - destroy failed")

    def write(tape: Tape) -> str | None:
        base = next((disk for disk in guest.disks() if _has_linked_clones(cluster, guest, disk.volume)), None)
        if base is not None:
            return f"base volume '{base.volid}' is still in use by linked cloned"
        if call.params.get("purge"):
            tape.say(f"purging {label} {guest.vmid} from related configurations..")
        for disk in guest.disks():
            if STORAGES[disk.storage].plugin == "lvmthin":
                tape.say(f'  Logical volume "{disk.volume.split("/")[-1]}" successfully removed.', wait=0.2)
        return None

    def done(_at: float) -> None:
        cluster.remove(guest.vmid)

    kind = f"{prefix(guest)}destroy"
    ignore = bool(call.params.get("skiplock"))
    return Reply(change(call, guest, kind, write, done=done, ignore_lock=ignore, seconds=0.8))


def _has_linked_clones(cluster: Cluster, template: Guest, volume: str) -> bool:
    return template.is_template and any(
        disk.volume.startswith(f"{volume}/")
        for guest in cluster.guests.values()
        if guest is not template
        for disk in guest.disks()
    )
