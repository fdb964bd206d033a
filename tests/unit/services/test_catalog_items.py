"""Catalogue items: what an admin may say about them, what is written, and what is refused."""

from dataclasses import replace

import pytest
from django.utils.timezone import now

from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import AuditEntry, CatalogItem, Machine, Role, Stage
from tasks_app.services.catalog_items import missing_privileges, remove_item, save_item, set_item_enabled
from tasks_app.services.item_input import AddressPool, ItemSettings, Size, clean_settings
from tasks_app.services.source_offers import Template
from tests.factories import make_guest, make_item, make_machine, make_order, make_source, make_user

pytestmark = pytest.mark.django_db
SMALL = Size("S", "Small", 1, 1024)
VM = Template(
    "qemu", vmid=9000, name="debian-13", node="pve1", is_template=True,
    disks=(("efidisk0", 1), ("scsi0", 8)), disk_key="scsi0", bridges=("vmbr0",), storages=("local-lvm",),
    has_cloud_init=True,
)  # fmt: skip
PLAIN_VM = replace(VM, is_template=False)
CT = Template(
    "lxc", vmid=500, name="ct", node="pve1", is_template=True, disks=(("rootfs", 4),), disk_key="rootfs"
)
OS = Template("ostemplate", ostemplate="local:vztmpl/debian-13.tar.zst", disk_key="rootfs")
SETTINGS = ItemSettings(slug="debian", title="Debian 13", sizes=(SMALL,))
CT_NEW = replace(
    SETTINGS, storage="local-lvm", placement="automatic", bridge="vmbr0", sizes=(replace(SMALL, disk_gb=8),)
)
POOL = AddressPool("10.20.30.0/24", "10.20.30.50", "10.20.30.99", "10.20.30.1")


def refused_fields(settings, template=VM) -> set[str]:
    with pytest.raises(InvalidInput) as refusal:
        clean_settings(settings, template)
    assert all(refusal.value.fields.values())
    return set(refusal.value.fields)


def test_admin_of_the_source_adds_an_item_and_it_is_audited_once(audited):
    source = make_source()
    item = save_item(
        None, actor=make_user(Role.ADMIN, source=source), settings=SETTINGS, source=source, template=VM
    )
    item = CatalogItem.objects.get(pk=item.pk)
    assert (item.kind, item.vmid, item.disk_key) == ("qemu", 9000, "scsi0")
    assert (item.template_disk_gb, item.template_disks_gb) == (8, 9)
    assert item.sizes == [{"key": "S", "label": "Small", "cores": 1, "memory_mb": 1024, "disk_gb": 0}]
    assert audited() == ["item.add"]
    assert AuditEntry.objects.get().source_name == source.name


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, None])
def test_nobody_else_may(role, audited):
    item = make_item()
    person = make_user(role, source=item.source)
    for deed in (
        lambda: save_item(None, actor=person, settings=SETTINGS, source=item.source, template=VM),
        lambda: save_item(item, actor=person, settings=SETTINGS),
        lambda: set_item_enabled(item, actor=person, is_enabled=False),
        lambda: remove_item(item, actor=person),
    ):
        with pytest.raises(NotPermitted):
            deed()
    assert CatalogItem.objects.get().is_enabled
    assert audited() == []


def test_admin_of_another_source_may_not():
    with pytest.raises(NotPermitted):
        save_item(make_item(), actor=make_user(Role.ADMIN, source=make_source()), settings=SETTINGS)


def test_a_change_is_audited_with_what_was_before_and_the_same_again_is_not(audited):
    source = make_source()
    item = save_item(None, actor=None, settings=SETTINGS, source=source, template=VM)
    save_item(item, actor=None, settings=replace(SETTINGS, lease_days=7), template=VM)
    save_item(item, actor=None, settings=replace(SETTINGS, lease_days=7), template=VM)
    assert audited() == ["item.add", "item.change"]
    assert AuditEntry.objects.get(action="item.change").data == {
        "before": {"lease_days": None},
        "after": {"lease_days": 7},
    }


def test_without_a_fresh_look_the_template_stays_as_it_was_read():
    item = save_item(None, actor=None, settings=SETTINGS, source=make_source(), template=VM)
    save_item(item, actor=None, settings=replace(SETTINGS, title="Debian"))
    item.refresh_from_db()
    assert (item.title, item.vmid, item.template_disk_gb, item.template_disks_gb) == ("Debian", 9000, 8, 9)


def test_another_template_takes_back_that_the_old_one_vanished():
    item = make_item(vanished_at=now())
    save_item(item, actor=None, settings=SETTINGS, template=replace(VM, vmid=9001))
    item.refresh_from_db()
    assert (item.vmid, item.vanished_at) == (9001, None)


def test_two_items_of_a_source_do_not_share_a_short_name():
    source = make_source()
    save_item(None, actor=None, settings=SETTINGS, source=source, template=VM)
    with pytest.raises(InvalidInput) as refusal:
        save_item(None, actor=None, settings=SETTINGS, source=source, template=VM)
    assert set(refusal.value.fields) == {"slug"}
    save_item(None, actor=None, settings=SETTINGS, source=make_source(), template=VM)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": " "}, "title"),
        ({"slug": "Ä b"}, "slug"),
        ({"icon": "../x"}, "icon"),
        ({"name_pattern": "{team}-{host}"}, "name_pattern"),
        ({"name_pattern": "{team}_{nn}"}, "name_pattern"),
        ({"name_pattern": "x" * 70 + "{nn}"}, "name_pattern"),
        ({"full_clone": False, "storage": "local-lvm"}, "storage"),
        ({"storage": "../etc"}, "storage"),
        ({"placement": "fixed"}, "nodes"),
        ({"placement": "moon"}, "placement"),
        ({"vmid_from": 99}, "vmid_from"),
        ({"vmid_from": 300, "vmid_to": 299}, "vmid_to"),
        ({"vmid_to": 10**9}, "vmid_to"),
        ({"sizes": ()}, "sizes"),
        ({"sizes": (SMALL, replace(SMALL, key="s"))}, "sizes"),
        ({"sizes": (replace(SMALL, key="custom"),)}, "sizes"),
        ({"sizes": (replace(SMALL, cores=0),)}, "sizes"),
        ({"sizes": (replace(SMALL, memory_mb=8),)}, "sizes"),
        ({"sizes": (replace(SMALL, disk_gb=7),)}, "sizes"),
        ({"allows_custom": True, "max_disk_gb": 7}, "max_disk_gb"),
        ({"allows_custom": True, "max_cores": 513}, "max_cores"),
        ({"ci_user": "root; reboot"}, "ci_user"),
        ({"ip_mode": "static"}, "ip_network"),
        ({"lease_days": 0}, "lease_days"),
        ({"lease_days": 30, "max_lease_days": 29}, "max_lease_days"),
        ({"max_lease_days": 29}, "lease_days"),
        ({"grace_days": -1}, "grace_days"),
        ({"approval": "sometimes"}, "approval"),
        ({"approval": "above"}, "approval_above_count"),
    ],
)
def test_what_cannot_be_is_told_on_its_field(changes, field):
    assert refused_fields(replace(SETTINGS, **changes)) == {field}


def test_all_that_is_wrong_is_told_at_once():
    assert refused_fields(replace(SETTINGS, title="", slug="", sizes=())) >= {"title", "slug", "sizes"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"network": "10.20.30.1/24"}, "ip_network"),
        ({"network": "moon"}, "ip_network"),
        ({"first": "10.20.31.50"}, "ip_first"),
        ({"first": "10.20.30.0"}, "ip_first"),
        ({"last": "10.20.30.255"}, "ip_last"),
        ({"last": "10.20.30.49"}, "ip_last"),
        ({"last": "x"}, "ip_last"),
        ({"gateway": "10.20.30.60"}, "ip_gateway"),
        ({"gateway": "fe80::1"}, "ip_gateway"),
    ],
)
def test_a_pool_that_cannot_be_is_told_on_its_field(changes, field):
    settings = replace(SETTINGS, ip_mode="static", ip_pool=replace(POOL, **changes))
    assert refused_fields(settings) == {field}


@pytest.mark.parametrize(
    "pool", [POOL, replace(POOL, gateway=""), AddressPool("fd00::/64", "fd00::10", "fd00::ff", "fd00::1")]
)
def test_a_pool_that_can_be_is_kept(pool):
    cleaned = clean_settings(replace(SETTINGS, ip_mode="static", ip_pool=pool), VM)
    assert cleaned.as_row()["ip_pool"]["first"] == pool.first


def test_a_pool_is_forgotten_when_addresses_are_not_static():
    assert clean_settings(replace(SETTINGS, ip_pool=POOL), VM).as_row()["ip_pool"] == {}


def test_only_a_template_is_cloned_linked():
    assert not clean_settings(replace(SETTINGS, full_clone=False), VM).full_clone
    assert refused_fields(replace(SETTINGS, full_clone=False), PLAIN_VM) == {"full_clone"}


def test_a_new_container_needs_storage_bridge_node_choice_and_disk():
    assert clean_settings(replace(CT_NEW, ci_user="debian"), OS).ci_user == ""
    assert refused_fields(replace(CT_NEW, storage=""), OS) == {"storage"}
    assert refused_fields(replace(CT_NEW, bridge=""), OS) == {"bridge"}
    assert refused_fields(replace(CT_NEW, placement="same"), OS) == {"placement"}
    assert refused_fields(replace(CT_NEW, sizes=(SMALL,)), OS) == {"sizes"}


def test_a_cloned_container_takes_no_keys_and_needs_a_bridge_for_an_address():
    assert not clean_settings(SETTINGS, CT).takes_ssh_keys
    assert refused_fields(replace(SETTINGS, ip_mode="dhcp"), CT) == {"bridge"}
    assert clean_settings(replace(SETTINGS, ip_mode="dhcp", bridge="vmbr0"), CT).bridge == "vmbr0"


def test_switching_is_audited_once_each_way(audited):
    item = make_item()
    for is_enabled in (False, False, True):
        set_item_enabled(item, actor=None, is_enabled=is_enabled)
    assert CatalogItem.objects.get().is_enabled
    assert audited() == ["item.switch", "item.switch"]


def test_an_item_with_open_orders_is_not_removed(audited):
    item = make_item()
    machine = make_machine(make_order(item=item), stage=Stage.QUEUED)
    with pytest.raises(Refused, match="is ordered and not made yet"):
        remove_item(item, actor=None)
    Machine.objects.filter(pk=machine.pk).update(stage=Stage.READY)
    remove_item(item, actor=None)
    assert not CatalogItem.objects.exists()
    assert Machine.objects.get().item is None
    assert audited() == ["item.remove"]


def test_missing_privileges_name_what_the_item_needs_and_its_cure():
    item = make_item(
        make_source(permissions={"/": {"Sys.Audit": 1}}), pool="portal", storage="local-lvm", starts=False
    )
    missing = {check.function: check for check in missing_privileges(item, VM)}
    assert set(missing) == {"clone", "clone_target", "clone_storage", "clone_network"}
    assert (missing["clone"].privilege, missing["clone"].path) == ("VM.Clone", "/vms/9000")
    assert "pveum acl modify /vms/9000" in missing["clone"].command
    assert missing["clone_target"].path == "/pool/portal"
    assert missing["clone_storage"].path == "/storage/local-lvm"
    assert missing["clone_network"].path == "/sdn/zones/localnetwork/vmbr0"


def test_nothing_is_missing_when_all_is_held_or_nothing_is_known():
    everything = {
        "/": dict.fromkeys(
            ("VM.Clone", "VM.Allocate", "Datastore.AllocateSpace", "SDN.Use", "VM.PowerMgmt"), 1
        )
    }
    assert missing_privileges(make_item(make_source(permissions=everything)), VM) == []
    assert missing_privileges(make_item(make_source(permissions={}, permissions_at=None)), VM) == []


def test_a_new_container_needs_no_privilege_on_a_template():
    item = make_item(
        make_source(permissions={}), kind="ostemplate", vmid=None, ostemplate=OS.ostemplate, starts=False
    )
    assert "clone" not in {check.function for check in missing_privileges(item)}


def test_the_facts_of_an_item_tell_whether_its_guest_is_a_template():
    item = make_item()
    make_guest(item.source, vmid=9000, is_template=True)
    save_item(item, actor=None, settings=replace(SETTINGS, full_clone=False))
    item.refresh_from_db()
    assert not item.full_clone
