"""The storages of the demo cluster: what they hold and how their volumes are named."""

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Storage:
    name: str
    plugin: str
    content: str
    shared: bool
    total: int
    path: str = ""

    @property
    def is_file_based(self) -> bool:
        return self.plugin in ("dir", "nfs")


STORAGES = {
    storage.name: storage
    for storage in (
        Storage("local", "dir", "backup,iso,vztmpl,rootdir,snippets,images", False, 220 * GIB, "/var/lib/vz"),
        Storage("local-lvm", "lvmthin", "images,rootdir", False, 1700 * GIB),
        Storage("ceph-vm", "rbd", "images,rootdir", True, 21000 * GIB),
        Storage("nas", "nfs", "backup,iso,vztmpl,snippets,images,rootdir", True, 40000 * GIB, "/mnt/pve/nas"),
    )
}


def name_volume(
    storage: Storage,
    vmid: int,
    number: int,
    *,
    form: str = "qcow2",
    base: bool = False,
    container: bool = False,
) -> str:
    """The volume part of a volid: `100/vm-100-disk-0.qcow2` in files, `vm-100-disk-0` elsewhere."""
    plain = f"{'base' if base else 'vm'}-{vmid}-disk-{number}"
    if not storage.is_file_based:
        return plain
    return f"{vmid}/{plain}.{'raw' if container else form}"


def name_linked(storage: Storage, base: str, vmid: int, number: int) -> str:
    """A linked clone's volume: it names its base, except on LVM-thin."""
    own = name_volume(storage, vmid, number)
    return own if storage.plugin == "lvmthin" else f"{base}/{own}"


def describe_allocation(storage: Storage, volume: str, size: int) -> list[str]:
    """What creating a volume prints before `allocated target volume`."""
    own = volume.rsplit("/", 1)[-1]
    if storage.plugin == "lvmthin":
        return [f'  Logical volume "{own}" created.']
    if not storage.is_file_based:
        return []
    folder = volume.split("/")[-2]
    path = f"{storage.path}/images/{folder}/{own}"
    if own.endswith(".raw"):
        return [f"Formatting '{path}', fmt=raw size={size} preallocation=off"]
    return [
        f"Formatting '{path}', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata"
        f" compression_type=zlib size={size} lazy_refcounts=off refcount_bits=16"
    ]


def path_of(storage: Storage, volume: str) -> str:
    if storage.is_file_based:
        return f"{storage.path}/images/{'/'.join(volume.split('/')[-2:])}"
    return f"/dev/{'pve' if storage.plugin == 'lvmthin' else 'rbd-pve/ceph-vm'}/{volume.split('/')[-1]}"


def used_bytes(storage: Storage, node: str) -> int:
    share = (sum(map(ord, storage.name + ("" if storage.shared else node))) % 40 + 25) / 100
    return int(storage.total * share)
