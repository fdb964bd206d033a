"""The calls that read one guest: lists, state, configuration, snapshots, agent."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import Call, Check, needs, nothing_else, refuse, route
from demo.proxmox.guests import Guest, describe_current, describe_listed
from demo.proxmox.schema import Param, Parser
from demo.proxmox.storages import STORAGES

AGENT_TIMEOUT_SECONDS = 3.0
# After its start a machine's agent answers, and a container has its address, that much later.
BOOT_SECONDS = 8.0
LEASE_SECONDS = 2.0
AGENT_RIGHTS = ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")

GuestHandler = Callable[[Call, Guest], Any]


def find_guest(call: Call, kind: str) -> Guest:
    guest = call.cluster.guests.get(call.vmid)
    if guest is None or guest.kind != kind or guest.node != call.node:
        folder = "qemu-server" if kind == "qemu" else "lxc"
        raise refuse(f"Configuration file 'nodes/{call.node}/{folder}/{call.vmid}.conf' does not exist")
    return guest


def guest_route(
    method: str,
    suffix: str,
    *,
    kinds: tuple[str, ...] = ("qemu", "lxc"),
    protected: bool = False,
    check: Check | None = None,
    params: Mapping[str, Param] | None = None,
    allow: Callable[[str], Parser | None] = nothing_else,
) -> Callable[[GuestHandler], GuestHandler]:
    """Declare a call below `/nodes/{node}/<kind>/{vmid}` whose handler gets the guest, too."""

    def register(handler: GuestHandler) -> GuestHandler:
        for kind in kinds:

            def handle(call: Call, kind: str = kind) -> Any:
                return handler(call, find_guest(call, kind))

            route(
                method,
                f"/nodes/{{node}}/{kind}/{{vmid}}{suffix}",
                protected=protected,
                check=check,
                params=params,
                allow=allow,
            )(handle)
        return handler

    return register


audit = needs("/vms/{vmid}", "VM.Audit")


def _list_guests(call: Call, kind: str) -> list[dict[str, Any]]:
    return [
        describe_listed(guest, call.now)
        for guest in call.cluster.guests.values()
        if guest.kind == kind and guest.node == call.node and call.allowed(f"/vms/{guest.vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/qemu", protected=True, params={"full": Param(schema.boolean)})
def machines(call: Call) -> list[dict[str, Any]]:
    return _list_guests(call, "qemu")


@route("GET", "/nodes/{node}/lxc", protected=True)
def containers(call: Call) -> list[dict[str, Any]]:
    return _list_guests(call, "lxc")


@guest_route("GET", "/status/current", protected=True, check=audit)
def current(call: Call, guest: Guest) -> dict[str, Any]:
    return describe_current(guest, call.now)


@guest_route(
    "GET",
    "/config",
    check=audit,
    params={"current": Param(schema.boolean), "snapshot": Param(schema.string())},
)
def config(call: Call, guest: Guest) -> dict[str, Any]:
    """Pending values unless `current`; a password is never told."""
    if name := call.params.get("snapshot"):
        return dict(find_snapshot(guest, name)["config"]) | {"digest": guest.digest()}
    shown = dict(guest.config)
    if not call.params.get("current"):
        shown |= guest.pending
    if "cipassword" in shown:
        shown["cipassword"] = "*" * 10
    return shown | {"digest": guest.digest()}


@guest_route("GET", "/pending", check=audit)
def pending(call: Call, guest: Guest) -> list[dict[str, Any]]:
    rows = []
    for key in sorted(guest.config.keys() | guest.pending.keys()):
        row: dict[str, Any] = {"key": key}
        if key in guest.config:
            row["value"] = guest.config[key] if key != "cipassword" else "*" * 10
        if key in guest.pending:
            row["pending"] = guest.pending[key]
        rows.append(row)
    return [*rows, {"key": "digest", "value": guest.digest()}]


def find_snapshot(guest: Guest, name: str) -> dict[str, Any]:
    for snapshot in guest.snapshots:
        if snapshot["name"] == name:
            return snapshot
    raise refuse(f"snapshot '{name}' does not exist")


@guest_route("GET", "/snapshot", protected=True, check=audit)
def snapshots(call: Call, guest: Guest) -> list[dict[str, Any]]:
    rows = [{key: value for key, value in row.items() if key != "config"} for row in guest.snapshots]
    now: dict[str, Any] = {
        "name": "current",
        "description": "You are here!",
        "running": int(guest.is_running),
        "digest": guest.digest(),
    }
    if parent := guest.config.get("parent"):
        now["parent"] = parent
    return [*rows, now]


@guest_route("GET", "/snapshot/{snapname}/config", check=audit)
def snapshot_config(call: Call, guest: Guest) -> dict[str, Any]:
    row = find_snapshot(guest, call.path["snapname"])
    return dict(row["config"]) | {"snaptime": row["snaptime"], "description": row["description"]}


@guest_route(
    "GET",
    "/feature",
    protected=True,
    check=audit,
    params={
        "feature": Param(schema.choice("snapshot", "clone", "copy"), required=True),
        "snapname": Param(schema.string()),
    },
)
def feature(call: Call, guest: Guest) -> dict[str, Any]:
    has = guest.is_template if call.params["feature"] == "clone" else can_snapshot(guest)
    nodes = list(call.cluster.nodes) if has and is_shared(guest) else [guest.node]
    return {"hasFeature": int(has or call.params["feature"] == "copy"), "nodes": nodes}


def can_snapshot(guest: Guest) -> bool:
    """Raw files have no snapshots; qcow2, LVM-thin and Ceph do."""
    return not any(
        STORAGES[disk.storage].is_file_based and not disk.volume.endswith(".qcow2")
        for disk in guest.disks()
        if disk.storage in STORAGES
    )


def is_shared(guest: Guest) -> bool:
    return all(STORAGES[disk.storage].shared for disk in guest.disks() if disk.storage in STORAGES)


@guest_route(
    "GET",
    "/rrddata",
    protected=True,
    check=audit,
    params={"timeframe": Param(schema.string()), "cf": Param(schema.string())},
)
def rrddata(call: Call, guest: Guest) -> list[dict[str, Any]]:
    last = int(call.now) // 60 * 60
    return [{"time": at} for at in range(last - 70 * 60, last, 60)]


@guest_route("GET", "/interfaces", kinds=("lxc",), protected=True, check=audit)
def interfaces(call: Call, guest: Guest) -> list[dict[str, Any]] | None:
    if not guest.is_running:
        return None
    lo = {"name": "lo", "hwaddr": "00:00:00:00:00:00", "inet": "127.0.0.1/8", "inet6": "::1/128"}
    eth = {"name": "eth0", "hwaddr": _mac(guest)}
    if call.now - guest.started_at >= LEASE_SECONDS * call.cluster.scale:
        address, prefix = _address(guest, "net0")
        eth["inet"] = f"{address}/{prefix}"
    return [lo, eth]


def _address(guest: Guest, key: str) -> tuple[str, int]:
    """The fixed address with its prefix that `key` of the configuration has, else one that DHCP would give."""
    options = dict(part.partition("=")[::2] for part in str(guest.config.get(key, "")).split(","))
    address, _, prefix = options.get("ip", "").partition("/")
    if prefix.isdigit():
        return address, int(prefix)
    return f"10.20.{100 + guest.vmid // 250 % 100}.{guest.vmid % 250 + 2}", 16


def _mac(guest: Guest) -> str:
    net = str(guest.config.get("net0", ""))
    parts = net.replace("hwaddr=", "virtio=").partition("virtio=")[2]
    return parts.partition(",")[0].lower()


def _require_agent(call: Call, guest: Guest) -> None:
    if not guest.is_running:
        raise refuse(f"VM {guest.vmid} is not running")
    if str(guest.config.get("agent", "0")).removeprefix("enabled=")[:1] != "1":
        raise refuse("No QEMU guest agent configured")
    booting = call.now - guest.started_at < BOOT_SECONDS * call.cluster.scale
    if booting or not guest.agent_answers:
        raise refuse("QEMU guest agent is not running", delay=AGENT_TIMEOUT_SECONDS * call.cluster.scale)


_agent = needs("/vms/{vmid}", *AGENT_RIGHTS, every=False)


@guest_route("GET", "/agent/network-get-interfaces", kinds=("qemu",), protected=True, check=_agent)
def agent_interfaces(call: Call, guest: Guest) -> dict[str, Any]:
    _require_agent(call, guest)
    ip, prefix = _address(guest, "ipconfig0")
    address = {"ip-address": ip, "ip-address-type": "ipv4", "prefix": prefix}
    local = {"ip-address": "fe80::be24:11ff:fe00:1", "ip-address-type": "ipv6", "prefix": 64}
    return {
        "result": [
            {
                "name": "lo",
                "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}],
            },
            {"name": "eth0", "hardware-address": _mac(guest), "ip-addresses": [address, local]},
        ]
    }


@guest_route("GET", "/agent/get-osinfo", kinds=("qemu",), protected=True, check=_agent)
def agent_osinfo(call: Call, guest: Guest) -> dict[str, Any]:
    _require_agent(call, guest)
    return {
        "result": {"id": "debian", "name": "Debian GNU/Linux", "pretty-name": "Debian GNU/Linux 13 (trixie)"}
    }


@guest_route("POST", "/agent/ping", kinds=("qemu",), protected=True, check=_agent)
def agent_ping(call: Call, guest: Guest) -> dict[str, Any]:
    _require_agent(call, guest)
    return {"result": {}}


@guest_route(
    "GET",
    "/cloudinit/dump",
    kinds=("qemu",),
    check=audit,
    params={"type": Param(schema.choice("user", "network", "meta"), required=True)},
)
def cloudinit(call: Call, guest: Guest) -> str:
    if call.params["type"] != "user":
        return json.dumps({"version": 1})
    user = guest.config.get("ciuser", "root")
    return f"#cloud-config\nhostname: {guest.name}\nmanage_etc_hosts: true\nuser: {user}\n"
