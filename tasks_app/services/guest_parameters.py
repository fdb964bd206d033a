"""What each deed takes: frozen, checked parameters, which are all that is ever sent besides node and VMID.

The source takes more than it should (any processor flag, cloud-init files, 512 cores): a key that is no field
here cannot be sent.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Protocol

from tasks_app.errors import InvalidInput

SNAPSHOT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
MAX_HOST_NAME_CHARACTERS = 63
"""Proxmox takes 300 characters; a guest with more than 63 cannot set its own host name (Linux: 64 with the NUL)."""
MAX_DESCRIPTION_CHARACTERS = 8192
MAX_CORES = 1024
MIN_MEMORY_MB, MAX_MEMORY_MB = 16, 16 * 1024 * 1024
MAX_DISK_GB = 128 * 1024
MAX_KEYS_CHARACTERS = 32_768
_RESERVED_SNAPSHOTS = frozenset({"current", "pending"})
_IDENTIFIER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,99})")
_DISK = re.compile(r"(?:ide|sata|scsi|virtio|mp)\d{1,3}|rootfs")
_TAG = re.compile(r"[a-z0-9_][a-z0-9_+.-]{0,62}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_OSTEMPLATE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}:vztmpl/[A-Za-z0-9][\w.+~-]{0,254}")
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]{2,60} [A-Za-z0-9+/]{20,}={0,3}(?: [^\r\n]*)?")
_BACKUP_MODES = ("snapshot", "suspend", "stop")


class Target(Protocol):
    """The guest a deed is for: a row of guests, or `NewGuest` for one that no pass has seen yet."""

    @property
    def kind(self) -> str: ...
    @property
    def is_template(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class NewGuest:
    """A guest that the portal makes or has just made."""

    kind: str
    is_template: bool = False


@dataclass(frozen=True, slots=True)
class PowerParameters:
    """Nothing besides the guest."""

    def check(self, target: Target) -> None:
        if target.is_template:
            raise InvalidInput(action="A template cannot be started or stopped.")


@dataclass(frozen=True, slots=True)
class SnapshotParameters:
    name: str
    description: str = ""

    def check(self, target: Target) -> None:
        if not SNAPSHOT_NAME.fullmatch(self.name):
            raise InvalidInput(name="Use 2 to 40 letters, digits, - and _, beginning with a letter.")
        if self.name.lower() in _RESERVED_SNAPSHOTS:
            raise InvalidInput(name=f"Proxmox keeps the name “{self.name}” for itself.")
        _check_description(self.description)


@dataclass(frozen=True, slots=True)
class RollbackParameters:
    """`start`: run afterwards; a running guest is stopped by it in any case."""

    name: str
    start: bool = False

    def check(self, target: Target) -> None:
        if not SNAPSHOT_NAME.fullmatch(self.name):
            raise InvalidInput(name="There is no snapshot of that name.")


@dataclass(frozen=True, slots=True)
class BackupParameters:
    storage: str
    mode: str = "snapshot"
    notes: str = ""

    def check(self, target: Target) -> None:
        _check_name("storage", self.storage)
        if self.mode not in _BACKUP_MODES:
            raise InvalidInput(mode=f"Choose one of {', '.join(_BACKUP_MODES)}.")
        if len(self.notes) > 1024 or not self.notes.isprintable():
            raise InvalidInput(notes="Use at most 1024 characters in one line.")


@dataclass(frozen=True, slots=True)
class CloneParameters:
    """`storage`, `target` and `pool` may be empty: beside the original, on its node, in no pool."""

    name: str
    full: bool = True
    storage: str = ""
    pool: str = ""
    description: str = ""
    target: str = ""
    format: str = ""

    def check(self, target: Target) -> None:
        _check_host_name("name", self.name)
        if not self.full and not target.is_template:
            raise InvalidInput(full="Only templates can be cloned as linked clones.")
        if not self.full and self.storage:
            raise InvalidInput(
                storage="A linked clone lies beside its template; a storage needs a full clone."
            )
        for field, value in (("storage", self.storage), ("pool", self.pool), ("target", self.target)):
            if value:
                _check_name(field, value)
        if self.format and (not self.full or self.format not in ("raw", "qcow2", "vmdk")):
            raise InvalidInput(format="The format is raw, qcow2 or vmdk, and only a full clone has a choice.")
        _check_description(self.description)


@dataclass(frozen=True, slots=True)
class CreateParameters:
    """A new unprivileged container. `ip` is "", dhcp or an address with prefix; `tags` are separated by `;`."""

    ostemplate: str
    storage: str
    disk_gb: int
    name: str
    cores: int
    memory_mb: int
    swap_mb: int = 0
    bridge: str = ""
    ip: str = ""
    gateway: str = ""
    ssh_keys: str = ""
    pool: str = ""
    description: str = ""
    tags: str = ""

    def check(self, target: Target) -> None:
        if target.kind != "lxc":
            raise InvalidInput(action="Only containers are made from an OS template.")
        if not _OSTEMPLATE.fullmatch(self.ostemplate):
            raise InvalidInput(ostemplate="This is no OS template of a storage.")
        _check_name("storage", self.storage)
        if not 1 <= self.disk_gb <= MAX_DISK_GB:
            raise InvalidInput(disk_gb=f"Use 1 to {MAX_DISK_GB} GiB.")
        if not 0 <= self.swap_mb <= MAX_MEMORY_MB:
            raise InvalidInput(swap_mb=f"Use 0 to {MAX_MEMORY_MB} MiB.")
        _check_host_name("name", self.name)
        _check_size(self.cores, self.memory_mb)
        _check_network(self.bridge, self.ip, self.gateway, needs_bridge=True)
        _check_keys(self.ssh_keys)
        if self.pool:
            _check_name("pool", self.pool)
        _check_description(self.description)
        _check_tags(self.tags)


@dataclass(frozen=True, slots=True)
class ConfigureParameters:
    """What a fresh clone is changed to. Protection is always switched off: a clone inherits it.

    `tags` and `description` replace the template's, also when empty. Any other value that is 0 or "" stays as the
    template has it. `ci_user` and `ssh_keys` are for VMs (cloud-init), `bridge` for containers, where the whole
    network card is set anew when `ip` is.
    """

    name: str = ""
    cores: int = 0
    memory_mb: int = 0
    tags: str = ""
    description: str = ""
    ci_user: str = ""
    ssh_keys: str = ""
    ip: str = ""
    gateway: str = ""
    bridge: str = ""

    def check(self, target: Target) -> None:
        is_vm = target.kind == "qemu"
        if self.name:
            _check_host_name("name", self.name)
        _check_size(self.cores or 1, self.memory_mb or MIN_MEMORY_MB)
        if self.ci_user and not (is_vm and _USER.fullmatch(self.ci_user)):
            raise InvalidInput(ci_user="Use a Linux user name; only VMs with cloud-init take one.")
        if self.ssh_keys and not is_vm:
            raise InvalidInput(ssh_keys="A container takes SSH keys only when it is created.")
        _check_keys(self.ssh_keys)
        if self.bridge and is_vm:
            raise InvalidInput(bridge="A VM keeps the network cards of its template.")
        _check_network(self.bridge, self.ip, self.gateway, needs_bridge=not is_vm)
        _check_description(self.description)
        _check_tags(self.tags)


@dataclass(frozen=True, slots=True)
class ResizeParameters:
    """The size that `disk` shall have, never the difference: asking twice is the same as asking once."""

    disk: str
    size_gb: int

    def check(self, target: Target) -> None:
        if not _DISK.fullmatch(self.disk):
            raise InvalidInput(disk=f"“{self.disk}” is no disk that can grow.")
        if not 1 <= self.size_gb <= MAX_DISK_GB:
            raise InvalidInput(size_gb=f"Use 1 to {MAX_DISK_GB} GiB.")


@dataclass(frozen=True, slots=True)
class DeleteParameters:
    """Nothing besides the guest: it goes with its disks, and out of backup jobs."""

    def check(self, target: Target) -> None:
        if target.is_template:
            raise InvalidInput(action="Templates are not deleted here.")


Parameters = (
    PowerParameters
    | SnapshotParameters
    | RollbackParameters
    | BackupParameters
    | CloneParameters
    | CreateParameters
    | ConfigureParameters
    | ResizeParameters
    | DeleteParameters
)


def _check_host_name(field: str, text: str) -> None:
    if len(text) > MAX_HOST_NAME_CHARACTERS or not HOST_NAME.fullmatch(text):
        raise InvalidInput(
            **{
                field: f"Use at most {MAX_HOST_NAME_CHARACTERS} letters, digits and -, in parts joined by dots."
            }
        )


def _check_name(field: str, text: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        raise InvalidInput(**{field: f"“{text}” is not a name that Proxmox knows."})


def _check_size(cores: int, memory_mb: int) -> None:
    if not 1 <= cores <= MAX_CORES:
        raise InvalidInput(cores=f"Use 1 to {MAX_CORES} cores.")
    if not MIN_MEMORY_MB <= memory_mb <= MAX_MEMORY_MB:
        raise InvalidInput(memory_mb=f"Use {MIN_MEMORY_MB} to {MAX_MEMORY_MB} MiB.")


def _check_network(bridge: str, ip: str, gateway: str, *, needs_bridge: bool) -> None:
    if bridge:
        _check_name("bridge", bridge)
    if needs_bridge and (ip or gateway) and not bridge:
        raise InvalidInput(bridge="An address needs a bridge.")
    if gateway and ip in ("", "dhcp"):
        raise InvalidInput(gateway="A gateway goes with a fixed address.")
    try:
        if ip not in ("", "dhcp"):
            if "/" not in ip:
                raise ValueError(ip)
            ipaddress.ip_interface(ip)
        if gateway:
            ipaddress.ip_address(gateway)
    except ValueError:
        raise InvalidInput(
            ip="Use dhcp, or an address with its prefix (10.0.0.5/24) and a gateway."
        ) from None


def _check_keys(text: str) -> None:
    if len(text) > MAX_KEYS_CHARACTERS:
        raise InvalidInput(ssh_keys=f"Use at most {MAX_KEYS_CHARACTERS} characters of keys.")
    for line in text.splitlines():
        key = line.strip()
        if key and not (_KEY.fullmatch(key) and key.isprintable()):
            raise InvalidInput(ssh_keys="One line is not a public SSH key, like “ssh-ed25519 AAAA… name”.")


def _check_tags(text: str) -> None:
    for tag in text.split(";") if text else ():
        if not _TAG.fullmatch(tag):
            raise InvalidInput(tags=f"“{tag}” is no tag: use small letters, digits and - _ + .")


def _check_description(text: str) -> None:
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidInput(description=f"Use at most {MAX_DESCRIPTION_CHARACTERS} characters.")
    if any(not c.isprintable() and c not in "\r\n\t" for c in text):
        raise InvalidInput(description="The description holds characters that cannot be shown.")
