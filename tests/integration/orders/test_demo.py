"""Orders against a demo cluster over TLS, with the least-privilege token: what was ordered really stands there."""

import time

import pytest
from django.utils.timezone import now

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.ingest import inventory
from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import Guest, Machine, Submission, Task
from tasks_app.services import addresses, orders, pipeline, placement, removal, sources
from tasks_app.services.cancellation import deliver_cancel
from tasks_app.services.submissions import deliver_submission
from tests.factories import make_item, make_team, make_user

pytestmark = pytest.mark.django_db
WAIT_SECONDS = 60
MOVING = ("queued", "clone", "configure", "resize", "start", "address")


@pytest.fixture(scope="module")
def cluster():
    with DemoCluster(time_scale=0.05) as running:
        yield running


class Lab:
    """The source, a member of a team, and the clock of a portal whose jobs run here, one after the other."""

    def __init__(self, cluster):
        placement.forget_facts()
        self.source = sources.add_source(
            actor=None,
            name="demo",
            urls=cluster.urls,
            fingerprints=[cluster.fingerprint],
            token_id=cluster.token_id,
            token_secret=cluster.token_secret,
        )
        sources.check_source(self.source, actor=None)
        self.client = connections.client_of(self.source)
        self.member = make_user(username="ann")
        self.look()

    def look(self):
        ingest_observations(self.source, self.client.fetch_cluster_tasks(), at=now())
        inventory.store_nodes(self.source, self.client.fetch_nodes(), at=now())
        inventory.store_guests(self.source, self.client.fetch_resources("vm"), at=now())

    def order(self, count=1, *, key="k", vmid=9001, disk_gb=9, storage="ceph-vm", **given):
        fields = {
            "vmid": vmid,
            "slug": f"item{vmid}",
            "pool": "portal",
            "storage": storage,
            "template_disk_gb": 8,
            "template_disks_gb": 8,
            "vmid_from": 6000,
            "sizes": [{"key": "S", "label": "S", "cores": 1, "memory_mb": 256, "disk_gb": disk_gb}],
        }
        item = make_item(self.source, **(fields | given.pop("item", {})))
        team = make_team(self.member, items=(item,), slug=f"t{vmid}{key}", name=f"T {key}", **given)
        return orders.submit_order(
            self.member,
            item=item,
            team=team,
            rows=[orders.Wanted()] * count,
            size=orders.Size(key="S"),
            idempotency_key=key,
        )

    def run(self, until):
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            self.look()
            pipeline.pump()
            addresses.look_for_addresses()
            Machine.objects.filter(stage="address").update(next_look_at=now())
            for pk in Submission.objects.deliverable(now()).values_list("pk", flat=True):
                deliver_submission(pk)
            for task in Task.objects.cancels_waiting():
                deliver_cancel(task.pk)
            removal.continue_removals()
            if until():
                return
            time.sleep(0.05)
        raise AssertionError(list(Machine.objects.values_list("name", "stage", "error")))

    def settle(self):
        self.run(lambda: not Machine.objects.filter(stage__in=MOVING).exists())

    def config(self, machine):
        return self.client.fetch_guest_config(machine.kind, machine.node, machine.vmid)


@pytest.fixture
def lab(cluster):
    return Lab(cluster)


def test_a_batch_is_made_as_ordered_and_inherits_nothing(lab):
    order = lab.order(3)
    lab.settle()
    assert orders.progress(order).done == 3, list(Machine.objects.values_list("stage", "error"))
    for machine in order.machines.all():
        config = lab.config(machine)
        assert (config["name"], int(config["cores"]), int(config["memory"])) == (machine.name, 1, 256)
        assert "size=9G" in config["scsi0"]
        assert "protection" not in config
        assert "tags" not in config
        assert machine.differences == []
        assert machine.addresses or machine.address_note


def test_a_running_clone_is_cancelled_and_nothing_is_left(lab):
    order = lab.order(1, key="cancel", vmid=9002, storage="ceph-vm", item={"template_disk_gb": 40}, disk_gb=0)
    lab.run(lambda: Task.objects.filter(submission__machine__order=order).exists())
    machine = order.machines.get()
    orders.cancel_machine(machine, actor=lab.member)
    lab.settle()
    machine.refresh_from_db()
    assert (machine.stage, machine.leftovers) == ("cancelled", "Nothing was left behind.")
    assert machine.ended_at is not None
    assert machine.vmid not in {row.vmid for row in lab.client.fetch_resources("vm")}


def test_a_roll_back_takes_the_guests_away(lab):
    order = lab.order(2, key="back")
    lab.settle()
    vmids = set(order.machines.values_list("vmid", flat=True))
    assert vmids <= {row.vmid for row in lab.client.fetch_resources("vm")}
    orders.roll_back(order, actor=lab.member, typed=order.title)
    lab.run(lambda: not order.machines.filter(ended_at__isnull=True).exists())
    assert set(order.machines.values_list("stage", flat=True)) == {"gone"}
    assert not vmids & {row.vmid for row in lab.client.fetch_resources("vm")}


def test_the_node_with_most_free_memory_is_chosen_by_what_the_cluster_says(lab):
    order = lab.order(1, key="auto", item={"placement": "automatic"})
    machine = order.machines.get()
    nodes = {row.node: row.maxmem - row.mem for row in lab.client.fetch_resources("node")}
    assert machine.node == max(nodes, key=nodes.get)
    lab.settle()
    machine.refresh_from_db()
    assert machine.stage == "ready", machine.error
    assert next(r.node for r in lab.client.fetch_resources("vm") if r.vmid == machine.vmid) == machine.node


def test_a_foreign_guest_on_a_promised_vmid_gives_way_to_the_next(lab, cluster):
    order = lab.order(1, key="taken", item={"vmid_from": 7000})
    lab.client.clone_guest(
        "qemu",
        Guest.objects.get(vmid=9000).node,
        9000,
        new_vmid=7000,
        name="foreign",
        full=False,
        pool="portal",
    )
    lab.settle()
    machine = order.machines.get()
    assert (machine.stage, machine.vmid) == ("ready", 7001), machine.error
