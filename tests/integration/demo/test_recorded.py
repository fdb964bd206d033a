"""The demo cluster answers recorded requests as Proxmox VE 9.2.11 did: status, reason, errors, fields, types."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from demo.proxmox import DemoCluster
from demo.proxmox.guests import Guest
from tests.integration.demo.client import Client, portal

RECORDED = Path(__file__).parents[2] / "data" / "recorded" / "pve"

# Replayed exactly as they were asked: same caller, path, query and form.
REPLAYED = tuple(
    """
    014-no-ticket 023-token-ok 032-forbidden-get 033-forbidden-clone 034-forbidden-clone-auditor
    036-forbidden-token-needs-ticket 037-forbidden-user-check 038-version 040-nodes-low
    044-cluster-resources-bad-type 047-nextid-vmid-used 048-permissions-token 049-access-domains
    050-unknown-path 051-unknown-method 053-extjs-format 054-extjs-error 055-unknown-node 056-bad-node-name
    058-vm-unknown 059-vm-unknown-start 060-clone-bad-param 061-clone-missing-param 062-clone-existing-vmid
    063-uri-param-conflict 069-clone-existing-vm 071-options 073-patch 078-qemu-status-current
    179-unknown-upid-status 180-malformed-upid-status 181-unknown-upid-log 183-unknown-upid-index
    184-malformed-upid-index 185-unknown-upid-delete 187-unknown-upid-status-low 188-unknown-upid-log-low
    189-upid-no-trailing-colon 191-upid-other-node 192-upid-slash 229-tasks-typefilter-unknown
    232-tasks-vmid-bad 243-tasks-statusfilter-bad 251-tasks-source-bad 252-tasks-limit-negative
    460-name-dot-end 462-name-dash-start 465-description-8k 474-clone-storage-no-images
    506-template-convert-forbidden 514-template-convert-again 517-template-start 522-clone-linked-wrong-pool
    523-clone-linked-with-storage 524-clone-linked-with-format 536-clone-nontemplate-full0
    540-clone-forbidden-source 541-clone-other-storage-forbidden 544-clone-target-node-unknown
    545-clone-bad-name-underscore 550-clone-bad-newid-99 552-clone-bad-newid-huge 554-clone-bad-many-bad
    555-clone-bad-snapname-unknown 620-config-sshkeys-triple 631-config-ipconfig-bad 633-config-tags-bad
    634-config-memory-text 635-config-memory-small 636-config-cores-zero 641-config-net-foreign-bridge
    644-config-foreign-disk 646-config-args 648-config-hostpci 650-config-startup 653-config-cdrom
    654-config-serial 655-config-digest 656-config-unknown 678-resize-bad-size 679-resize-minus
    691-agent-net-stopped 693-agent-net-forbidden 698-status-current-stopped 725-status-reboot-stopped
    726-status-reset-stopped 746-power-forbidden 747-config-forbidden 748-delete-forbidden
    749-snapshot-forbidden 765-portal-content-bad 766-portal-content-unknown-storage
    771-portal-pools-unknown 772-portal-pool-unknown 779-portal-version 782-portal-qemu-feature-clone
    785-portal-nextid-used 810-snap-bad-name 815-snap-current 817-snap-long 849-snap-raw-unsupported
    857-delete-vm-gone 858-delete-vm-gone-config 859-delete-vm-again 868-pool-add-existing
    960-ct-config-post 961-ct-config-name 995-vm-as-ct
    """.split()  # noqa: SIM905
)

# Lists and objects whose fields and types have to be those of the recording.
SHAPED = tuple(
    """
    039-nodes-root 041-cluster-resources-root 043-cluster-resources-low 077-lxc-list
    750-portal-cluster-resources-vm 751-portal-cluster-resources-storage 752-portal-cluster-resources-node
    757-portal-node-storage 759-portal-storage-status 768-portal-pools-pool 769-portal-pools-poolid
    786-portal-node-status 803-snap-list 115-tasks-active-while-running 119-tasks-archive-while-running
    123-cluster-tasks-while-running
    """.split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[DemoCluster]:
    """The world of the recordings on top of the demo's: same people, same VMIDs."""
    with DemoCluster(time_scale=0.01) as demo:
        guests = demo.cluster.guests
        guests[100] = Guest(
            100,
            "qemu",
            "pve1",
            {"name": "base", "memory": "128", "scsi0": "local:100/vm-100-disk-0.raw,size=2G"},
        )
        guests[101] = Guest(
            101,
            "qemu",
            "pve1",
            {"name": "clone1", "memory": "128", "scsi0": "local:101/vm-101-disk-0.qcow2,size=2G"},
            status="running",
            started_at=1.0,
        )
        guests[200].config["hostname"] = "ct200"
        guests[301] = Guest(
            301,
            "qemu",
            "pve1",
            {
                "name": "web-1-renamed",
                "memory": "256",
                "agent": "1",
                "serial0": "socket",
                "tags": "a;b",
                "scsi0": "local:9000/base-9000-disk-0.qcow2/301/vm-301-disk-0.qcow2,size=4G",
                "parent": "before_update",
            },
            pool="portal",
            snapshots=[
                {"name": "before_update", "snaptime": 1, "description": "", "vmstate": 0, "config": {}},
            ],
        )
        guests[302] = Guest(302, "qemu", "pve1", {"name": "web-2"}, pool="portal")
        guests[500] = Guest(500, "lxc", "pve1", {"hostname": "ct-1", "memory": 128}, pool="portal")
        for user, role in (("ops@pve", "PVEAdmin"), ("aud@pve", "PVEAuditor"), ("low@pve", "NoAccess")):
            demo.add_user(user, "recorded-password", role)
        demo.cluster.access.passwords["root@pam"] = "recorded-password"
        demo.add_token("ops@pve", "t1", {}, privsep=False)
        demo.add_token("low@pve", "t1", {})
        demo.add_token("root@pam", "full", {}, privsep=False)
        demo.start_task(type="qmstart", id="101", lines=[(0, "done")])
        demo.start_task(type="qmclone", id="100", user="ops@pve!t1", seconds=100_000)
        yield demo


_clients: dict[tuple[int, str], Client] = {}


def client_of(cluster: DemoCluster, who: str) -> Client:
    key = (id(cluster), who)
    if key not in _clients:
        if "!" in who:
            _clients[key] = Client(cluster, (who, cluster.cluster.access.tokens[who].secret))
        else:
            _clients[key] = Client(cluster).login(who, "recorded-password") if who else Client(cluster)
    return _clients[key]


def load(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


def replay(cluster: DemoCluster, recorded: dict[str, Any]) -> Any:
    request = recorded["request"]
    path = request["path"]
    if request["query"]:
        path += f"?{urlencode(request['query'])}"
    return client_of(cluster, request["as"] or "").ask(request["method"], path, request["form"])


@pytest.mark.parametrize("name", REPLAYED)
def test_answer_is_the_recorded_one(cluster: DemoCluster, name: str) -> None:
    recorded = load(name)
    answer, wanted = replay(cluster, recorded), recorded["response"]
    assert (answer.status, answer.reason) == (wanted["status"], wanted["reason"])
    body = answer.body
    if isinstance(wanted["body"], dict) and "errors" in wanted["body"]:
        assert body["errors"] == wanted["body"]["errors"]
    if answer.status != 200:
        assert body == wanted["body"]
    else:
        assert_same_shape(body, wanted["body"])


@pytest.mark.parametrize("name", SHAPED)
def test_fields_and_types_are_the_recorded_ones(cluster: DemoCluster, name: str) -> None:
    recorded = load(name)
    answer = replay(cluster, recorded)
    assert answer.status == 200
    assert_same_shape(answer.body, recorded["response"]["body"])


def kind_of(row: dict[str, Any]) -> tuple[object, ...]:
    """Rows of one list that may differ: guests, nodes, running and finished tasks, newborns."""
    return (
        row.get("type") if "upid" not in row else "task",
        "endtime" in row,
        row.get("status") == "unknown",
        row.get("name") == "current",
        row.get("status") == "running",
    )


# Fields that are there or not for reasons of their own.
OPTIONAL = {"tags", "pool", "lock", "tokenid", "template", "serial", "parent", "saved", "agent", "clipboard"}
# The rrd daemon's and the display's own business: shown by the recorded node, not by the demo.
NOT_SHOWN = {"clipboard"}


def assert_same_shape(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert ours.keys() - OPTIONAL == theirs.keys() - OPTIONAL, where
        for key in ours.keys() & theirs.keys():
            assert_same_shape(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], dict):
        assert isinstance(ours, list)
        examples: dict[object, dict[str, Any]] = {}
        for row in theirs:
            examples[kind_of(row)] = examples.get(kind_of(row), {}) | row
        for row in ours:
            if example := examples.get(kind_of(row)):
                assert_same_shape(row, example, f"{where}[{kind_of(row)}]")
        assert any(kind_of(row) in examples for row in ours) or not ours, where
    elif isinstance(theirs, int | float) and not isinstance(theirs, bool):
        assert isinstance(ours, int | float), where
    elif theirs is not None:
        assert type(ours) is type(theirs), where


def test_protected_calls_carry_both_connection_headers(cluster: DemoCluster) -> None:
    me = portal(cluster)
    recorded = load("078-qemu-status-current")["response"]["headers"]
    wanted = [value for name, value in recorded if name == "Connection"]
    answer = me.get("/nodes/pve1/qemu/100/status/current")
    assert (
        [value for name, value in answer.headers if name == "Connection"] == wanted == ["close", "Keep-Alive"]
    )


def test_header_names_are_the_recorded_ones(cluster: DemoCluster) -> None:
    wanted = [name for name, _ in load("038-version")["response"]["headers"]]
    assert [name for name, _ in portal(cluster).get("/version").headers] == wanted


def test_permissions_of_the_printed_commands_are_the_recorded_ones(cluster: DemoCluster) -> None:
    recorded = load("501-portal-permissions")["response"]["body"]["data"]
    ours = portal(cluster).get("/access/permissions").data
    # The demo's token may stop other people's tasks and back up, too, and has more templates and storages.
    recorded["/pool/portal"]["VM.Backup"] = 1
    for path in (
        "/",
        "/vms",
        "/vms/9000",
        "/storage/local",
        "/pool",
        "/pool/portal",
        "/sdn/zones/localnetwork/vmbr0",
    ):
        assert ours[path] == recorded[path], path
