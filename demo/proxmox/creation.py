"""New guests: empty machines and containers from a template."""

from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import ApiError, Call, refuse, route
from demo.proxmox.cluster import Cluster
from demo.proxmox.configcalls import allow_config, require_bridge
from demo.proxmox.guests import GIB, Guest, format_size
from demo.proxmox.inventory import CONTAINER_TEMPLATES, make_mac
from demo.proxmox.schema import Param
from demo.proxmox.scripts import MIB, Tape, error_script, quick_script
from demo.proxmox.storages import STORAGES, describe_allocation, name_volume
from demo.proxmox.tasks import Script


def _may_allocate(call: Call, vmid: int) -> None:
    pool = call.params.get("pool")
    if not call.allowed(f"/pool/{pool}" if pool else f"/vms/{vmid}", "VM.Allocate"):
        raise ApiError(403, "Permission check failed")


@route(
    "POST",
    "/nodes/{node}/qemu",
    protected=True,
    params={
        "vmid": Param(schema.vmid, required=True),
        "pool": Param(schema.string()),
        "start": Param(schema.boolean),
    },
    allow=allow_config("qemu"),
)
def create_machine(call: Call) -> str:
    cluster, vmid = call.cluster, call.params["vmid"]
    _may_allocate(call, vmid)
    if vmid in cluster.guests:
        raise refuse(
            f"unable to create VM {vmid}: VM {vmid} already exists on node '{cluster.guests[vmid].node}'"
        )
    config = {key: value for key, value in call.params.items() if key not in ("vmid", "pool", "start")}
    guest = Guest(vmid, "qemu", call.node, {"memory": "512", "cores": 1, "lock": "create"} | config)
    return _create(call, guest, "qmcreate", quick_script())


def _create(call: Call, guest: Guest, type: str, build: Script) -> str:
    return start_creation(
        call.cluster,
        guest,
        type,
        build,
        user=call.who.authid,
        pool=call.params.get("pool"),
        start=bool(call.params.get("start")),
    )


def start_creation(
    cluster: Cluster,
    guest: Guest,
    type: str,
    build: Script,
    *,
    user: str,
    pool: str | None = None,
    start: bool = False,
) -> str:
    """The guest exists at once, locked; a failed creation removes it again."""
    guest.born_at = cluster.now()
    cluster.guests[guest.vmid] = guest
    cluster.save(guest)

    def finish(status: str, at: float) -> None:
        if status not in ("OK", "unexpected status") and not status.startswith("WARNINGS"):
            cluster.remove(guest.vmid)
            return
        if status == "unexpected status":
            return
        guest.lock, guest.pool, guest.born_at = None, pool, at
        if start:
            guest.status, guest.started_at = "running", at
        cluster.save(guest)

    return cluster.start_task(
        type=type,
        id=str(guest.vmid),
        user=user,
        node=guest.node,
        build=build,
        on_end=finish,
        locks=((guest.vmid, True),),
    ).name


_CT_ONLY: dict[str, Param] = {
    "vmid": Param(schema.vmid, required=True),
    "ostemplate": Param(schema.string(255), required=True),
    "storage": Param(schema.string()),
    "pool": Param(schema.string()),
    "start": Param(schema.boolean),
    "unprivileged": Param(schema.boolean),
    "password": Param(schema.string(minimum=5)),
    "ssh-public-keys": Param(schema.string()),
    "force": Param(schema.boolean),
    "bwlimit": Param(schema.integer(0)),
}


@route("POST", "/nodes/{node}/lxc", protected=True, params=_CT_ONLY, allow=allow_config("lxc"))
def create_container(call: Call) -> str:
    cluster, params = call.cluster, call.params
    vmid = params["vmid"]
    _may_allocate(call, vmid)
    if vmid in cluster.guests:
        raise refuse(f"CT {vmid} already exists on node '{cluster.guests[vmid].node}'")
    if not params.get("unprivileged", True):
        call.require("/", "Sys.Modify")
    storage, _, size = str(params.get("rootfs", f"{params.get('storage', 'local')}:4")).partition(":")
    if storage not in STORAGES:
        raise refuse(f"storage '{storage}' does not exist")
    call.require(f"/storage/{storage}", "Datastore.AllocateSpace")
    net = str(params.get("net0", ""))
    if "bridge=" in net:
        require_bridge(call, net.partition("bridge=")[2].partition(",")[0])
    gigabytes = int(size) if size.isdigit() else 4
    config = {key: value for key, value in params.items() if key not in _CT_ONLY}
    guest = make_container(cluster, vmid, call.node, storage, gigabytes, config)
    build = write_creation(Tape(cluster.now(), cluster.scale), guest, params["ostemplate"])
    return _create(call, guest, "vzcreate", build)


def make_container(
    cluster: Cluster, vmid: int, node: str, storage: str, gigabytes: int, config: dict[str, Any]
) -> Guest:
    volume = name_volume(STORAGES[storage], vmid, 0, container=True)
    base: dict[str, Any] = {
        "hostname": f"CT{vmid}",
        "arch": "amd64",
        "memory": 512,
        "swap": 512,
        "ostype": "debian",
    }
    config = base | {"unprivileged": 1} | config
    if "net0" in config and "hwaddr" not in str(config["net0"]):
        config["net0"] = f"{config['net0']},hwaddr={make_mac(cluster.rng)},type=veth"
    config["rootfs"] = f"{storage}:{volume},size={format_size(gigabytes * GIB)}"
    config["lock"] = "create"
    return Guest(vmid, "lxc", node, config)


def write_creation(tape: Tape, guest: Guest, template: str) -> Script:
    """No percentage anywhere: a file system, an archive unpacked, SSH keys."""
    sizes = dict(CONTAINER_TEMPLATES)
    name = template.rsplit("/", 1)[-1]
    if name not in sizes:
        missing = f"volume '{template}' does not exist"
        return error_script(f"unable to create CT {guest.vmid} - {missing}", missing)
    disk = guest.disks()[0]
    tape.at += 0.3
    tape.say(*describe_allocation(STORAGES[disk.storage], disk.volume, disk.size), wait=0.5)
    blocks = disk.size // 4096
    tape.say(f"Creating filesystem with {blocks} 4k blocks and {blocks // 4} inodes")
    tape.say("Filesystem UUID: 265f8e8a-5d17-4c3e-b4c6-4183d6033a6c", "Superblock backups stored on blocks: ")
    tape.say("\t32768, 98304, 163840, 229376, 294912, 819200, 884736", wait=1.0)
    tape.say(f"extracting archive '/var/lib/vz/template/cache/{name}'", wait=6.0)
    tape.say(f"Total bytes read: {sizes[name] * 4} ({sizes[name] * 4 // MIB}MiB, 84MiB/s)", wait=0.4)
    tape.say("Detected container architecture: amd64")
    for kind in ("rsa", "ed25519", "ecdsa"):
        tape.say(f"Creating SSH host key 'ssh_host_{kind}_key' - this may take some time ...", wait=0.8)
        tape.say("done: SHA256:mzoa/X9bmpLOhUGftdFJVDL+W/UXY6PIb2vFfrb5BHw root@" + guest.name)
    return tape.script(stop_end=f"unable to create CT {guest.vmid} - interrupted by signal")
