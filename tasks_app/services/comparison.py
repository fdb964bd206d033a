"""What a new guest has, compared with what was ordered: differences in words, and the disk that must grow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.models import Machine
from tasks_app.services.guest_settings import differences
from tasks_app.services.steps import settings_of
from tasks_app.sources.proxmox import ProxmoxSource, disk_sizes
from tasks_app.sources.proxmox.inventory import GuestKind

GIB = 1 << 30
_SHOWN_CHARACTERS = 80
_LABELS = {
    "name": "name",
    "hostname": "name",
    "cores": "cores",
    "memory": "memory (MiB)",
    "tags": "tags",
    "description": "description",
    "protection": "protection",
    "ciuser": "cloud-init user",
    "sshkeys": "SSH keys",
    "ipconfig0": "address",
    "net0": "network card",
    "sockets": "sockets",
}
_FIXED_DISKS = ("efidisk", "tpmstate")
_HIDDEN = frozenset({"sshkeys", "description"})  # long, and nobody compares them by eye


@dataclass(frozen=True, slots=True)
class Seen:
    """`small_disk` is the key of the disk that is smaller than ordered, "" when none is."""

    differences: list[str]
    small_disk: str = ""


def compare(machine: Machine, client: ProxmoxSource) -> Seen:
    """Read the guest's configuration. Raises SourceError."""
    assert machine.vmid is not None
    kind: GuestKind = "qemu" if machine.kind == "qemu" else "lxc"
    config = client.fetch_guest_config(kind, machine.node, machine.vmid)
    wanted = settings_of(machine)
    found = [_sentence(name, config) for name in differences(machine.kind, wanted, config)]
    disk = _small_disk(machine, config)
    if disk:
        has = disk_sizes(config).get(disk, 0) / GIB
        found.append(f"Disk {disk} has {has:g} GiB, ordered are {machine.grow_disk_gb} GiB.")
    return Seen(found, disk)


def _sentence(name: str, config: Mapping[str, Any]) -> str:
    label, has = _LABELS.get(name, name), str(config.get(name, ""))[:_SHOWN_CHARACTERS]
    if name in _HIDDEN:
        return f"The {label} is not as ordered."
    return f"The {label} is not as ordered: the guest has {f'“{has}”' if has else 'none'}."


def _small_disk(machine: Machine, config: Mapping[str, Any]) -> str:
    if not machine.grow_disk_gb:
        return ""
    sizes = {key: size for key, size in disk_sizes(config).items() if not key.startswith(_FIXED_DISKS)}
    key = machine.item.disk_key if machine.item and machine.item.disk_key else min(sizes, default="")
    return key if key and sizes.get(key, 0) < machine.grow_disk_gb * GIB else ""
