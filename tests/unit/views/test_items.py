"""Pages of catalogue items, as everybody. The sources are paused or do not answer: what is known stays usable."""

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils.timezone import now

from tasks_app.forms.items import ItemForm
from tasks_app.models import CatalogItem, Role
from tasks_app.services.source_offers import (
    Offer,
    StorageOffer,
    Template,
    fetch_template,
    parse_template,
    read_offer,
)
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.guests import Volume
from tasks_app.sources.proxmox.inventory import Resource
from tests.factories import make_guest, make_item, make_machine, make_order, make_source, make_team, make_user

pytestmark = pytest.mark.django_db
FORM = {
    "title": "Debian", "slug": "debian", "icon": "server", "placement": "same", "ip_mode": "none",
    "approval": "never", "full_clone": "full",
    "vmid_from": "100", "vmid_to": "999", "name_pattern": "{team}-{nn:02}", "grace_days": "7",
    "sizes-TOTAL_FORMS": "2", "sizes-INITIAL_FORMS": "0",
    "sizes-0-key": "S", "sizes-0-label": "Small", "sizes-0-cores": "1", "sizes-0-memory_gib": "1.5",
}  # fmt: skip


class Cluster:
    """What the reads of an offer ask a source for."""

    def __init__(self) -> None:
        self.asked = 0

    def fetch_resources(self) -> list[Resource]:
        self.asked += 1
        return [
            Resource("node/pve1", "node", node="pve1", status="online"),
            Resource("node/pve2", "node", node="pve2", status="offline"),
            Resource(
                "storage/pve1/local", "storage", node="pve1", storage="local", status="available",
                content=("vztmpl",),
            ),
            Resource(
                "storage/pve1/lvm", "storage", node="pve1", storage="lvm", status="available",
                content=("images", "rootdir"), maxdisk=100, disk=40,
            ),
            Resource("/pool/portal", "pool", pool="portal"),
        ]  # fmt: skip

    def fetch_bridges(self, node: str) -> list[str]:
        return ["vmbr0"]

    def fetch_storage_content(self, node: str, storage: str, content: str) -> list[Volume]:
        return [Volume("local:vztmpl/debian-13.tar.zst", size=5)]

    def fetch_guest_config(self, kind: str, node: str, vmid: int) -> dict[str, str]:
        return {
            "boot": "order=virtio0;net0",
            "scsi0": "lvm:base-9000-disk-1,size=1G",
            "virtio0": "lvm:base-9000-disk-0,size=2304M",
            "ide2": "lvm:vm-9000-cloudinit,media=cdrom",
            "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr1",
        }


class SlowCluster(Cluster):
    def fetch_bridges(self, node: str) -> list[str]:
        raise SourceUnavailable("no answer", kind="timeout")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    cache.clear()


@pytest.fixture
def item() -> CatalogItem:
    source = make_source(paused_at=now())
    make_guest(source, vmid=9000, name="debian-13", is_template=True)
    return make_item(source)


@pytest.mark.parametrize("path", ["/items/", "/items/add/", "/items/1/"])
def test_anonymous_is_led_to_the_sign_in(client: Client, path: str) -> None:
    assert client.get(path)["Location"].startswith("/account/login/")


@pytest.mark.parametrize(
    ("role", "listed", "added", "shown", "changed"),
    [
        (Role.ADMIN, 200, 200, 200, 302),
        (Role.AUDITOR, 200, 403, 200, 403),
        (Role.OPERATOR, 403, 403, 403, 403),
        (Role.VIEWER, 403, 403, 403, 403),
        (None, 403, 403, 404, 404),
    ],
)
def test_who_may_what(client: Client, item: CatalogItem, role, listed, added, shown, changed) -> None:
    client.force_login(make_user(role, source=item.source if role else None))
    found = [client.get(path).status_code for path in ("/items/", "/items/add/", f"/items/{item.pk}/")]
    assert found == [listed, added, shown]
    for path, data in (
        (f"/items/{item.pk}/", FORM),
        (f"/items/{item.pk}/switch", {}),
        (f"/items/{item.pk}/remove", {}),
    ):
        assert client.post(path, data).status_code == changed, path
    assert CatalogItem.objects.exists() == (changed != 302)


def test_a_member_orders_an_item_and_does_not_read_its_settings(client: Client, item: CatalogItem) -> None:
    member = make_user()
    make_team(member, items=(item,))
    client.force_login(member)
    assert client.get(f"/items/{item.pk}/").status_code == 403


def test_items_of_other_sources_are_not_there(client: Client, item: CatalogItem) -> None:
    client.force_login(make_user(Role.ADMIN, source=make_source()))
    assert client.get(f"/items/{item.pk}/").status_code == 404
    assert item.title not in client.get("/items/").content.decode()
    assert client.get(f"/items/add/?source={item.source_id}").status_code == 404


def test_an_item_is_changed_although_its_source_is_paused(client: Client, item: CatalogItem) -> None:
    client.force_login(make_user(Role.ADMIN))
    assert "is paused" in client.get(f"/items/{item.pk}/").content.decode()
    assert client.post(f"/items/{item.pk}/", FORM).status_code == 302
    item.refresh_from_db()
    assert (item.title, item.icon, item.template_disk_gb) == ("Debian", "server", 8)
    assert item.sizes == [{"key": "S", "label": "Small", "cores": 1, "memory_mb": 1536, "disk_gb": 0}]


def test_wrong_sizes_stand_at_the_sizes(client: Client, item: CatalogItem) -> None:
    client.force_login(make_user(Role.ADMIN))
    answer = client.post(f"/items/{item.pk}/", FORM | {"sizes-0-disk_gb": "7"})
    assert answer.status_code == 422
    assert "a disk only grows; give at least 8 GiB" in answer.context["form"].size_problem
    answer = client.post(f"/items/{item.pk}/", FORM | {"sizes-0-cores": ""})
    assert answer.status_code == 422
    assert "Fill this in." in answer.content.decode()


@pytest.mark.parametrize("name", ["storage", "pool", "nodes"])
def test_what_the_cluster_does_not_have_cannot_be_chosen(
    client: Client, item: CatalogItem, name: str
) -> None:
    client.force_login(make_user(Role.ADMIN))
    answer = client.post(f"/items/{item.pk}/", FORM | {name: "made-up"})
    assert answer.status_code == 422
    assert name in answer.context["form"].errors


def test_a_vanished_template_says_so(client: Client, item: CatalogItem) -> None:
    CatalogItem.objects.update(vanished_at=now())
    client.force_login(make_user(Role.ADMIN))
    assert "is not on" in client.get("/items/").content.decode()


def test_missing_privileges_come_with_their_cure(client: Client, item: CatalogItem) -> None:
    client.force_login(make_user(Role.ADMIN))
    page = client.get(f"/items/{item.pk}/").content.decode()
    assert "VM.Clone" in page
    assert "pveum acl modify /vms/9000" in page


def test_guests_are_picked_templates_first_and_machines_of_the_portal_never(
    client: Client, item: CatalogItem
) -> None:
    make_guest(item.source, name="plain-vm")
    machine = make_machine(make_order(item=item))
    client.force_login(make_user(Role.ADMIN, source=item.source))
    page = client.get("/items/add/").content.decode()
    assert "pick=qemu:9000" in page
    assert page.index("debian-13") < page.index("plain-vm")
    assert machine.name not in page
    assert "plain-vm" not in client.get("/items/add/?q=9000").content.decode()


@pytest.mark.parametrize("pick", ["qemu:9000", "qemu:1", "lxc:x", "ostemplate:local:vztmpl/x", "moon:1"])
def test_without_an_answer_of_the_source_nothing_new_is_made(
    client: Client, item: CatalogItem, pick: str
) -> None:
    client.force_login(make_user(Role.ADMIN, source=item.source))
    assert client.get(f"/items/add/?pick={pick}").status_code == 409
    assert CatalogItem.objects.count() == 1


def test_an_offer_is_read_once_a_minute() -> None:
    source, cluster = make_source(), Cluster()
    offer = read_offer(source, client=cluster)
    assert read_offer(source, client=cluster) == offer
    assert cluster.asked == 1
    assert offer == Offer(
        nodes=("pve1",),
        storages=(StorageOffer("lvm", ("pve1",), ("images", "rootdir"), False, 60),),
        pools=("portal",),
        bridges=("vmbr0",),
        os_templates=offer.os_templates,
    )
    assert [template.name for template in offer.os_templates] == ["debian-13.tar.zst"]


def test_an_offer_with_holes_says_so_and_is_read_again() -> None:
    source, cluster = make_source(), SlowCluster()
    assert "bridges of pve1" in read_offer(source, client=cluster).problem
    read_offer(source, client=cluster)
    assert cluster.asked == 2


def test_a_template_is_what_its_configuration_says() -> None:
    source = make_source()
    make_guest(source, vmid=9000, name="debian-13", is_template=True)
    template = fetch_template(source, "qemu:9000", client=Cluster())
    assert template is not None
    assert (template.disk_key, template.disk_gb, template.disks_gb) == ("virtio0", 3, 4)
    assert (template.bridges, template.storages, template.has_cloud_init) == (("vmbr1",), ("lvm",), True)


@pytest.mark.parametrize(
    "pick", ["qemu:1", "qemu:", "qemu:٣", "lxc:9000", "ostemplate:local:vztmpl/other", "x"]
)
def test_what_is_not_there_cannot_be_picked(pick: str) -> None:
    source = make_source()
    make_guest(source, vmid=9000, is_template=True)
    assert fetch_template(source, pick, client=Cluster()) is None


def test_a_container_grows_its_root() -> None:
    guest = make_guest(kind="lxc", is_template=True)
    template = parse_template(guest, {"mp0": "lvm:b,size=5G", "rootfs": "lvm:a,size=4G"})
    assert (template.disk_key, template.disks_gb) == ("rootfs", 9)


def test_only_a_template_offers_a_linked_clone() -> None:
    vm = Template("qemu", vmid=100, disks=(("scsi0", 8),), disk_key="scsi0")
    assert "full_clone" not in ItemForm(template=vm, offer=Offer()).fields
