"""The calls that make, change and look at one guest, as they go over the wire."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, quote

import pytest
import responses

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import AddressGap, ProxmoxSource
from tests.unit.sources.recorded import load_body, load_pair
from tests.unit.sources.test_source import API, UPID, make_connection

GUEST = f"{API}/nodes/pve1/qemu/301"
CONTAINER = f"{API}/nodes/pve1/lxc/500"


@pytest.fixture
def source():
    with ProxmoxSource(make_connection()) as source:
        yield source
        source.forget_refusal()


@pytest.fixture
def remote():
    with responses.RequestsMock() as remote:
        yield remote


def answer(remote, number, address, **options):
    """The recorded pair as the answer of `address`."""
    pair = load_pair(number)
    response = pair["response"]
    headers = {"Server": "pve-api-daemon/3.0"}
    remote.add(
        pair["request"]["method"],
        address,
        json=response["body"],
        status=response["status"],
        headers=headers,
        **options,
    )
    return pair["request"]


def sent(remote):
    """The form of the only request, decoded once as Proxmox does."""
    (call,) = remote.calls
    body = call.request.body or ""
    text = body if isinstance(body, str) else body.decode()
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


def test_ssh_keys_are_encoded_once_more_than_the_form(remote, source):
    recorded = answer(remote, 614, GUEST + "/config")["form"]["sshkeys"]
    keys = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF6cV1l6m3r3x8GkQm+7e1w2o7wq9W3bJ/0pZk8S5aQx alice@example.org\r\n"
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDZ5o1u6r1h8l0w3Xy+ZqQmN4b7t8C9aE2f5G6h7I8jK bob+laptop@example.org"
    )
    source.configure_guest("qemu", "pve1", 301, {"sshkeys": keys})
    assert sent(remote) == {"sshkeys": recorded}
    assert remote.calls[0].request.body == f"sshkeys={quote(recorded, safe='')}"


def test_configuring_sets_and_removes_at_once_and_answers_nothing(remote, source):
    answer(remote, 662, GUEST + "/config")
    source.configure_guest("qemu", "pve1", 301, {"cores": 2}, remove=("protection", "tags"))
    assert sent(remote) == {"cores": "2", "delete": "protection,tags"}


def test_a_refused_key_is_named(remote, source):
    answer(remote, 613, GUEST + "/config")
    with pytest.raises(SourceRefused) as caught:
        source.configure_guest("qemu", "pve1", 301, {"sshkeys": "x"})
    assert "sshkeys" in caught.value.fields


def test_resize_names_the_size_and_not_the_difference(remote, source):
    form = answer(remote, 666, GUEST + "/resize")["form"]
    upid = source.resize_disk("qemu", "pve1", 301, disk="scsi0", size_gb=3)
    assert ":resize:301:" in upid
    assert sent(remote) == form


def test_delete_purges_by_the_query_string_and_sends_no_body(remote, source):
    answer(remote, 854, f"{API}/nodes/pve1/qemu/303")
    assert ":qmdestroy:303:" in source.delete_guest("qemu", "pve1", 303)
    assert remote.calls[0].request.url.endswith("/qemu/303?purge=1")
    assert remote.calls[0].request.body is None


def test_delete_of_what_is_gone_is_forbidden(remote, source):
    answer(remote, 859, f"{API}/nodes/pve1/qemu/303")
    with pytest.raises(SourceRefused) as caught:
        source.delete_guest("qemu", "pve1", 303)
    assert (caught.value.kind, caught.value.privilege) == ("forbidden", "VM.Allocate")


@pytest.mark.parametrize(("number", "start", "form"), [(824, False, {}), (827, True, {"start": "1"})])
def test_rollback(remote, source, number, start, form):
    answer(remote, number, GUEST + "/snapshot/before_update/rollback")
    assert ":qmrollback:301:" in source.rollback_snapshot("qemu", "pve1", 301, "before_update", start=start)
    assert sent(remote) == form


def test_snapshots_come_oldest_first_without_the_running_state(remote, source):
    answer(remote, 821, GUEST + "/snapshot")
    found = source.fetch_snapshots("qemu", "pve1", 301)
    assert [snapshot.name for snapshot in found] == ["before_update", "second", "a-b", "withram"]
    assert found[0].taken_at == datetime(2026, 11, 20, 9, 52, 15, tzinfo=UTC)
    assert (found[0].description, found[1].parent) == ("before update äö", "before_update")


def test_backup(remote, source):
    form = answer(remote, 981, f"{API}/nodes/pve1/vzdump")["form"]
    upid = source.backup_guest("pve1", 500, storage="local", mode="stop", notes="{{guestname}} by portal")
    assert ":vzdump:500:" in upid
    assert sent(remote) == {name: str(value) for name, value in form.items()}


def test_a_backup_that_found_no_guest_is_refused(remote, source):
    remote.add("POST", f"{API}/nodes/pve1/vzdump", json={"data": "OK"})
    with pytest.raises(SourceRefused, match="no guest 500"):
        source.backup_guest("pve1", 500, storage="local")


def test_a_container_is_unprivileged_and_takes_plain_keys(remote, source):
    answer(remote, 943, f"{API}/nodes/pve1/lxc")
    upid = source.create_container(
        "pve1",
        501,
        ostemplate="local:vztmpl/tiny_1.0_amd64.tar.gz",
        storage="local",
        disk_gb=4,
        hostname="ct-1",
        cores=1,
        memory_mb=128,
        network="name=eth0,bridge=vmbr0,ip=dhcp",
        ssh_keys="ssh-ed25519 AAAA+B alice\r\n",
        pool="portal",
    )
    assert ":vzcreate:501:" in upid
    assert sent(remote) == {
        "vmid": "501",
        "ostemplate": "local:vztmpl/tiny_1.0_amd64.tar.gz",
        "rootfs": "local:4",
        "hostname": "ct-1",
        "cores": "1",
        "memory": "128",
        "swap": "0",
        "unprivileged": "1",
        "net0": "name=eth0,bridge=vmbr0,ip=dhcp",
        "ssh-public-keys": "ssh-ed25519 AAAA+B alice",
        "pool": "portal",
    }


def test_a_clone_can_go_to_another_node_in_another_format(remote, source):
    wanted = {"newid": "301", "full": "1", "target": "pve2", "storage": "nfs", "format": "qcow2"}
    match = [responses.matchers.urlencoded_params_matcher(wanted)]
    remote.add("POST", f"{API}/nodes/pve1/qemu/100/clone", json={"data": UPID}, match=match)
    args = {"full": True, "target": "pve2", "storage": "nfs", "format": "qcow2"}
    assert source.clone_guest("qemu", "pve1", 100, new_vmid=301, **args) == UPID


def test_an_answer_without_a_task_is_unknown(remote, source):
    remote.add("PUT", GUEST + "/resize", json={"data": None})
    with pytest.raises(OutcomeUnknown):
        source.resize_disk("qemu", "pve1", 301, disk="scsi0", size_gb=3)


@pytest.mark.parametrize(
    ("number", "gap", "may_pass"),
    [
        (691, AddressGap.NOT_RUNNING, False),
        (692, AddressGap.NO_AGENT, False),
        (703, AddressGap.SILENT, True),
    ],
)
def test_a_machine_without_addresses_says_why(remote, source, number, gap, may_pass):
    answer(remote, number, GUEST + "/agent/network-get-interfaces")
    found = source.fetch_addresses("qemu", "pve1", 301)
    assert (found.addresses, found.gap) == ((), gap)
    assert gap.may_pass is may_pass
    assert gap.sentence.endswith(".")


def test_an_agent_that_may_not_be_asked_is_forbidden(remote, source):
    answer(remote, 693, GUEST + "/agent/network-get-interfaces")
    with pytest.raises(SourceRefused) as caught:
        source.fetch_addresses("qemu", "pve1", 301)
    assert caught.value.privilege == "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted"


def test_addresses_of_the_agent_are_ipv4_first_without_local_ones(remote, source):
    told = [
        {"name": "lo", "ip-addresses": [{"ip-address": "10.9.9.9", "ip-address-type": "ipv4"}]},
        {
            "name": "eth0",
            "ip-addresses": [
                {"ip-address": "fe80::1", "ip-address-type": "ipv6"},
                {"ip-address": "2001:db8::5", "ip-address-type": "ipv6"},
                {"ip-address": "192.0.2.10", "ip-address-type": "ipv4", "prefix": 24},
                {"ip-address": "169.254.1.2"},
                {"ip-address": "<script>"},
                "nonsense",
            ],
        },
        {"name": "eth1"},
        None,
    ]
    remote.add("GET", GUEST + "/agent/network-get-interfaces", json={"data": {"result": told}})
    found = source.fetch_addresses("qemu", "pve1", 301)
    assert (found.addresses, found.gap) == (("192.0.2.10", "2001:db8::5"), None)


def test_a_guest_that_runs_without_address_has_none_yet(remote, source):
    remote.add("GET", GUEST + "/agent/network-get-interfaces", json={"data": {"result": [{"name": "lo"}]}})
    assert source.fetch_addresses("qemu", "pve1", 301).gap is AddressGap.NONE_YET


def test_a_guest_cannot_flood_us_with_addresses(remote, source):
    told = [{"name": "eth0", "ip-addresses": [{"ip-address": f"10.0.{n}.1"} for n in range(200)]}]
    remote.add("GET", GUEST + "/agent/network-get-interfaces", json={"data": {"result": told}})
    assert len(source.fetch_addresses("qemu", "pve1", 301).addresses) == 20


def test_a_stopped_container_answers_null(remote, source):
    answer(remote, 958, CONTAINER + "/interfaces")
    assert source.fetch_addresses("lxc", "pve1", 500).gap is AddressGap.NOT_RUNNING


def test_addresses_of_a_container_come_with_their_prefix(remote, source):
    told = [
        {"name": "lo", "inet": "127.0.0.1/8", "inet6": "::1/128", "hwaddr": "00:00:00:00:00:00"},
        {
            "name": "eth0",
            "inet": "192.0.2.7/24",
            "inet6": "fe80::be24:11ff/64",
            "hwaddr": "bc:24:11:00:00:01",
        },
    ]
    remote.add("GET", CONTAINER + "/interfaces", json={"data": told})
    assert source.fetch_addresses("lxc", "pve1", 500).addresses == ("192.0.2.7",)


def test_status_of_a_half_made_clone_tells_its_lock(remote, source):
    answer(remote, 876, f"{API}/nodes/pve1/qemu/400/status/current")
    status = source.fetch_guest_status("qemu", "pve1", 400)
    assert (status.status, status.lock, status.name) == ("stopped", "clone", "half")
    assert (status.cores, status.memory, status.has_agent) == (1, 536870912, True)


def test_status_of_a_container(remote, source):
    answer(remote, 957, CONTAINER + "/status/current")
    status = source.fetch_guest_status("lxc", "pve1", 500)
    assert (status.lock, status.memory, status.has_agent) == ("", 134217728, False)


def test_storage_content_of_one_type(remote, source):
    match = [responses.matchers.query_param_matcher({"content": "vztmpl"})]
    answer(remote, 760, f"{API}/nodes/pve1/storage/local/content", match=match)
    (volume,) = source.fetch_storage_content("pve1", "local", "vztmpl")
    assert (volume.volid, volume.size) == ("local:vztmpl/tiny_1.0_amd64.tar.gz", 419502310)


def test_free_memory_of_nodes_that_are_online(remote, source):
    rows = [*load_body(752)["data"], {"id": "node/pve2", "type": "node", "node": "pve2", "status": "offline"}]
    remote.add("GET", f"{API}/cluster/resources", json={"data": rows})
    assert source.fetch_free_memory() == {"pve1": 25276514304 - 1286725632}


def test_storages_are_listed_by_the_node_that_reaches_them(remote, source):
    lost = {
        "id": "storage/pve2/nfs",
        "type": "storage",
        "node": "pve2",
        "storage": "nfs",
        "status": "unknown",
    }
    remote.add("GET", f"{API}/cluster/resources", json={"data": [*load_body(751)["data"], lost]})
    reached = source.fetch_storages_by_node()
    assert list(reached) == ["pve1"]
    assert "vztmpl" in reached["pve1"]["local"].content


def test_whether_a_vmid_is_free(remote, source):
    answer(remote, 785, f"{API}/cluster/nextid")
    assert not source.is_vmid_free(101)


def test_a_free_vmid_is_told_by_itself(remote, source):
    remote.add("GET", f"{API}/cluster/nextid", json={"data": "700"})
    assert source.is_vmid_free(700)


@pytest.mark.parametrize("path", ["status/current", "snapshot"])
def test_nonsense_is_garbage(remote, source, path):
    remote.add("GET", f"{GUEST}/{path}", json={"data": "x"})
    fetch = source.fetch_guest_status if path.startswith("status") else source.fetch_snapshots
    with pytest.raises(SourceUnavailable) as caught:
        fetch("qemu", "pve1", 301)
    assert caught.value.kind == "garbage"
