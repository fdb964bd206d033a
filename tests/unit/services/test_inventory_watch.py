"""Machines and templates that vanish, come back or move in Proxmox."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from tasks_app.models import AuditEntry, CatalogItem, Guest, Machine, Notice, Role, Source, Stage
from tasks_app.services.inventory_watch import GONE_AFTER, check_machines
from tasks_app.services.machines import delete_machine
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox import Resource, Volume
from tests.factories import make_guest, make_item, make_machine, make_source, make_user

pytestmark = pytest.mark.django_db

AT = now().replace(microsecond=0)
ON_STORAGE = "local:vztmpl/debian-12.tar.zst"


@pytest.fixture
def machine():
    machine = make_machine(stage_at=AT - timedelta(days=1))
    make_guest(machine.source, vmid=9000, is_template=True)  # a list that is not empty proves something
    Source.objects.update(last_pass_at=AT)
    return machine


def vanish(machine, ago):
    Guest.objects.filter(vmid=machine.vmid).update(gone_at=AT - ago)


def test_a_machine_that_stays_missing_is_gone(machine):
    vanish(machine, GONE_AFTER)
    check_machines(at=AT)
    machine.refresh_from_db()
    assert (machine.stage, machine.ended_at, machine.exists) == (Stage.GONE, AT, False)
    assert not Machine.objects.holding_quota().exists()
    assert "Somebody deleted it in Proxmox" in Notice.objects.get().text
    assert AuditEntry.objects.get().action == "machine.gone"
    check_machines(at=AT + timedelta(minutes=1))
    assert Notice.objects.count() == AuditEntry.objects.count() == 1


def test_a_machine_missing_for_a_moment_is_not(machine):
    vanish(machine, GONE_AFTER - timedelta(seconds=1))
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY


def test_time_that_passes_without_an_answer_proves_nothing(machine):
    vanish(machine, timedelta(seconds=30))
    check_machines(at=AT + timedelta(hours=3))
    assert Machine.objects.get().stage == Stage.READY


@pytest.mark.parametrize("trouble", ["failing_since", "paused_at"])
def test_nothing_is_concluded_from_a_source_that_fails(machine, trouble):
    vanish(machine, timedelta(hours=1))
    Source.objects.update(**{trouble: AT})
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY


def test_a_token_that_may_not_see_it_any_more_proves_nothing(machine):
    vanish(machine, timedelta(hours=1))
    Source.objects.update(permissions={"/": {"Sys.Audit": 1}})
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY
    Source.objects.update(permissions={"/pool/portal": {"VM.Audit": 1}})
    Guest.objects.update(pool="portal")
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.GONE


def test_a_source_without_any_guest_proves_nothing():
    make_machine(has_guest=False, stage_at=AT - timedelta(days=1))
    Source.objects.update(last_pass_at=AT)
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY


def test_a_machine_that_was_never_listed_is_gone_after_a_while(machine):
    Guest.objects.filter(vmid=machine.vmid).delete()
    Machine.objects.update(stage_at=AT - timedelta(minutes=1))
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY
    Machine.objects.update(stage_at=AT - GONE_AFTER)
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.GONE


def test_a_machine_in_the_making_is_left_to_its_pipeline(machine):
    Machine.objects.update(stage=Stage.CONFIGURE)
    vanish(machine, timedelta(hours=1))
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.CONFIGURE


def test_our_own_deletion_ends_by_its_submission(machine):
    delete_machine(machine, actor=machine.owner, typed_name=machine.name, idempotency_key="key")
    vanish(machine, timedelta(hours=1))
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.READY


def test_a_moved_machine_has_its_new_node(machine):
    Guest.objects.filter(vmid=machine.vmid).update(node="pve2")
    check_machines(at=AT)
    machine.refresh_from_db()
    assert (machine.node, machine.stage) == ("pve2", Stage.READY)
    assert not Notice.objects.exists()


def test_a_vmid_that_became_a_container_is_another_guest(machine):
    Guest.objects.filter(vmid=machine.vmid).update(kind="lxc")
    check_machines(at=AT)
    assert Machine.objects.get().stage == Stage.GONE
    assert "another guest" in Notice.objects.get().text


def test_an_item_whose_template_vanished_says_so_and_comes_back(machine):
    admin = make_user(Role.ADMIN, source=machine.source)
    make_user(Role.OPERATOR, source=machine.source)
    item = machine.item
    Guest.objects.filter(vmid=9000).update(gone_at=AT - GONE_AFTER)
    check_machines(at=AT)
    item.refresh_from_db()
    assert item.vanished_at == AT
    assert "template 9000 is not on" in item.obstacle
    check_machines(at=AT + timedelta(minutes=1))
    assert [notice.user for notice in Notice.objects.all()] == [admin]
    Guest.objects.filter(vmid=9000).update(gone_at=None)
    check_machines(at=AT + timedelta(minutes=2))
    item.refresh_from_db()
    assert (item.vanished_at, item.obstacle) == (None, "")
    assert "ordered again" in Notice.objects.first().text


class Content:
    """Lists what is on storage local of node pve1; counts the reads."""

    def __init__(self, *volumes, error=None):
        self.volumes, self.error, self.reads = volumes, error, 0

    def fetch_storages_by_node(self):
        return {"pve1": {"local": Resource(id="s", type="storage", node="pve1", storage="local")}}

    def fetch_storage_content(self, node, storage, content):
        self.reads += 1
        if self.error:
            raise self.error
        return [Volume(volid=volid) for volid in self.volumes]


def test_an_os_template_that_is_not_on_its_storage_any_more_is_noticed():
    source = make_source(last_pass_at=AT)
    make_guest(source)
    for _ in range(2):
        make_item(source, kind=CatalogItem.Kind.LXC_CREATE, vmid=None, ostemplate=ON_STORAGE)
    content = Content("local:vztmpl/other.tar.zst")
    check_machines(at=AT, client=lambda _: content)
    assert CatalogItem.objects.filter(vanished_at=AT).count() == 2
    assert content.reads == 1
    check_machines(at=AT, client=lambda _: Content(ON_STORAGE))
    assert not CatalogItem.objects.filter(vanished_at__isnull=False).exists()


def test_a_storage_that_cannot_be_read_proves_nothing():
    source = make_source(last_pass_at=AT)
    make_guest(source)
    make_item(source, kind=CatalogItem.Kind.LXC_CREATE, vmid=None, ostemplate=ON_STORAGE)
    refused = Content(error=SourceUnavailable("no answer", kind="timeout"))
    check_machines(at=AT, client=lambda _: refused)
    assert CatalogItem.objects.get().vanished_at is None
