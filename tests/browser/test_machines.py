"""Machines in a real Chromium: deeds from their dialogs to the end against the demo cluster, and how it all looks."""

import re
from datetime import timedelta

import pytest
from django.utils.timezone import now
from playwright.sync_api import Page, expect

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.models import Guest, Machine, Stage, Submission
from tasks_app.services.notices import notify
from tasks_app.services.removal import continue_removals
from tasks_app.services.submissions import deliver_submission, settle_submissions
from tests.browser.admin import overflows, serious_findings, visit
from tests.browser.conftest import Open
from tests.factories import make_item, make_machine, make_source, make_superuser

pytestmark = pytest.mark.browser

FULL = {
    "/": {
        "VM.Audit": 1,
        "VM.PowerMgmt": 1,
        "VM.Snapshot": 1,
        "VM.Backup": 1,
        "VM.Allocate": 1,
        "Sys.Audit": 1,
    }
}


def open_deed(page: Page, label: str) -> None:
    page.get_by_role("link", name=re.compile(f"^{label}…")).click()
    expect(page.locator("#dialog")).to_be_visible()


def finish(source, submission: Submission) -> None:
    """What workers and the watch loop do until the submission has ended; bounded."""
    deliver_submission(submission.pk)
    for _ in range(100):
        visit(source)
        settle_submissions()
        submission.refresh_from_db()
        if submission.is_final:
            return
    pytest.fail(f"{submission} did not end: {submission.state} {submission.error}")


def test_a_machine_is_deleted_by_typing_its_name(open_page: Open) -> None:
    with DemoCluster(time_scale=0.02) as cluster:
        secret = cluster.add_token("admin@pve", "web", {"/": ["Administrator"]})
        source = make_source(
            urls=[cluster.url],
            fingerprints=[cluster.fingerprint],
            token_id="admin@pve!web",
            token_secret_sealed=connections.seal(secret),
            permissions={},
            permissions_at=None,
        )
        visit(source)
        guest = Guest.objects.filter(
            source=source, status="running", is_template=False, kind="qemu", lock=""
        ).first()
        assert guest is not None
        machine = make_machine(
            item=make_item(source), has_guest=False, vmid=guest.vmid, name=guest.name, node=guest.node
        )
        page = open_page(machine.owner, f"/machines/{machine.pk}/")
        open_deed(page, "Delete")
        expect(page.locator("#dialog")).to_contain_text("it is stopped first")
        page.get_by_label("Name of the machine").fill("something else")
        page.get_by_role("button", name="Delete").click()
        # the question itself says the same words
        expect(page.locator("#dialog .field-errors")).to_have_text(f"Type {guest.name} to confirm.")
        page.get_by_label("Name of the machine").fill(guest.name)
        page.get_by_role("button", name="Delete").dblclick()
        expect(page.get_by_text("It is being deleted with its disks")).to_be_visible()
        finish(source, Submission.objects.get())
        continue_removals()
        finish(source, Submission.objects.get(action="delete"))
        continue_removals()
        # the page follows by itself
        expect(page.get_by_text("It does not exist any more.")).to_be_visible(timeout=10_000)
        assert Machine.objects.get().stage == Stage.GONE
        visit(source)
        assert Guest.objects.get(pk=guest.pk).gone_at is not None


def test_a_snapshot_is_taken_and_rolled_back_to(open_page: Open) -> None:
    with DemoCluster(time_scale=0.02) as cluster:
        secret = cluster.add_token("admin@pve", "web", {"/": ["Administrator"]})
        source = make_source(
            urls=[cluster.url],
            fingerprints=[cluster.fingerprint],
            token_id="admin@pve!web",
            token_secret_sealed=connections.seal(secret),
            permissions={},
            permissions_at=None,
        )
        visit(source)
        guest = Guest.objects.filter(
            source=source, status="running", is_template=False, kind="qemu", lock=""
        ).first()
        assert guest is not None
        machine = make_machine(
            item=make_item(source), has_guest=False, vmid=guest.vmid, name=guest.name, node=guest.node
        )
        page = open_page(machine.owner, f"/machines/{machine.pk}/")
        open_deed(page, "Snapshot")
        page.get_by_label("Name", exact=True).fill("before-upgrade")
        page.get_by_role("button", name="Snapshot").dblclick()
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        finish(source, Submission.objects.get())
        page.goto(page.url.split("/submissions")[0].split("/tasks")[0] + f"/machines/{machine.pk}/")
        open_deed(page, "Roll back")
        expect(page.locator("#dialog")).to_contain_text("Proxmox stops it")
        expect(page.get_by_label(re.compile("^before-upgrade"))).to_be_checked()
        page.get_by_role("button", name="Roll back").click()
        page.wait_for_url(re.compile(r"/submissions/\d+/"))
        finish(source, Submission.objects.get(action="rollback"))
        assert Submission.objects.get(action="rollback").state == "completed"


def make_scene() -> Machine:
    source = make_source(name="prod", permissions=FULL)
    item = make_item(source, title="Debian 12", lease_days=30, max_lease_days=60, deletes_after_lease=True)
    machine = make_machine(
        item=item,
        owner=make_superuser(email="anna@example.com"),
        name="a-rather-long-name-of-a-machine-of-team-research-07",
        addresses=["10.20.30.57", "fd00::57"],
        expires_at=now() + timedelta(days=3),
        reminded_days=3,
    )
    make_machine(machine.order, owner=machine.owner, stage=Stage.CLONE)
    make_machine(machine.order, owner=machine.owner, stage=Stage.FAILED, ended_at=now(), error="storage full")
    make_machine(
        machine.order, owner=machine.owner, expires_at=now() - timedelta(days=1), reminded_days=0,
        delete_at=now() + timedelta(days=6),
    )  # fmt: skip
    for action, state, error in (
        ("clone", "completed", ""), ("start", "failed", "bridge 'vmbr9' does not exist"), ("backup", "processing", ""),
    ):  # fmt: skip
        Submission.objects.create(
            source=source,
            machine=machine,
            action=action,
            state=state,
            error=error,
            guest_kind="qemu",
            node="pve1",
            vmid=machine.vmid,
            actor=machine.owner,
            actor_name="anna",
            idempotency_key=action,
        )
    notify(
        [machine.owner],
        key="a",
        text=f"The lease of {machine.name} ends on 23 Nov 2026, 12:00.",
        path="/machines/",
    )
    notify([machine.owner], key="b", text="order-7 is ready.", path="/machines/")
    return machine


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_fit_and_are_accessible(open_page: Open, width: int, dark: bool) -> None:
    machine = make_scene()
    assert machine.owner is not None
    for path in ("/machines/", f"/machines/{machine.pk}/", "/inbox/", "/profile/", "/limits/"):
        page = open_page(machine.owner, path, width=width, dark=dark)
        assert not overflows(page), path
        assert serious_findings(page) == [], path
    page = open_page(machine.owner, f"/machines/{machine.pk}/", width=width, dark=dark)
    open_deed(page, "Delete")
    assert serious_findings(page) == []
    assert not overflows(page)


def test_everything_works_without_scripts(open_page: Open) -> None:
    machine = make_machine(source=make_source(permissions=FULL))
    page = open_page(machine.owner, f"/machines/{machine.pk}/", script=False)
    page.get_by_role("link", name=re.compile("^Reboot…")).click()
    page.get_by_role("button", name="Reboot").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()


def test_a_notice_is_opened_from_the_bell(open_page: Open) -> None:
    machine = make_scene()
    page = open_page(machine.owner, "/tasks/")
    page.get_by_role("link", name="Inbox, 2 unread").click()
    page.get_by_role("button", name=re.compile("^Open: The lease")).click()
    expect(page.get_by_role("heading", name="Machines")).to_be_visible()
    expect(page.get_by_role("link", name="Inbox, 1 unread")).to_be_visible()
