"""Changing a configuration: PUT at once, POST as a task, with Proxmox's rights and formats per key."""

import re
from collections.abc import Callable
from typing import Any

from demo.proxmox import schema
from demo.proxmox.api import ApiError, Call, forbid, invalid, needs, refuse
from demo.proxmox.guestcalls import guest_route
from demo.proxmox.guests import GIB, Guest, format_size
from demo.proxmox.schema import Param, Parser
from demo.proxmox.scripts import quick_script
from demo.proxmox.storages import STORAGES, name_volume

_CONFIG_RIGHTS = tuple(
    f"VM.Config.{part}"
    for part in ["Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit"]
)
_any_config = needs("/vms/{vmid}", *_CONFIG_RIGHTS, every=False)

# key pattern → (what judges the value, the privilege it needs)
_KEYS: tuple[tuple[str, Parser, str], ...] = (
    (r"name", schema.dns_name, "Options"),
    (r"description", schema.string(8192), "Options"),
    (r"tags", schema.tags, "Options"),
    (r"agent|boot|bios|ostype|hotplug|hookscript|vga|machine|tablet|localtime", schema.string(), "Options"),
    (r"protection|onboot|template|acpi|kvm", schema.boolean, "Options"),
    (r"startup", schema.string(), "Options"),
    (r"cores|sockets|vcpus", schema.integer(1), "CPU"),
    (r"cpu|cpulimit|affinity", schema.string(), "CPU"),
    (r"cpuunits", schema.integer(1), "CPU"),
    (r"memory", schema.memory, "Memory"),
    (r"balloon|shares", schema.integer(0), "Memory"),
    (r"net\d+", schema.string(), "Network"),
    (r"ipconfig\d+", schema.ipconfig("ipconfig0"), "Cloudinit"),
    (r"nameserver|searchdomain|ciuser|cipassword|citype|cicustom", schema.string(), "Cloudinit"),
    (r"sshkeys", schema.urlencoded, "Cloudinit"),
    (r"(?:scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+|scsihw", schema.string(), "Disk"),
    (r"serial\d+|usb\d+|hostpci\d+|args", schema.string(), "HWType"),
)
_CT_KEYS: tuple[tuple[str, Parser, str], ...] = (
    (r"hostname", schema.dns_name, "Options"),
    (r"description", schema.string(8192), "Options"),
    (r"tags", schema.tags, "Options"),
    (r"protection|onboot|template|console", schema.boolean, "Options"),
    (r"startup|features|arch|ostype|timezone", schema.string(), "Options"),
    (r"cores|cpuunits", schema.integer(1), "CPU"),
    (r"cpulimit", schema.string(), "CPU"),
    (r"memory", schema.integer(16), "Memory"),
    (r"swap", schema.integer(0), "Memory"),
    (r"net\d+", schema.string(), "Network"),
    (r"nameserver|searchdomain", schema.string(), "Network"),
    (r"rootfs|mp\d+|unused\d+", schema.string(), "Disk"),
)
_BOOLEANS = ("protection", "onboot", "template", "acpi", "kvm", "console")


def _rule(name: str, kind: str) -> tuple[Parser, str] | None:
    for expression, parser, right in _KEYS if kind == "qemu" else _CT_KEYS:
        if re.fullmatch(expression, name):
            return parser, right
    return None


def allow_config(kind: str) -> Callable[[str], Parser | None]:
    def allow(name: str) -> Parser | None:
        rule = _rule(name, kind)
        return rule[0] if rule else None

    return allow


_COMMON = {
    "delete": Param(schema.string()),
    "digest": Param(schema.string(64)),
    "skiplock": Param(schema.boolean),
    "revert": Param(schema.string()),
    "background_delay": Param(schema.integer(1, 30)),
}


@guest_route(
    "PUT",
    "/config",
    kinds=("qemu",),
    protected=True,
    check=_any_config,
    params=_COMMON,
    allow=allow_config("qemu"),
)
def put_machine(call: Call, guest: Guest) -> None:
    apply_config(call, guest)


@guest_route(
    "PUT",
    "/config",
    kinds=("lxc",),
    protected=True,
    check=_any_config,
    params=_COMMON,
    allow=allow_config("lxc"),
)
def put_container(call: Call, guest: Guest) -> None:
    apply_config(call, guest)


@guest_route(
    "POST",
    "/config",
    kinds=("qemu",),
    protected=True,
    check=_any_config,
    params=_COMMON,
    allow=allow_config("qemu"),
)
def post_machine(call: Call, guest: Guest) -> str:
    """A task whose log repeats the values."""
    text = " ".join(f"-{key} {value}" for key, value in sorted(call.params.items()))
    apply_config(call, guest)
    return call.cluster.start_task(
        type="qmconfig",
        id=str(guest.vmid),
        user=call.who.authid,
        node=call.node,
        build=quick_script(f"update VM {guest.vmid}: {text}", seconds=0.1),
    ).name


def apply_config(call: Call, guest: Guest) -> None:
    """All or nothing: rights and values of every key first, then the change."""
    given = dict(call.params)
    delete = [key for key in re.split(r"[,; ]+", given.pop("delete", "")) if key]
    skiplock = given.pop("skiplock", False)
    if skiplock and not call.who.is_root:
        raise invalid(skiplock="Only root may use this option.")
    digest = given.pop("digest", None)
    for name in ("revert", "background_delay"):
        given.pop(name, None)
    for key in (*given, *delete):
        _require_right(call, guest, key, str(given.get(key, "")))
    if guest.lock and not skiplock:
        raise refuse(f"{'VM' if guest.kind == 'qemu' else 'CT'} is locked ({guest.lock})")
    if digest and digest != guest.digest():
        raise refuse("checksum mismatch (file change by other user?)")
    if "sshkeys" in given and not schema.is_public_key(given["sshkeys"]):
        raise refuse("SSH public key validation error")
    for key in delete:
        _delete_key(guest, key)
    for key, value in given.items():
        _set_key(guest, key, value)
    call.cluster.save(guest)


def _require_right(call: Call, guest: Guest, key: str, value: str) -> None:
    path = f"/vms/{guest.vmid}"
    if key == "lock":
        if not call.who.is_root:
            raise ApiError(403, "Permission check failed")
        return
    rule = _rule(key, guest.kind)
    if rule is None:
        raise invalid(delete=f"unknown setting '{key}'")
    if key == "args":
        raise refuse("only root can set 'args' config")
    if key.startswith("hostpci") and not value.startswith("mapping="):
        raise refuse(f"only root can set '{key}' config for non-mapped devices")
    if key.startswith("serial") and value.startswith("/dev/"):
        raise refuse(f"only root can modify '{key}' config for real devices")
    if key in ("onboot", "startup"):
        call.require("/", "Sys.Modify")
    if "media=cdrom" in value and "cloudinit" not in value:
        call.require(path, "VM.Config.CDROM")
        return
    call.require(path, f"VM.Config.{rule[1]}")
    if key.startswith("net") and (match := re.search(r"bridge=(\w+)", value)):
        require_bridge(call, match[1])
    if (
        rule[1] == "Disk"
        and (owner := re.search(r"(?:vm|base)-(\d+)-", value))
        and int(owner[1]) != guest.vmid
    ):
        call.require(f"/vms/{owner[1]}", "VM.Config.Disk")


def require_bridge(call: Call, bridge: str) -> None:
    path = f"/sdn/zones/localnetwork/{bridge}"
    if not call.allowed(path, "SDN.Use"):
        raise forbid(path, "SDN.Use")


def _delete_key(guest: Guest, key: str) -> None:
    guest.pending.pop(key, None)
    value = str(guest.config.pop(key, ""))
    if ":" in value and not key.startswith(("unused", "net")) and "cdrom" not in value and "," in value:
        number = next(n for n in range(256) if f"unused{n}" not in guest.config)
        guest.config[f"unused{number}"] = value.partition(",")[0]


def _set_key(guest: Guest, key: str, value: Any) -> None:
    if key in _BOOLEANS:
        value = int(value)
    if match := re.fullmatch(r"([\w-]+):(\d+)(?:,.*)?", str(value)):
        value = _allocate(guest, match[1], int(match[2]))
    waits = key in ("memory", "cores", "sockets", "cpu", "bios", "machine")
    if guest.is_running and waits:
        guest.pending[key] = value
    else:
        guest.config[key] = value


def _allocate(guest: Guest, storage: str, gigabytes: int) -> str:
    """`local-lvm:8` is a new disk of 8 GiB."""
    if storage not in STORAGES:
        raise refuse(f"storage '{storage}' does not exist")
    number = sum("-disk-" in str(value) for value in guest.config.values())
    volume = name_volume(STORAGES[storage], guest.vmid, number, form="raw", container=guest.kind == "lxc")
    return f"{storage}:{volume},size={format_size(gigabytes * GIB)}"
