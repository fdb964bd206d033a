import pytest

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.inventory import (
    disk_sizes,
    parse_nodes,
    parse_resources,
    parse_storages,
    parse_version,
)
from tests.unit.sources.recorded import load_body

GIB = 1 << 30


def test_version_of_a_recorded_answer():
    version = parse_version(load_body(38)["data"])
    assert (version.text, version.release, version.major) == ("9.2.11", "9.2", 9)


def test_nodes_carry_state_and_fingerprint():
    (node,) = parse_nodes(load_body(39)["data"])
    assert (node.name, node.online, node.uptime_seconds) == ("pve1", True, 3014)
    assert node.fingerprint.startswith("39:ED:53:19")


def test_guests_carry_pool_tags_and_template():
    guests = {guest.vmid: guest for guest in parse_resources(load_body(750)["data"])}
    web = guests[301]
    assert (web.type, web.node, web.name, web.pool) == ("qemu", "pve1", "web-1-renamed", "portal")
    assert web.tags == ("alice", "env_test", "portal")
    assert (web.maxmem, web.maxcpu, web.maxdisk, web.template) == (536870912, 2, 4294967296, False)
    assert guests[9000].template is True
    assert guests[200].type == "lxc"


def test_a_guest_that_was_just_made_has_no_name_yet():
    guests = {guest.vmid: guest for guest in parse_resources(load_body(874)["data"])}
    assert (guests[400].name, guests[400].status, guests[400].lock, guests[400].maxmem) == (
        "",
        "unknown",
        "clone",
        0,
    )


def test_every_kind_of_resource_is_read():
    rows = load_body(754)["data"]
    assert [resource.id for resource in parse_resources(rows)] == [row["id"] for row in rows]


def test_resources_without_an_id_are_left_out_and_counted(caplog):
    assert (
        parse_resources([None, {"type": "qemu"}, {"id": "qemu/1", "type": "qemu", "vmid": "1"}])[0].vmid == 1
    )
    assert "what=resources count=2" in caplog.text


def test_storages_carry_sizes_and_content():
    fast, local = parse_storages(load_body(469)["data"])
    assert (fast.name, fast.type, fast.content) == ("fast", "dir", ("images", "rootdir"))
    assert (local.active, local.enabled, local.shared) == (True, True, False)
    assert (local.total, local.used, local.available) == (270553174016, 41389879296, 67554414592)


@pytest.mark.parametrize("parse", [parse_version, parse_nodes, parse_resources, parse_storages])
@pytest.mark.parametrize("data", [None, "x", 3])
def test_an_answer_of_another_shape_is_garbage(parse, data):
    with pytest.raises(SourceUnavailable):
        parse(data)


def test_disks_of_a_recorded_template_leave_out_its_cloud_init_drive():
    assert disk_sizes(load_body(515)["data"]) == {"scsi0": 2 * GIB}


def test_disks_of_many_kinds_are_measured_in_bytes():
    config = {
        "scsi0": "local-lvm:vm-100-disk-0,discard=on,size=32G,ssd=1",
        "virtio1": "ceph:vm-100-disk-1,size=1T",
        "sata2": "local:100/vm-100-disk-2.qcow2,size=512M",
        "efidisk0": "local-lvm:vm-100-disk-3,efitype=4m,size=528K",
        "tpmstate0": "local-lvm:vm-100-disk-4,size=4M,version=v2.0",
        "ide2": "local:iso/debian.iso,media=cdrom,size=700M",
        "ide0": "none,media=cdrom",
        "scsi9": "local-lvm:vm-100-cloudinit,size=4M",
        "unused0": "local-lvm:vm-100-disk-9,size=8G",
        "net0": "virtio=AA:BB:CC:DD:EE:FF,bridge=vmbr0,size=1G",
        "memory": "512",
        "cores": 2,
        "scsihw": "virtio-scsi-pci",
    }
    assert disk_sizes(config) == {
        "scsi0": 32 * GIB,
        "virtio1": 1024 * GIB,
        "sata2": GIB // 2,
        "efidisk0": 528 * 1024,
        "tpmstate0": 4 * 1024 * 1024,
    }


def test_volumes_of_a_container_leave_out_bind_mounts():
    config = {
        "rootfs": "local:501/subvol-501-disk-0.subvol,size=4G",
        "mp0": "local-zfs:subvol-501-disk-1,mp=/data,size=8G",
        "mp1": "/srv/share,mp=/share,size=1G",
        "mp2": "local:501/x.subvol,mp=/x,size=0T",
    }
    assert disk_sizes(config) == {"rootfs": 4 * GIB, "mp0": 8 * GIB}


def test_a_row_with_a_number_beyond_all_bounds_is_left_out():
    rows = [{"id": "qemu/1", "type": "qemu", "cpu": 10**400}, {"id": "qemu/2", "type": "qemu", "cpu": 0.5}]
    assert [row.id for row in parse_resources(rows)] == ["qemu/2"]
