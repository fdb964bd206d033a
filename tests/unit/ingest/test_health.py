"""Health, rights and inventory of a source: written when they change, told once."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks_app.ingest import health
from tasks_app.ingest.inventory import store_guests, store_nodes
from tasks_app.models import Guest, Node, Source, TaskEvent
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox import Node as RemoteNode
from tasks_app.sources.proxmox import Resource
from tests.factories import make_source

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def events():
    return TaskEvent.objects.filter(kind="source").count()


def passed(source):
    return health.record_pass(source, owner="me", at=AT, latency_seconds=0.012, next_pass_at=AT)


def failed(source, kind="timeout"):
    error = SourceUnavailable("no answer", kind=kind)
    return health.record_failure(source, error, owner="me", at=AT, next_pass_at=AT)


def claimed(**fields):
    source = make_source(**fields)
    Source.objects.update(lease_owner="me")
    return source


def test_passes_that_go_well_are_not_told():
    source = claimed()
    assert passed(source)
    source.refresh_from_db()
    assert (source.latency_ms, source.last_pass_at, source.lease_owner) == (12, AT, "")
    assert events() == 0


def test_the_first_pass_and_the_end_of_a_failure_are_told():
    source = claimed(last_pass_at=None)
    passed(source)
    assert events() == 1
    Source.objects.update(failing_since=AT, lease_owner="me")
    passed(source)
    assert events() == 2


def test_a_failure_is_told_when_it_begins_and_when_its_kind_changes():
    source = claimed()
    for kind, count in [("timeout", 1), ("timeout", 1), ("dns", 2)]:
        Source.objects.update(lease_owner="me")
        failed(source, kind)
        assert events() == count
    source.refresh_from_db()
    assert (source.failures, source.failing_since) == (3, AT)


def test_without_the_lease_nothing_is_written():
    source = claimed()
    Source.objects.update(lease_owner="other")
    before = Source.objects.values().get()
    assert not passed(source)
    assert not failed(source)
    assert Source.objects.values().get() == before


@pytest.mark.parametrize(
    ("permissions", "can"),
    [
        ({}, False),
        ({"/": {}}, False),
        ({"/": {"Sys.Audit": 0}}, True),
        ({"/nodes/pve1": {"Sys.Audit": 1}}, False),
    ],
)
def test_the_cluster_list_needs_sys_audit_on_the_root(permissions, can):
    assert health.can_list_cluster(permissions) is can


def test_rights_are_told_only_when_they_change():
    source = claimed()
    for held, count in [({"/": {"Sys.Audit": True}}, 1), ({"/": {"Sys.Audit": True}}, 1), ({"/": {}}, 2)]:
        source = Source.objects.get()
        health.record_permissions(source, held, version="9.2.11", at=AT)
        assert events() == count


def test_a_node_that_left_is_unknown():
    source = make_source()
    store_nodes(source, [RemoteNode("pve1", True, 1, ""), RemoteNode("pve2", False, 0, "")], at=AT)
    store_nodes(source, [RemoteNode("pve1", True, 1, "")], at=AT)
    assert dict(Node.objects.values_list("name", "status")) == {"pve1": "online", "pve2": "unknown"}


def guest(vmid, name="web", **fields):
    return Resource(f"qemu/{vmid}", "qemu", node="pve1", vmid=vmid, name=name, **fields)


def test_guests_are_written_once_and_then_only_when_they_change(django_assert_num_queries):
    source = make_source()
    store_guests(source, [guest(100), guest(101)], at=AT)
    with django_assert_num_queries(1):
        store_guests(source, [guest(100), guest(101)], at=AT + timedelta(seconds=15))
    store_guests(source, [guest(100, status="running"), guest(101)], at=AT + timedelta(seconds=30))
    assert Guest.objects.get(vmid=100).status == "running"


def test_a_guest_that_vanished_is_marked_and_comes_back():
    source = make_source()
    store_guests(source, [guest(100), guest(101)], at=AT)
    store_guests(source, [guest(100)], at=AT)
    assert Guest.objects.get(vmid=101).gone_at == AT
    store_guests(source, [guest(100), guest(101)], at=AT)
    assert Guest.objects.get(vmid=101).gone_at is None


def test_an_empty_inventory_takes_no_guest_away():
    source = make_source()
    store_guests(source, [guest(100)], at=AT)
    store_guests(source, [], at=AT)
    assert Guest.objects.get().gone_at is None


def test_a_nameless_moment_does_not_take_a_known_name():
    source = make_source()
    store_guests(source, [guest(100, "web-01")], at=AT)
    store_guests(source, [guest(100, "")], at=AT)
    assert Guest.objects.get().name == "web-01"


def test_the_cursor_of_a_node_never_goes_back():
    node = Node.objects.create(source=make_source(), name="pve1", cursor=100)
    health.record_cursor(node, cursor=50, at=AT)
    node.refresh_from_db()
    assert node.cursor == 100
    assert node.first_synced_at == AT


def test_rights_and_nodes_that_no_database_would_take_are_made_storable():
    source = make_source()
    health.record_permissions(source, {"/po\0ol": {"VM\0": True}}, version="9\0.2" * 40, at=AT)
    store_nodes(source, [RemoteNode("pv\0e", True, 1, "")], at=AT)
    source.refresh_from_db()
    assert source.permissions == {"/po\ufffdol": {"VM\ufffd": 1}}
    assert source.version.startswith("9\ufffd.2")
    assert Node.objects.get().name == "pv\ufffde"


def test_a_guest_with_absurd_numbers_is_kept_without_them():
    source = make_source()
    absurd = {"maxcpu": 10**400, "maxmem": 10**400, "maxdisk": -5}
    store_guests(source, [Resource(id="qemu/100", type="qemu", node="pve1", vmid=100, **absurd)], at=AT)
    guest = Guest.objects.get()
    assert (guest.cores, guest.max_memory, guest.max_disk) == (None, None, None)
