"""The calls about the cluster, its nodes, pools, storages and rights."""

from typing import Any

from demo.proxmox import schema
from demo.proxmox.access import ROLES, Identity
from demo.proxmox.api import ApiError, Call, invalid, refuse, route
from demo.proxmox.cluster import LOCAL_NODE
from demo.proxmox.guests import GIB, describe_resource
from demo.proxmox.inventory import NODES, POOLS, Node
from demo.proxmox.schema import Param
from demo.proxmox.storages import STORAGES, used_bytes

VERSION = {"version": "9.2.11", "release": "9.2", "repoid": "14a22df3"}
FAILED_LOGIN_SECONDS = 3.0
_ROOT_DISK = 94 * GIB


@route("GET", "/")
def index(call: Call) -> list[dict[str, str]]:
    return [{"subdir": name} for name in ("version", "cluster", "nodes", "storage", "access", "pools")]


@route("GET", "/version")
def version(call: Call) -> dict[str, str]:
    return VERSION


# access


@route("GET", "/access/domains", public=True)
def domains(call: Call) -> list[dict[str, str]]:
    return [
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
    ]


@route(
    "POST",
    "/access/ticket",
    public=True,
    protected=True,
    params={
        "username": Param(schema.string(), required=True),
        "password": Param(schema.string(), required=True),
        "realm": Param(schema.string()),
        "new-format": Param(schema.boolean),
    },
)
def ticket(call: Call) -> dict[str, Any]:
    user = call.params["username"]
    if realm := call.params.get("realm"):
        user = f"{user}@{realm}"
    access = call.cluster.access
    if not access.check_password(user, call.params["password"], call.now):
        raise ApiError(401, "authentication failure", delay=FAILED_LOGIN_SECONDS * call.cluster.scale)
    who = Identity(user)
    return {
        "username": user,
        "ticket": access.make_ticket(user, call.now),
        "CSRFPreventionToken": access.make_csrf(user, call.now),
        "cap": {
            area: dict.fromkeys(sorted(p for p in access.privileges(who, path) if p.startswith(prefixes)), 1)
            for area, path, prefixes in (
                ("vms", "/vms", ("VM.", "Permissions.")),
                ("storage", "/storage", ("Datastore.", "Permissions.")),
                ("nodes", "/nodes", ("Sys.", "Permissions.")),
                ("access", "/access", ("User.", "Group.", "Permissions.")),
                ("dc", "/", ("SDN.", "Sys.Audit", "Sys.Modify")),
                ("sdn", "/sdn", ("SDN.", "Permissions.")),
                ("mapping", "/", ("Mapping.", "Permissions.")),
            )
        },
    }


@route(
    "GET",
    "/access/permissions",
    params={"path": Param(schema.string()), "userid": Param(schema.string())},
)
def permissions(call: Call) -> dict[str, dict[str, int]]:
    path = call.params.get("path")
    members = [guest.vmid for guest in call.cluster.guests.values() if guest.pool]
    return call.cluster.access.tree(call.who, (path,) if path else (), members=members)


@route("GET", "/access/roles")
def roles(call: Call) -> list[dict[str, Any]]:
    return [
        {"roleid": name, "privs": ",".join(sorted(privs)), "special": int(not name.startswith("Portal"))}
        for name, privs in ROLES.items()
    ]


@route("GET", "/access/acl")
def access_lists(call: Call) -> list[dict[str, Any]]:
    if not call.allowed("/access", "Sys.Audit") and not call.allowed("/", "Permissions.Modify"):
        return []
    return [
        {
            "path": acl.path,
            "ugid": acl.ugid,
            "roleid": acl.role,
            "type": "token" if "!" in acl.ugid else "user",
            "propagate": int(acl.propagate),
        }
        for acl in call.cluster.access.acls
    ]


@route(
    "PUT", "/access/password", params={"userid": Param(schema.string()), "password": Param(schema.string())}
)
def password(call: Call) -> None:
    if call.who.token:
        text = "URI '/access/password' not available with API token, need proper ticket.\n"
        raise ApiError(403, f"Permission check failed ({text})")
    call.cluster.access.passwords[call.who.user] = call.params["password"]


# cluster


@route("GET", "/cluster/status", protected=True)
def cluster_status(call: Call) -> list[dict[str, Any]]:
    call.require("/", "Sys.Audit")
    rows: list[dict[str, Any]] = [
        {
            "id": "cluster",
            "type": "cluster",
            "name": "demo",
            "version": 3,
            "nodes": len(NODES),
            "quorate": int(call.cluster.has_quorum()),
        }
    ]
    return rows + [
        {
            "id": f"node/{node.name}",
            "type": "node",
            "name": node.name,
            "nodeid": node.number,
            "ip": node.ip,
            "online": int(call.cluster.is_online(node.name)),
            "local": int(node.name == LOCAL_NODE),
            "level": "",
        }
        for node in NODES.values()
    ]


@route("GET", "/cluster/nextid", params={"vmid": Param(schema.vmid)})
def nextid(call: Call) -> str:
    wanted = call.params.get("vmid")
    if wanted is None:
        return str(call.cluster.next_vmid())
    if wanted in call.cluster.guests:
        raise invalid(vmid=f"VM {wanted} already exists")
    return str(wanted)


@route("GET", "/cluster/options")
def options(call: Call) -> dict[str, Any]:
    return {"mac_prefix": "BC:24:11", "allowed-tags": ["linux", "portal", "template"], "description": ""}


@route("GET", "/cluster/log", params={"max": Param(schema.integer(1))})
def cluster_log(call: Call) -> list[dict[str, Any]]:
    rows = []
    for name, node in call.cluster.nodes.items():
        for number, task in enumerate(node.finished()):
            if number >= call.params.get("max", 50):
                break
            if not (call.allowed("/", "Sys.Syslog") or call.who.owns(task.upid.user)):
                continue
            rows.append(
                {
                    "node": name,
                    "uid": str(number + 1),
                    "id": f"{number + 1}:{name}",
                    "tag": "pvedaemon",
                    "pid": 64,
                    "pri": 6 if task.status == "OK" else 3,
                    "time": int(task.ended or 0),
                    "user": task.upid.user,
                    "msg": f"end task {task.name} {task.status}",
                }
            )
    rows.sort(key=lambda row: -int(str(row["time"])))
    return rows[: call.params.get("max", 50)]


@route("GET", "/cluster/resources", params={"type": Param(schema.choice("vm", "storage", "node", "sdn"))})
def resources(call: Call) -> list[dict[str, Any]]:
    wanted = call.params.get("type")
    rows: list[dict[str, Any]] = []
    if wanted is None:
        rows += [
            {"id": f"/pool/{pool}", "type": "pool", "pool": pool}
            for pool in POOLS
            if call.allowed(f"/pool/{pool}", "Pool.Audit")
        ]
    if wanted in (None, "vm"):
        rows += _guest_rows(call)
    if wanted in (None, "node"):
        rows += [_node_row(call, node) | {"cgroup-mode": 2} for node in NODES.values()]
    if wanted in (None, "storage"):
        rows += _storage_rows(call)
    return rows


def _guest_rows(call: Call, pool: str | None = None) -> list[dict[str, Any]]:
    cluster = call.cluster
    return [
        describe_resource(guest, call.now, cluster.scale, node_online=cluster.is_online(guest.node))
        for guest in sorted(cluster.guests.values(), key=lambda guest: guest.vmid)
        if (pool is None or guest.pool == pool) and call.allowed(f"/vms/{guest.vmid}", "VM.Audit")
    ]


def _node_row(call: Call, node: Node) -> dict[str, Any]:
    online = call.cluster.is_online(node.name)
    row: dict[str, Any] = {
        "id": f"node/{node.name}",
        "node": node.name,
        "type": "node",
        "status": "online" if online else "offline",
        "level": "",
    }
    if online and call.allowed(f"/nodes/{node.name}", "Sys.Audit"):
        busy = 0.06 + 0.03 * len(call.cluster.nodes[node.name].running)
        row |= {
            "cpu": min(0.97, busy),
            "maxcpu": node.cpus,
            "mem": int(node.memory * 0.58),
            "maxmem": node.memory,
            "disk": int(_ROOT_DISK * 0.31),
            "maxdisk": _ROOT_DISK,
            "uptime": int(call.now - call.cluster.boot),
        }
    return row


def _storage_rows(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "id": f"storage/{node}/{storage.name}",
            "type": "storage",
            "storage": storage.name,
            "node": node,
            "plugintype": storage.plugin,
            "content": storage.content,
            "shared": int(storage.shared),
            "status": "available" if call.cluster.is_online(node) else "unknown",
            "disk": used_bytes(storage, node),
            "maxdisk": storage.total,
        }
        for node in NODES
        for storage in STORAGES.values()
        if call.allowed(f"/storage/{storage.name}", "Datastore.Audit")
    ]


# pools


@route(
    "GET",
    "/pools",
    params={"poolid": Param(schema.string()), "type": Param(schema.choice("qemu", "lxc", "storage"))},
)
def pools(call: Call) -> list[dict[str, Any]]:
    """With `poolid` a list of one, which then has members."""
    if poolid := call.params.get("poolid"):
        return [{"poolid": poolid} | _pool(call, poolid, call.params.get("type"))]
    return [
        {"poolid": name, "comment": comment}
        for name, comment in POOLS.items()
        if call.allowed(f"/pool/{name}", "Pool.Audit")
    ]


@route("GET", "/pools/{poolid}")
def pool(call: Call) -> dict[str, Any]:
    return {"poolid": call.path["poolid"]} | _pool(call, call.path["poolid"], None)


def _pool(call: Call, poolid: str, kind: str | None) -> dict[str, Any]:
    if poolid not in POOLS:
        raise refuse(f"pool '{poolid}' does not exist")
    call.require(f"/pool/{poolid}", "Pool.Audit")
    members = [row for row in _guest_rows(call, poolid) if kind in (None, row["type"])]
    for row in members:
        row.pop("pool", None)
        row.pop("tags", None)
    return {"comment": POOLS[poolid], "members": members}


@route(
    "PUT", "/pools", params={"poolid": Param(schema.string(), required=True), "vms": Param(schema.string())}
)
def change_pool(call: Call) -> None:
    poolid = call.params["poolid"]
    call.require(f"/pool/{poolid}", "Pool.Allocate")
    for text in filter(None, call.params.get("vms", "").split(",")):
        guest = call.cluster.guests.get(int(text)) if text.isdigit() else None
        if guest is None:
            raise refuse(f"VM {text} does not exist")
        guest.pool = poolid
        call.cluster.save(guest)


# nodes


@route("GET", "/nodes")
def nodes(call: Call) -> list[dict[str, Any]]:
    rows = []
    for node in NODES.values():
        row = _node_row(call, node)
        if call.cluster.is_online(node.name):
            row["ssl_fingerprint"] = call.cluster.fingerprint
        rows.append(row)
    return rows


@route("GET", "/nodes/{node}")
def node_index(call: Call) -> list[dict[str, str]]:
    names = "lxc qemu status storage tasks version vzdump network capabilities"
    return [{"name": name} for name in names.split()]


@route("GET", "/nodes/{node}/version")
def node_version(call: Call) -> dict[str, str]:
    return VERSION


@route("GET", "/nodes/{node}/status")
def node_status(call: Call) -> dict[str, Any]:
    call.require(f"/nodes/{call.node}", "Sys.Audit")
    node = NODES[call.node]
    used = int(node.memory * 0.58)
    disk = int(_ROOT_DISK * 0.31)
    cpuinfo = {
        "cores": node.cpus // 2,
        "cpus": node.cpus,
        "sockets": 1,
        "model": "AMD EPYC 9354P 32-Core Processor",
        "vendor": "AuthenticAMD",
        "family": "25",
        "mhz": "3249.890",
        "hvm": "1",
        "user_hz": 100,
        "flags": "fpu vme de pse tsc msr",
    }
    kernel = "Linux 6.17.13-1-pve #1 SMP PREEMPT_DYNAMIC PMX 6.17.13-1"
    return {
        "uptime": int(call.now - call.cluster.boot),
        "cpu": _node_row(call, node)["cpu"],
        "wait": 0.002,
        "idle": 0,
        "loadavg": ["1.43", "1.21", "1.12"],
        "cpuinfo": cpuinfo,
        "memory": {
            "total": node.memory,
            "used": used,
            "free": node.memory - used,
            "available": node.memory - used,
        },
        "swap": {"total": 8 * GIB, "used": 0, "free": 8 * GIB},
        "rootfs": {"total": _ROOT_DISK, "used": disk, "free": _ROOT_DISK - disk, "avail": _ROOT_DISK - disk},
        "ksm": {"shared": 0},
        "pveversion": "pve-manager/9.2.11/14a22df3",
        "kversion": kernel,
        "current-kernel": {
            "sysname": "Linux",
            "release": "6.17.13-1-pve",
            "version": kernel.split(" ", 2)[2],
            "machine": "x86_64",
        },
        "boot-info": {"mode": "legacy-bios"},
    }


@route("GET", "/nodes/{node}/network", params={"type": Param(schema.string())})
def network(call: Call) -> list[dict[str, Any]]:
    return [
        {"iface": name, "type": "bridge", "active": 1, "autostart": 1, "bridge_ports": ports}
        for name, ports in (("vmbr0", "bond0"), ("vmbr1", "bond1"))
        if call.allowed(f"/sdn/zones/localnetwork/{name}", "SDN.Use", "SDN.Audit", every=False)
    ]
