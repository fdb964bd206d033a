"""The calls about storages and what lies on them; deleting and downloading are tasks."""

from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import Call, refuse, route
from demo.proxmox.inventory import CONTAINER_TEMPLATES, ISOS
from demo.proxmox.schema import Invalid, Param
from demo.proxmox.scripts import MIB, Tape, error_script, quick_script, say_download
from demo.proxmox.storages import STORAGES, Storage, used_bytes
from demo.proxmox.tasks import Script


def find_storage(name: str) -> Storage:
    if name not in STORAGES:
        raise refuse(f"storage '{name}' does not exist")
    return STORAGES[name]


@route("GET", "/storage", params={"type": Param(schema.string())})
def storages(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "storage": storage.name,
            "type": storage.plugin,
            "content": storage.content,
            "shared": int(storage.shared),
        }
        for storage in STORAGES.values()
        if call.allowed(f"/storage/{storage.name}", "Datastore.Audit")
    ]


@route(
    "GET",
    "/nodes/{node}/storage",
    protected=True,
    params={
        "content": Param(schema.string()),
        "enabled": Param(schema.boolean),
        "storage": Param(schema.string()),
        "format": Param(schema.boolean),
        "target": Param(schema.string()),
    },
)
def node_storages(call: Call) -> list[dict[str, Any]]:
    wanted = call.params.get("content")
    return [
        {"storage": storage.name} | _storage_figures(storage, call.node)
        for storage in STORAGES.values()
        if call.allowed(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", every=False)
        and (wanted is None or wanted in storage.content.split(","))
        and call.params.get("storage") in (None, storage.name)
    ]


def _storage_figures(storage: Storage, node: str) -> dict[str, Any]:
    used = used_bytes(storage, node)
    return {
        "type": storage.plugin,
        "content": storage.content,
        "shared": int(storage.shared),
        "enabled": 1,
        "active": 1,
        "total": storage.total,
        "used": used,
        "avail": storage.total - used,
        "used_fraction": used / storage.total,
    }


@route("GET", "/nodes/{node}/storage/{storage}/status", protected=True)
def storage_status(call: Call) -> dict[str, Any]:
    storage = find_storage(call.path["storage"])
    call.require(f"/storage/{storage.name}", "Datastore.Audit")
    figures = _storage_figures(storage, call.node)
    del figures["used_fraction"]
    return figures


def _content_list(text: str) -> list[str]:
    for name in text.split(","):
        if name not in ("images", "rootdir", "backup", "iso", "vztmpl", "snippets", "import"):
            raise Invalid(f"invalid format - invalid content type '{name}'\n")
    return text.split(",")


@route(
    "GET",
    "/nodes/{node}/storage/{storage}/content",
    protected=True,
    params={"content": Param(_content_list), "vmid": Param(schema.vmid)},
)
def storage_content(call: Call) -> list[dict[str, Any]]:
    """Disks show only where the asker may configure or back up their guest."""
    storage = find_storage(call.path["storage"])
    call.require(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", every=False)
    wanted, vmid = call.params.get("content"), call.params.get("vmid")
    rows = [row for row in _volumes(call, storage) if wanted is None or row["content"] in wanted]
    return [row for row in rows if vmid is None or row.get("vmid") == vmid]


def _volumes(call: Call, storage: Storage) -> list[dict[str, Any]]:
    cluster = call.cluster
    rows: list[dict[str, Any]] = []
    for guest in cluster.guests.values():
        if not storage.shared and guest.node != call.node:
            continue
        if not call.allowed(f"/vms/{guest.vmid}", "VM.Config.Disk", "VM.Backup", every=False):
            continue
        for disk in guest.disks(cdroms=True):
            if disk.storage != storage.name or "/iso/" in disk.volume or (guest.lock == "clone"):
                continue
            rows.append(
                {
                    "volid": disk.volid,
                    "vmid": guest.vmid,
                    "content": "rootdir" if guest.kind == "lxc" else "images",
                    "format": "qcow2" if disk.volume.endswith("qcow2") else "raw",
                    "size": disk.size or 4 * 1024**2,
                    "used": int((disk.size or 4 * 1024**2) * 0.3),
                    "ctime": int(guest.born_at),
                    "parent": None,
                }
            )
    for volume in [*cluster.orphans, *cluster.backups]:
        if volume["storage"] != storage.name or (not storage.shared and volume["node"] != call.node):
            continue
        if call.allowed(f"/vms/{volume['vmid']}", "VM.Config.Disk", "VM.Backup", every=False) and (
            volume["content"] != "backup" or call.allowed(f"/vms/{volume['vmid']}", "VM.Backup")
        ):
            rows.append({key: value for key, value in volume.items() if key not in ("storage", "node")})
    ctime = int(cluster.boot)
    for files, content, form in ((CONTAINER_TEMPLATES, "vztmpl", "t"), (ISOS, "iso", "iso")):
        if content in storage.content.split(","):
            rows += [
                {
                    "volid": f"{storage.name}:{content}/{name}",
                    "content": content,
                    "format": form + name.rsplit(".", 1)[1] if form == "t" else form,
                    "size": size,
                    "ctime": ctime,
                }
                for name, size in files
            ]
    return rows


@route(
    "DELETE",
    "/nodes/{node}/storage/{storage}/content/{volume}",
    protected=True,
    params={"delay": Param(schema.integer(1, 30))},
)
def delete_volume(call: Call) -> str:
    """A backup; the id of the task is `vmid@storage`."""
    cluster, storage = call.cluster, find_storage(call.path["storage"])
    volid = call.path["volume"] if ":" in call.path["volume"] else f"{storage.name}:{call.path['volume']}"
    volume = next((row for row in [*cluster.backups, *cluster.orphans] if row["volid"] == volid), None)
    owner = str(volume["vmid"]) if volume else ""
    if volume and not call.allowed(f"/storage/{storage.name}", "Datastore.Allocate"):
        call.require(f"/storage/{storage.name}", "Datastore.AllocateSpace")
        call.require(f"/vms/{owner}", "VM.Backup")
    elif not volume:
        call.require(f"/storage/{storage.name}", "Datastore.Allocate")
    build = (
        quick_script(f"Removed volume '{volid}'")
        if volume
        else error_script(f"volume '{volid}' does not exist")
    )

    def remove(status: str, _at: float) -> None:
        if status == "OK":
            cluster.backups = [row for row in cluster.backups if row["volid"] != volid]
            cluster.orphans = [row for row in cluster.orphans if row["volid"] != volid]
            cluster.save_volumes()

    name = f"{owner}@{storage.name}" if owner else storage.name
    return cluster.start_task(
        type="imgdel", id=name, user=call.who.authid, node=call.node, build=build, on_end=remove
    ).name


@route(
    "POST",
    "/nodes/{node}/storage/{storage}/download-url",
    protected=True,
    params={
        "content": Param(schema.choice("iso", "vztmpl", "import"), required=True),
        "filename": Param(schema.string(255), required=True),
        "url": Param(schema.pattern(r"https?://\S+"), required=True),
        "checksum": Param(schema.string()),
        "checksum-algorithm": Param(schema.string()),
        "verify-certificates": Param(schema.boolean),
    },
)
def download(call: Call) -> str:
    storage = find_storage(call.path["storage"])
    call.require(f"/storage/{storage.name}", "Datastore.AllocateTemplate")
    folder = "iso" if call.params["content"] == "iso" else "cache"
    path = f"{storage.path}/template/{folder}/{call.params['filename']}"

    def build(tape: Tape) -> Script:
        say_download(tape, call.params["url"], path, 700 * MIB, 55 * MIB)
        return tape.script(stop_end="download failed: got interrupted by signal")

    return call.cluster.start_task(
        type="download", id=call.params["filename"], user=call.who.authid, node=call.node, build=build
    ).name
