"""Actions on the demo cluster's guests run as tasks and really change them."""

from collections.abc import Iterator

import pytest

from demo.proxmox import DemoCluster
from tests.integration.demo.client import Client, portal, wait_until


@pytest.fixture
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster(time_scale=0.02) as demo:
        yield demo


@pytest.fixture
def me(cluster: DemoCluster) -> Client:
    return portal(cluster)


@pytest.fixture
def admin(cluster: DemoCluster) -> Client:
    return Client(cluster, ("adm@pve!t", cluster.add_token("adm@pve", "t", {"/": ["PVEAdmin"]})))


def clone(client: Client, source: int = 9000, **form: object) -> str:
    answer = client.post(f"/nodes/pve1/qemu/{source}/clone", pool="portal", **form)
    assert answer.status == 200, answer.reason
    return str(answer.data)


def row_of(client: Client, vmid: int) -> dict[str, object]:
    return next((row for row in client.get("/cluster/resources", type="vm").data if row["vmid"] == vmid), {})


def test_full_clone_copies_one_disk_after_the_other(cluster: DemoCluster, me: Client) -> None:
    upid = clone(me, 9002, newid=400, name="web-1", full=1, storage="nas", format="qcow2")
    assert me.get("/nodes/pve1/qemu/400/config").data["lock"] == "clone"
    assert row_of(me, 400)["status"] == "unknown"
    assert me.ask("DELETE", "/nodes/pve1/qemu/400").status == 403
    assert me.wait(upid) == "OK"
    texts = me.texts(upid)
    assert texts[0] == "creating a clone of VM 9002 with ID 400"
    first = texts.index("create full clone of drive scsi0 (ceph-vm:base-9002-disk-0)")
    second = texts.index("create full clone of drive scsi1 (ceph-vm:base-9002-disk-1)")
    assert texts[first + 1].startswith("Formatting '/mnt/pve/nas/images/400/vm-400-disk-0.qcow2', fmt=qcow2")
    assert texts[first + 3] == "transferred 0.0 B of 40.0 GiB (0.00%)"
    assert texts[second - 1] == "transferred 40.0 GiB of 40.0 GiB (100.00%)"
    assert "lock" not in me.get("/nodes/pve1/qemu/400/config").data
    assert [row["vmid"] for row in me.get("/pools/portal").data["members"]] == [400]
    assert wait_until(lambda: row_of(me, 400).get("name")) == "web-1"


def test_copy_lines_are_those_of_the_recording(cluster: DemoCluster, me: Client) -> None:
    upid = clone(me, newid=400, full=1, storage="local")
    me.wait(upid)
    shown = [text for text in me.texts(upid) if text.startswith("transferred")]
    assert shown[1:3] == [
        "transferred 22.0 MiB of 2.0 GiB (1.07%)",
        "transferred 44.0 MiB of 2.0 GiB (2.15%)",
    ]
    assert len(shown) == 96


def test_linked_clone_copies_nothing_but_the_cloud_init_drive(cluster: DemoCluster, me: Client) -> None:
    upid = clone(me, newid=401, name="web-2")
    assert me.wait(upid) == "OK"
    texts = me.texts(upid)
    assert any(text.startswith("create linked clone of drive scsi0") for text in texts)
    assert not any("transferred" in text for text in texts)


def test_cancelled_clone_is_cleaned_up(cluster: DemoCluster, me: Client) -> None:
    upid = clone(me, 9002, newid=402, full=1, storage="ceph-vm", bwlimit=10_000)
    assert me.stop(upid).status == 200
    status = me.status(upid)["exitstatus"]
    assert status.startswith("clone failed: copy failed: command '/usr/bin/qemu-img convert")
    assert status.endswith("failed: interrupted by signal")
    assert row_of(me, 402) == {}
    assert me.wait(clone(me, newid=402)) == "OK"


def test_killed_clone_leaves_a_locked_target(cluster: DemoCluster, me: Client) -> None:
    upid = clone(me, 9002, newid=403, full=1, storage="nas", bwlimit=10_000)
    cluster.kill_task(upid)
    assert me.status(upid)["exitstatus"] == "unexpected status"
    assert me.get("/nodes/pve1/qemu/403/config").data["lock"] == "clone"
    assert me.ask("DELETE", "/nodes/pve1/qemu/403").status == 403


def test_second_clone_of_a_running_machine_gets_no_lock(cluster: DemoCluster, admin: Client) -> None:
    first = clone(admin, 100, newid=500, full=1)
    second = clone(admin, 100, newid=501, full=1)
    assert admin.wait(second) == "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
    assert admin.wait(first) == "OK"
    assert "mirror-scsi0: Cancelling block job" in admin.texts(first)


def test_two_clones_into_one_id_name_the_target(cluster: DemoCluster, me: Client) -> None:
    first = clone(me, newid=410, full=1)
    second = clone(me, newid=410, full=1)
    assert me.wait(second) == "can't lock file '/var/lock/qemu-server/lock-410.conf' - got timeout"
    assert me.wait(first) == "OK"
    assert me.post("/nodes/pve1/qemu/9000/clone", newid=410, pool="portal").reason == (
        "unable to create VM 410: config file already exists"
    )


def test_start_and_stop_change_the_state(cluster: DemoCluster, me: Client) -> None:
    me.wait(clone(me, newid=404))
    assert me.wait(me.post("/nodes/pve1/qemu/404/status/start").data) == "OK"
    assert me.get("/nodes/pve1/qemu/404/status/current").data["qmpstatus"] == "running"
    again = me.post("/nodes/pve1/qemu/404/status/start").data
    assert me.wait(again) == "VM 404 already running"
    assert me.ask("DELETE", "/nodes/pve1/qemu/404").reason == "VM 404 is running - destroy failed"
    me.wait(me.post("/nodes/pve1/qemu/404/status/stop").data)
    gone = me.ask("DELETE", "/nodes/pve1/qemu/404?purge=1").data
    assert me.texts(gone) == [] or wait_until(lambda: not row_of(me, 404))
    assert row_of(me, 404) == {}


def test_snapshot_holds_the_configuration(cluster: DemoCluster, me: Client) -> None:
    me.wait(clone(me, newid=405))
    me.wait(me.post("/nodes/pve1/qemu/405/snapshot", snapname="before").data)
    assert me.ask("PUT", "/nodes/pve1/qemu/405/config", {"cores": 3}).status == 200
    me.wait(me.post("/nodes/pve1/qemu/405/snapshot/before/rollback").data)
    assert me.get("/nodes/pve1/qemu/405/config").data["cores"] == 1
    names = {row["name"] for row in me.get("/nodes/pve1/qemu/405/snapshot").data}
    assert names == {"before", "current"}


def test_backup_locks_one_guest_after_the_other(cluster: DemoCluster, admin: Client) -> None:
    upid = admin.post("/nodes/pve1/vzdump", vmid="100,102,200", storage="nas", mode="snapshot").data
    locks: set[object] = set()

    def look() -> object:
        locks.update(
            row["vmid"] for row in admin.get("/cluster/resources", type="vm").data if row.get("lock")
        )
        return admin.status(upid).get("exitstatus")

    assert wait_until(look, 20) == "OK"
    assert locks == {100, 102, 200}
    texts = admin.texts(upid)
    assert texts[0].startswith("INFO: starting new backup job: vzdump 100 102 200 --storage nas --node pve1")
    whole = [text.split(" in ")[0] for text in texts if "100% (" in text]
    assert whole == ["INFO: 100% (16.0 GiB of 16.0 GiB)", "INFO: 100% (32.0 GiB of 32.0 GiB)"]
    content = admin.get("/nodes/pve1/storage/nas/content", content="backup").data
    assert {row["vmid"] for row in content} == {100, 102, 200}


def test_live_migration_moves_disks_then_memory(cluster: DemoCluster, admin: Client) -> None:
    refused = admin.post("/nodes/pve2/qemu/107/migrate", target="pve1")
    assert refused.reason == "can't migrate running VM without --online"
    upid = admin.post("/nodes/pve2/qemu/107/migrate", target="pve1", online=1).data
    assert admin.wait(upid, 60) == "OK"
    texts = admin.texts(upid)
    disk = next(i for i, text in enumerate(texts) if text.startswith("mirror-scsi0: transferred"))
    ram = next(i for i, text in enumerate(texts) if "VM-state," in text)
    assert disk < ram and texts[-1] == "TASK OK"
    assert admin.get("/nodes/pve1/qemu/107/status/current").data["status"] == "running"


def test_container_is_created_from_its_template(cluster: DemoCluster, admin: Client) -> None:
    form = {
        "vmid": 600,
        "ostemplate": "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
        "rootfs": "local-lvm:8",
    }
    upid = admin.post("/nodes/pve2/lxc", **form, hostname="ct-1", memory=256).data
    assert admin.wait(upid) == "OK"
    assert admin.get("/nodes/pve2/lxc/600/config").data["rootfs"] == "local-lvm:vm-600-disk-0,size=8G"
    missing = admin.post(
        "/nodes/pve2/lxc", **form | {"vmid": 601, "ostemplate": "local:vztmpl/nosuch.tar.gz"}
    ).data
    assert (
        admin.wait(missing) == "unable to create CT 601 - volume 'local:vztmpl/nosuch.tar.gz' does not exist"
    )
    assert row_of(admin, 601) == {}


def test_resize_refuses_to_shrink_in_the_task(cluster: DemoCluster, me: Client) -> None:
    me.wait(clone(me, newid=406))
    grow = me.ask("PUT", "/nodes/pve1/qemu/406/resize", {"disk": "scsi0", "size": "+1G"}).data
    assert me.wait(grow) == "OK"
    assert me.get("/nodes/pve1/qemu/406/config").data["scsi0"].endswith("size=3G")
    shrink = me.ask("PUT", "/nodes/pve1/qemu/406/resize", {"disk": "scsi0", "size": "2G"}).data
    assert me.wait(shrink) == "shrinking disks is not supported"


def configure(client: Client, vmid: int, **form: object) -> None:
    answer = client.ask("PUT", f"/nodes/pve1/qemu/{vmid}/config", form)
    assert (answer.status, answer.data) == (200, None), answer.reason


def test_a_clone_inherits_protection_and_tags_until_they_are_removed(
    cluster: DemoCluster, me: Client
) -> None:
    me.wait(clone(me, 9001, newid=410, name="web-1"))
    config = me.get("/nodes/pve1/qemu/410/config").data
    assert (config["protection"], config["tags"]) == (1, "linux;template")
    refused = me.ask("DELETE", "/nodes/pve1/qemu/410?purge=1")
    assert (refused.status, refused.reason) == (500, "can't remove VM 410 - protection mode enabled")
    configure(me, 410, cores=2, memory=1024, delete="protection,tags,description,vcpus")
    config = me.get("/nodes/pve1/qemu/410/config").data
    assert not {"protection", "tags", "description"} & set(config)
    assert (config["cores"], config["memory"]) == (2, "1024")
    assert me.wait(me.ask("DELETE", "/nodes/pve1/qemu/410?purge=1").data) == "OK"
    assert me.ask("DELETE", "/nodes/pve1/qemu/410?purge=1").status == 403


def test_the_agent_answers_some_time_after_the_start(me: Client, cluster: DemoCluster) -> None:
    where = "/nodes/pve1/qemu/411"
    me.wait(clone(me, 9001, newid=411))
    configure(me, 411, ipconfig0="ip=10.20.30.7/24,gw=10.20.30.1")
    assert me.get(f"{where}/agent/network-get-interfaces").reason == "VM 411 is not running"
    assert me.wait(me.post(f"{where}/status/start").data) == "OK"
    assert me.get(f"{where}/agent/network-get-interfaces").reason == "QEMU guest agent is not running"
    told = wait_until(lambda: me.get(f"{where}/agent/network-get-interfaces").data)["result"]
    assert told[1]["ip-addresses"][0] == {
        "ip-address": "10.20.30.7",
        "ip-address-type": "ipv4",
        "prefix": 24,
    }


def test_a_template_without_agent_says_so(me: Client) -> None:
    me.wait(clone(me, 9002, newid=412))
    me.wait(me.post("/nodes/pve1/qemu/412/status/start").data)
    answer = me.get("/nodes/pve1/qemu/412/agent/network-get-interfaces")
    assert (answer.status, answer.reason) == (500, "No QEMU guest agent configured")


def test_a_container_tells_its_address_itself(me: Client) -> None:
    form = {"ostemplate": "nas:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst", "rootfs": "ceph-vm:4"}
    net = "name=eth0,bridge=vmbr0,ip=10.20.30.8/24,gw=10.20.30.1"
    upid = me.post("/nodes/pve2/lxc", vmid=601, pool="portal", net0=net, **form).data
    assert me.wait(upid) == "OK"
    assert me.get("/nodes/pve2/lxc/601/interfaces").data is None
    me.wait(me.post("/nodes/pve2/lxc/601/status/start").data)
    rows = wait_until(
        lambda: [
            r
            for r in me.get("/nodes/pve2/lxc/601/interfaces").data
            if r.get("name") == "eth0" and "inet" in r
        ]
    )
    assert rows[0]["inet"] == "10.20.30.8/24"


def test_a_clone_goes_to_another_node_over_shared_storage_only(me: Client) -> None:
    assert me.wait(clone(me, 9001, newid=413, target="pve3", full=1, storage="ceph-vm")) == "OK"
    assert me.get("/nodes/pve3/qemu/413/config").status == 200
    local = me.post("/nodes/pve1/qemu/9000/clone", newid=414, target="pve3", pool="portal")
    assert local.reason == "can't clone VM to node 'pve3' (VM uses local storage)"
    onto = me.post(
        "/nodes/pve1/qemu/9001/clone", newid=414, target="pve3", pool="portal", full=1, storage="local-lvm"
    )
    assert onto.reason == "can't clone to non-shared storage 'local-lvm'"


def test_the_portal_backs_up_what_it_made_and_nothing_else(me: Client) -> None:
    me.wait(clone(me, newid=415))
    mine = me.post("/nodes/pve1/vzdump", vmid=415, storage="nas", mode="stop").data
    assert me.wait(mine) == "OK"
    kept = me.get("/nodes/pve1/storage/nas/content", content="backup").data
    assert [row["vmid"] for row in kept] == [415]
    other = me.post("/nodes/pve1/vzdump", vmid=120, storage="nas").data
    assert me.wait(other) == "403 Permission check failed (/vms/120, VM.Backup)"


def test_a_backup_of_a_guest_that_is_not_here_starts_nothing(me: Client) -> None:
    assert me.post("/nodes/pve2/vzdump", vmid=120, storage="nas").data == "OK"


def test_guests_in_a_pool_show_in_the_permissions(me: Client) -> None:
    me.wait(clone(me, newid=416))
    held = me.get("/access/permissions").data
    assert {"VM.PowerMgmt", "VM.Backup", "VM.Allocate"} <= set(held["/vms/416"])
    assert "VM.Backup" not in held["/vms/120"]
