"""A team, an item and a cluster in memory, with which machines are made move by move."""

from typing import Any

from django.utils.timezone import now

from tasks_app.ingest.tasks import ingest_observations
from tasks_app.models import Machine, Order, Submission
from tasks_app.services import addresses, orders, pipeline, removal
from tasks_app.services.cancellation import pick_up_cancels
from tasks_app.services.submissions import deliver_submission
from tasks_app.sources.errors import OutcomeUnknown
from tasks_app.sources.proxmox import Resource
from tasks_app.sources.proxmox.guests import AddressGap, GuestAddresses
from tests.factories import make_guest, make_item, make_source, make_team, make_user
from tests.unit.services.fake_source import FakeSource

ROUNDS = 60


class FakeCluster(FakeSource):
    """Remembers what it was asked to make. A guest exists from its clone's call on, locked until the task is OK.

    `ends` maps a task type to texts with which its next tasks end, in order; without one a task ends OK.
    """

    def __init__(self) -> None:
        super().__init__()
        self.configs[9000] = {"name": "tpl", "cores": 1, "memory": "512", "scsi0": "local:base-9000,size=8G"}
        self.inherited: dict[str, Any] = {"tags": "template", "protection": 1, "description": "golden"}
        self.ends: dict[str, list[str]] = {}
        self.answers: list[GuestAddresses] = []
        self.lost_answers = 0  # of clones that happen nevertheless
        self.stubborn: dict[str, Any] = {}  # what a guest keeps whatever it is set to
        self._new: dict[str, tuple[int, int]] = {}

    @property
    def vmids(self) -> list[int]:
        """Guests that were made, as a real cluster would list them."""
        return sorted(vmid for vmid in self.configs if vmid != 9000)

    def clone_guest(self, kind: str, node: str, vmid: int, **given: Any) -> str:
        upid = super().clone_guest(kind, node, vmid, **given)
        self._new[upid] = (vmid, given["new_vmid"])
        if given["new_vmid"] not in self.configs:
            config = self.configs[vmid] | self.inherited | {"name": given["name"], "lock": "clone"}
            self.configs[given["new_vmid"]] = config
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknown("the answer was lost", kind="timeout")
        return upid

    def configure_guest(
        self, kind: str, node: str, vmid: int, values: dict[str, Any], *, remove: tuple[str, ...] = ()
    ) -> None:
        super().configure_guest(kind, node, vmid, values | self.stubborn, remove=remove)

    def create_container(self, node: str, vmid: int, **given: Any) -> str:
        upid = super().create_container(node, vmid, **given)
        self.configs[vmid] = {
            "hostname": given["hostname"],
            "cores": given["cores"],
            "memory": given["memory_mb"],
            "description": given["description"],
            "rootfs": f"local:{vmid}/vm.raw,size={given['disk_gb']}G",
        }
        return upid

    def resize_disk(self, kind: str, node: str, vmid: int, *, disk: str, size_gb: int) -> str:
        self.configs[vmid][disk] = f"local:{vmid}/vm.raw,size={size_gb}G"
        return super().resize_disk(kind, node, vmid, disk=disk, size_gb=size_gb)

    def delete_guest(self, kind: str, node: str, vmid: int, *, purge: bool = True) -> str:
        self.configs.pop(vmid, None)
        return super().delete_guest(kind, node, vmid, purge=purge)

    def fetch_addresses(self, kind: str, node: str, vmid: int) -> GuestAddresses:
        self._call("fetch_addresses", vmid)
        return self.answers.pop(0) if self.answers else GuestAddresses((f"10.0.0.{vmid % 250}",))

    def fetch_resources(self, kind: str | None = None) -> list[Resource]:
        self._call("fetch_resources", kind)
        return self.guests + [
            Resource(id=f"qemu/{vmid}", type="qemu", node="pve1", vmid=vmid, lock=str(config.get("lock", "")))
            for vmid, config in self.configs.items()
        ]

    def running(self, type: str = "") -> list[str]:
        return [upid for upid, task in self.tasks.items() if task.running and task.type.endswith(type)]

    def finish(self, upid: str) -> None:
        """End a task as `ends` says. A failed clone takes its guest away."""
        task = self.tasks[upid]
        texts = self.ends.get(task.type)
        text = texts.pop(0) if texts else "OK"
        self.end_task(upid, text)
        if upid in self._new:
            _, new_vmid = self._new[upid]
            if text == "OK":
                self.configs[new_vmid].pop("lock", None)
            elif text != "unexpected status" and "lock" in self.configs.get(new_vmid, {}):
                del self.configs[new_vmid]

    def stop_task(self, node: str, upid: str) -> None:
        if self.tasks[upid].running and upid in self._new:
            self.configs.pop(self._new[upid][1], None)
        super().stop_task(node, upid)


class World:
    """One source with the template 9000, one item, one team with one member and one admin."""

    def __init__(self, *, team: dict[str, Any] | None = None, **item: Any) -> None:
        self.remote = FakeCluster()
        self.source = make_source(name="lab")
        self.template = make_guest(
            self.source, vmid=9000, name="tpl", is_template=True, status="stopped", node="pve1"
        )
        sizes = [{"key": "S", "label": "Small", "cores": 2, "memory_mb": 1024, "disk_gb": 16}]
        self.item = make_item(
            self.source, slug="debian", title="Debian", sizes=item.pop("sizes", sizes), **item
        )
        self.member, self.admin = make_user(username="ann"), make_user(username="boss")
        self.team = make_team(
            self.member, admins=(self.admin,), items=(self.item,), slug="web", name="Web", **(team or {})
        )

    def order(self, count: int = 1, *, key: str = "k", **given: Any) -> Order:
        return orders.submit_order(
            given.pop("actor", self.member),
            item=given.pop("item", self.item),
            team=given.pop("team", self.team),
            rows=given.pop("rows", [orders.Wanted()] * count),
            size=given.pop("size", orders.Size(key="S")),
            idempotency_key=key,
            **given,
        )

    def observe(self) -> None:
        """What a pass sees."""
        ingest_observations(self.source, list(self.remote.tasks.values()), at=now())

    def pump(self) -> None:
        self.observe()
        pipeline.pump(client=self.remote)

    def finish(self, type: str = "") -> None:
        """Every running task of that type ends, and the pipeline sees it."""
        for upid in self.remote.running(type):
            self.remote.finish(upid)
        self.pump()

    def look(self) -> None:
        """The turn of every machine that waits for its address."""
        Machine.objects.filter(stage="address").update(next_look_at=now())
        addresses.look_for_addresses(client=self.remote)

    def run(self) -> None:
        """Until nothing moves any more."""
        for _ in range(ROUNDS):
            before = self.stages()
            self.pump()
            self.finish()
            self.look()
            pick_up_cancels()
            removal.continue_removals()
            for pk in Submission.objects.deliverable(now()).values_list("pk", flat=True):
                deliver_submission(pk, client=self.remote)
            if self.stages() == before and not self.remote.running():
                return
        raise AssertionError(f"still moving: {self.stages()}")

    def stages(self) -> list[str]:
        return list(Machine.objects.order_by("pk").values_list("stage", flat=True))

    def machine(self, position: int = 1) -> Machine:
        return Machine.objects.get(position=position)


SILENT = GuestAddresses(gap=AddressGap.SILENT)
