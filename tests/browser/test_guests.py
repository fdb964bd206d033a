"""Starting things on guests in a real Chromium, against the demo cluster."""

import re

import pytest
from playwright.sync_api import Page, expect

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.models import Guest, Role, Submission
from tasks_app.services.submissions import deliver_submission
from tests.browser.admin import overflows, serious_findings, visit
from tests.browser.conftest import Open
from tests.factories import make_guest, make_source, make_user

pytestmark = pytest.mark.browser


def open_dialog(page: Page, guest: Guest) -> None:
    page.get_by_role("link", name=f"Actions for {guest}").click()
    expect(page.locator("#dialog")).to_be_visible()


def test_guest_is_started_from_its_dialog_and_followed_to_its_task(open_page: Open) -> None:
    with DemoCluster(time_scale=0.05) as cluster:
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
            source=source, status="stopped", is_template=False, kind="qemu", lock=""
        ).first()
        assert guest is not None
        page = open_page(make_user(Role.OPERATOR, source=source), f"/guests/?q={guest.vmid}")
        open_dialog(page, guest)
        page.get_by_role("link", name=re.compile("^Start…")).click()
        expect(page.get_by_role("heading", name=f"Start {guest}?")).to_be_visible()
        page.get_by_role("button", name="Start").dblclick()
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        submission = Submission.objects.get()  # the double click made one
        deliver_submission(submission.pk)
        page.wait_for_url(re.compile(r"/tasks/\d+/"))
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Start {guest.name}")


def test_wrong_name_stays_in_the_dialog(open_page: Open) -> None:
    source = make_source(permissions={"/": {"Sys.Audit": 1, "VM.Snapshot": 1}})
    guest = make_guest(source)
    page = open_page(make_user(Role.OPERATOR, source=source), "/guests/")
    open_dialog(page, guest)
    page.get_by_role("link", name=re.compile("^Snapshot…")).click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Name").fill("1 wrong")
    page.get_by_role("button", name="Snapshot").click()
    expect(page.locator("#dialog")).to_contain_text("beginning with a letter")
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).not_to_be_visible()


def test_search_narrows_the_list_and_stands_in_the_address(open_page: Open) -> None:
    source = make_source()
    make_guest(source, name="alpha")
    make_guest(source, name="beta")
    page = open_page(make_user(Role.VIEWER), "/guests/")
    page.get_by_placeholder("Name, VMID, tag, node or pool").fill("alp")
    expect(page.get_by_text("beta")).not_to_be_visible()
    expect(page).to_have_url(re.compile("q=alp"))
    page.reload()
    expect(page.get_by_text("alpha")).to_be_visible()
    expect(page.get_by_text("beta")).not_to_be_visible()


def test_everything_works_without_scripts(open_page: Open) -> None:
    source = make_source(permissions={"/": {"VM.PowerMgmt": 1}})
    guest = make_guest(source)
    page = open_page(make_user(Role.OPERATOR, source=source), f"/guests/{guest.pk}/", script=False)
    page.get_by_role("link", name=re.compile("^Shut down…")).click()
    page.get_by_role("button", name="Shut down").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_guests_and_their_dialogs_fit_and_are_accessible(open_page: Open, width: int, dark: bool) -> None:
    source = make_source(permissions={"/": {"VM.Clone": 1, "VM.PowerMgmt": 1}})
    guest = make_guest(
        source, name="a-rather-long-name-of-a-guest.internal.example.com", tags="linux;web;prod"
    )
    make_guest(source, name="tpl", is_template=True, status="stopped")
    make_guest(source, name="", status="unknown", lock="backup")
    page = open_page(make_user(Role.OPERATOR, source=source), "/guests/", width=width, dark=dark)
    assert not overflows(page)
    assert serious_findings(page) == []
    open_dialog(page, guest)
    assert serious_findings(page) == []
    page.get_by_role("link", name=re.compile("^Clone…")).click()
    expect(page.get_by_label("Name of the new guest")).to_be_visible()
    assert serious_findings(page) == []
    assert not overflows(page)
