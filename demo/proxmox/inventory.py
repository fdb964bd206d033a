"""What stands in the demo cluster on its first day: nodes, guests, templates, pools and people."""

import random
import uuid
from dataclasses import dataclass

from demo.proxmox.guests import GIB, Guest, format_size
from demo.proxmox.storages import STORAGES, name_volume


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    ip: str
    number: int
    cpus: int
    memory: int


NODES = {
    node.name: node
    for node in (
        Node("pve1", "10.20.0.11", 1, 32, 256 * GIB),
        Node("pve2", "10.20.0.12", 2, 32, 256 * GIB),
        Node("pve3", "10.20.0.13", 3, 24, 128 * GIB),
    )
}

POOLS = {
    "portal": "VMs made by the portal",
    "production": "Customer-facing services",
    "staging": "Test systems, may be stopped at any time",
}

# name, node, pool, storage, sizes of its disks (GiB), MiB of memory, running
_MACHINES: tuple[tuple[int, str, str, str | None, str, tuple[int, ...], int, bool], ...] = (
    (100, "gateway", "pve1", "production", "ceph-vm", (16,), 2048, True),
    (101, "mail", "pve1", "production", "ceph-vm", (32, 200), 8192, True),
    (102, "web-front-1", "pve1", "production", "ceph-vm", (32,), 4096, True),
    (103, "web-front-2", "pve2", "production", "ceph-vm", (32,), 4096, True),
    (104, "shop-app", "pve2", "production", "ceph-vm", (48, 64), 16384, True),
    (105, "shop-db", "pve3", "production", "ceph-vm", (32, 256), 32768, True),
    (106, "erp", "pve3", "production", "ceph-vm", (64, 120), 24576, True),
    (107, "wiki", "pve2", "production", "local-lvm", (24,), 4096, True),
    (108, "git", "pve1", "production", "local-lvm", (32, 180), 8192, True),
    (109, "ci-runner-1", "pve3", None, "local-lvm", (80,), 16384, True),
    (110, "ci-runner-2", "pve2", None, "local-lvm", (80,), 16384, True),
    (111, "monitoring", "pve1", "production", "ceph-vm", (24, 96), 8192, True),
    (112, "logs", "pve3", "production", "ceph-vm", (24, 400), 16384, True),
    (113, "jumphost", "pve2", None, "nas", (12,), 1024, True),
    (114, "windows-dc", "pve1", "production", "ceph-vm", (60,), 8192, True),
    (115, "windows-print", "pve3", "production", "ceph-vm", (60,), 6144, False),
    (120, "stage-app", "pve1", "staging", "nas", (20, 28), 4096, False),
    (121, "stage-db", "pve2", "staging", "nas", (16, 40), 8192, True),
    (122, "stage-web", "pve3", "staging", "nas", (16,), 2048, False),
    (123, "load-test", "pve3", "staging", "local-lvm", (12, 18), 4096, False),
)
_CONTAINERS: tuple[tuple[int, str, str, str | None, str, int, int, bool], ...] = (
    (200, "dns-1", "pve1", "production", "local-lvm", 4, 512, True),
    (201, "dns-2", "pve2", "production", "local-lvm", 4, 512, True),
    (202, "dhcp", "pve1", "production", "local-lvm", 4, 256, True),
    (203, "proxy", "pve3", "production", "local-lvm", 8, 1024, True),
    (204, "apt-cache", "pve2", None, "ceph-vm", 60, 1024, True),
    (205, "influx", "pve1", "production", "ceph-vm", 40, 4096, True),
    (206, "paperless", "pve3", None, "ceph-vm", 32, 2048, True),
    (207, "minecraft", "pve2", None, "local-lvm", 16, 8192, False),
    (208, "sandbox", "pve3", "staging", "local-lvm", 8, 512, False),
)
_TEMPLATES: tuple[tuple[int, str, str, tuple[int, ...], str], ...] = (
    (9000, "debian-13-cloud", "local", (2,), "golden image"),
    (9001, "ubuntu-2604-cloud", "ceph-vm", (8,), "golden image, with guest agent"),
    (9002, "win2025-core", "ceph-vm", (40, 16), "sysprepped, second disk for data"),
)
PROTECTED_TEMPLATE, SILENT_TEMPLATE = 9001, 9002
TEMPLATE_IDS = tuple(row[0] for row in _TEMPLATES)

CONTAINER_TEMPLATES = (
    ("debian-13-standard_13.1-2_amd64.tar.zst", 129_473_881),
    ("ubuntu-26.04-standard_26.04-1_amd64.tar.zst", 143_472_532),
    ("alpine-3.23-default_20261101_amd64.tar.xz", 3_356_040),
)
ISOS = (("debian-13.2.0-amd64-netinst.iso", 702_545_920), ("virtio-win-0.1.285.iso", 791_408_640))


def make_mac(rng: random.Random) -> str:
    return "BC:24:11:" + ":".join(f"{rng.randrange(256):02X}" for _ in range(3))


def make_uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def make_guests(rng: random.Random, now: float) -> dict[int, Guest]:
    """Everything of the first day; started days ago, so figures look lived-in."""
    guests = {}
    for vmid, name, node, pool, storage, sizes, memory, running in _MACHINES:
        config = _machine_config(rng, vmid, name, storage, sizes, memory)
        guests[vmid] = _settled(Guest(vmid, "qemu", node, config, pool=pool), running, rng, now)
    for vmid, name, node, pool, storage, size, memory, running in _CONTAINERS:
        volume = name_volume(STORAGES[storage], vmid, 0, container=True)
        config = {
            "hostname": name,
            "arch": "amd64",
            "cores": 2,
            "memory": memory,
            "swap": 512,
            "ostype": "debian",
            "rootfs": f"{storage}:{volume},size={size}G",
            "net0": f"name=eth0,bridge=vmbr0,hwaddr={make_mac(rng)},ip=dhcp,type=veth",
            "unprivileged": 1,
            "onboot": 1,
        }
        guests[vmid] = _settled(Guest(vmid, "lxc", node, config, pool=pool), running, rng, now)
    for vmid, name, storage, sizes, description in _TEMPLATES:
        config = _machine_config(rng, vmid, name, storage, sizes, 512, base=True)
        config |= {"template": 1, "tags": "linux;template", "description": description, "agent": "1"}
        config |= {"ciuser": "debian", "ipconfig0": "ip=dhcp", "serial0": "socket", "vga": "serial0"}
        if vmid == PROTECTED_TEMPLATE:
            config["protection"] = 1  # its clones inherit that and cannot be deleted until it is switched off
        if vmid == SILENT_TEMPLATE:
            del config["agent"]
        cloudinit = (
            f"{vmid}/vm-{vmid}-cloudinit.qcow2" if STORAGES[storage].is_file_based else f"vm-{vmid}-cloudinit"
        )
        config["ide2"] = f"{storage}:{cloudinit},media=cdrom"
        guests[vmid] = Guest(vmid, "qemu", "pve1", config, born_at=now - 90 * 86400)
    guests[101].snapshots.append(_old_snapshot("before_upgrade", guests[101], now - 3 * 86400))
    guests[101].config["parent"] = "before_upgrade"
    guests[114].agent_answers = False
    return guests


def _settled(guest: Guest, running: bool, rng: random.Random, now: float) -> Guest:
    guest.born_at = now - 200 * 86400
    if running:
        guest.status = "running"
        guest.started_at = now - rng.uniform(2, 60) * 86400
    return guest


def _old_snapshot(name: str, guest: Guest, at: float) -> dict[str, object]:
    return {
        "name": name,
        "snaptime": int(at),
        "description": "before the upgrade",
        "vmstate": 0,
        "config": dict(guest.config),
    }


def _machine_config(
    rng: random.Random,
    vmid: int,
    name: str,
    storage: str,
    sizes: tuple[int, ...],
    memory: int,
    *,
    base: bool = False,
) -> dict[str, str | int]:
    config: dict[str, str | int] = {
        "name": name,
        "memory": str(memory),
        "cores": 1 if base else rng.choice((2, 4, 8)),
        "scsihw": "virtio-scsi-single",
        "boot": "order=scsi0",
        "agent": "1",
        "net0": f"virtio={make_mac(rng)},bridge=vmbr0",
        "smbios1": f"uuid={make_uuid(rng)}",
        "vmgenid": make_uuid(rng),
        "meta": "creation-qemu=10.0.13,ctime=1764000000",
    }
    for number, size in enumerate(sizes):
        volume = name_volume(STORAGES[storage], vmid, number, base=base)
        config[f"scsi{number}"] = f"{storage}:{volume},size={format_size(size * GIB)}"
    return config
