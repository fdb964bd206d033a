"""The client against somebody else's idea of Proxmox VE, over HTTPS: a second opinion on calls and errors."""

import ssl

import pytest

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import AddressGap, Connection, ProxmoxSource, check_functions
from tasks_app.sources.tls import format_fingerprint

TOKEN, SECRET = "portal@pve!web", "a-secret-of-the-fake"


@pytest.fixture
def fingerprint(fakepve_cafile):
    with open(fakepve_cafile) as file:
        return format_fingerprint(ssl.PEM_cert_to_DER_cert(file.read()))


@pytest.fixture
def source(fakepve, fakepve_url, fingerprint):
    fakepve.apitokens[TOKEN] = SECRET
    fakepve.add_vm(100, "vm1", status="stopped", config={"scsi0": "local-lvm:vm-100-disk-0,size=2G"})
    with ProxmoxSource(Connection("fake", (fakepve_url,), (fingerprint,), "", TOKEN, SECRET)) as source:
        yield source
        source.forget_refusal()


def test_inventory_is_read(source):
    assert source.fetch_version().major == 9
    assert [node.name for node in source.fetch_nodes()] == ["pve1"]
    assert [(guest.vmid, guest.name, guest.status) for guest in source.fetch_resources("vm")] == [
        (100, "vm1", "stopped")
    ]
    assert source.fetch_next_vmid() == 101
    assert source.fetch_guest_config("qemu", "pve1", 100)["scsi0"].endswith("size=2G")
    assert "local-lvm" in [storage.name for storage in source.fetch_storages("pve1")]


@pytest.mark.parametrize(("before", "verb", "after"), [
    ("stopped", "start", "running"),
    ("running", "stop", "stopped"),
    ("running", "shutdown", "stopped"),
    ("running", "reboot", "running"),
])  # fmt: skip
def test_power_works_and_its_task_is_seen(source, fakepve, before, verb, after):
    fakepve.vm(100).status = before
    upid = getattr(source, f"{verb}_guest")("qemu", "pve1", 100)
    task = source.fetch_task("pve1", upid)
    assert (task.remote_id, task.running, task.exit_text) == (upid, False, "OK")
    assert (task.user, task.token, task.object_id) == ("portal@pve", "web", "100")
    assert source.fetch_log("pve1", upid, after=0).lines[-1].text == "TASK OK"
    assert upid in [seen.remote_id for seen in source.fetch_node_tasks("pve1", since=None).observations]
    assert [guest.status for guest in source.fetch_resources("vm")] == [after]


def test_snapshot_and_clone_answer_tasks(source):
    assert ":qmsnapshot:100:" in source.create_snapshot("qemu", "pve1", 100, "before", "text")
    upid = source.clone_guest("qemu", "pve1", 100, new_vmid=101, name="copy", full=True)
    assert ":qmclone:100:" in upid
    assert {guest.vmid for guest in source.fetch_resources("vm")} == {100, 101}
    source.stop_task("pve1", upid)


def test_a_wrong_secret_is_refused_once(fakepve, fakepve_url, fingerprint):
    fakepve.apitokens[TOKEN] = SECRET
    with ProxmoxSource(Connection("fake", (fakepve_url,), (fingerprint,), "", TOKEN, "wrong")) as source:
        with pytest.raises(SourceNeedsPerson) as caught:
            source.fetch_version()
        source.forget_refusal()
    assert caught.value.kind == "unauthorized"


def test_a_missing_privilege_is_named(source, fakepve):
    fakepve.grant("portal@pve", "/vms/100", "VM.Audit")
    with pytest.raises(SourceRefused) as caught:
        source.start_guest("qemu", "pve1", 100)
    assert (caught.value.kind, caught.value.privilege, caught.value.path) == (
        "forbidden",
        "VM.PowerMgmt",
        "/vms/100",
    )


def test_permissions_are_those_of_the_token(source, fakepve):
    fakepve.grant(TOKEN, "/vms", "VM.Audit", "VM.PowerMgmt")
    permissions = source.fetch_permissions()
    allowed = {
        c.function for c in check_functions(permissions, source.fetch_version(), token_id=TOKEN) if c.allowed
    }
    assert allowed == {"see_guests", "power"}


def test_a_clone_to_an_id_in_use_is_refused_in_words(source, fakepve):
    fakepve.add_vm(101, "vm2")
    with pytest.raises(SourceRefused) as caught:
        source.clone_guest("qemu", "pve1", 100, new_vmid=101)
    assert caught.value.kind == "remote_error"
    assert "101" in str(caught.value)


def test_a_parameter_error_has_its_field(source):
    with pytest.raises(SourceRefused) as caught:
        source.clone_guest("qemu", "pve1", 100, new_vmid=101, name="not_a_name")
    assert caught.value.kind == "invalid"
    assert "name" in caught.value.fields


def test_a_guest_that_does_not_exist_is_refused(source):
    with pytest.raises(SourceRefused):
        source.fetch_guest_config("qemu", "pve1", 999)


def test_an_offline_node_is_a_matter_of_the_proxy(source, fakepve):
    fakepve.add_node("pve2")
    fakepve.set_node_offline("pve2")
    with pytest.raises(SourceUnavailable) as caught:
        source.fetch_storages("pve2")
    assert caught.value.kind == "proxy"


def test_a_network_that_drops_everything_leaves_a_write_unknown(source, fakepve):
    assert source.fetch_version().major == 9
    fakepve.flaky_network(drop_rate=1.0)
    with pytest.raises(OutcomeUnknown):
        source.start_guest("qemu", "pve1", 100)
    with pytest.raises(SourceUnavailable) as caught:
        source.fetch_version()
    assert caught.value.kind == "connection"


def test_settings_are_made_and_removed_in_one_call(source):
    values = {"cores": 2, "memory": 1024, "sshkeys": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA alice@example.org"}
    source.configure_guest("qemu", "pve1", 100, {"description": "x"})
    source.configure_guest("qemu", "pve1", 100, values, remove=("description", "protection"))
    config = source.fetch_guest_config("qemu", "pve1", 100)
    assert (int(config["cores"]), int(config["memory"])) == (2, 1024)
    assert config["sshkeys"].startswith("ssh-ed25519%20AAAAC3")
    assert "description" not in config


def test_growing_a_disk_is_a_task(source):
    upid = source.resize_disk("qemu", "pve1", 100, disk="scsi0", size_gb=5)
    assert ":resize:100:" in upid
    assert source.fetch_task("pve1", upid).exit_text == "OK"


def test_snapshots_are_listed_and_rolled_back_to(source):
    source.create_snapshot("qemu", "pve1", 100, "before")
    assert [snapshot.name for snapshot in source.fetch_snapshots("qemu", "pve1", 100)] == ["before"]
    assert ":qmrollback:100:" in source.rollback_snapshot("qemu", "pve1", 100, "before")


def test_a_guest_is_deleted_and_its_id_is_free_again(source):
    assert not source.is_vmid_free(100)
    assert ":qmdestroy:100:" in source.delete_guest("qemu", "pve1", 100)
    assert source.fetch_resources("vm") == []
    assert source.is_vmid_free(100)


def test_a_guest_tells_its_status_and_why_it_has_no_address(source):
    status = source.fetch_guest_status("qemu", "pve1", 100)
    assert (status.status, status.lock, status.name) == ("stopped", "", "vm1")
    assert source.fetch_addresses("qemu", "pve1", 100).gap is AddressGap.SILENT


def test_a_backup_is_a_task(source):
    assert ":vzdump:100:" in source.backup_guest("pve1", 100, storage="local", mode="stop")
