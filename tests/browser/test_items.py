"""Catalogue items and teams in a real Chromium, against the demo cluster."""

import re
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from playwright.sync_api import expect

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.models import CatalogItem, Guest, Role, Source, Team
from tests.browser.admin import overflows, serious_findings, visit
from tests.browser.conftest import Open
from tests.factories import (
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.browser


@pytest.fixture
def source(transactional_db: None) -> Iterator[Source]:
    """A source as the poller left it after its first visit to the demo cluster."""
    cache.clear()
    with DemoCluster(time_scale=0.05) as cluster:
        secret = cluster.add_token("admin@pve", "web", {"/": ["Administrator"]})
        made = make_source(
            urls=[cluster.url],
            fingerprints=[cluster.fingerprint],
            token_id="admin@pve!web",
            token_secret_sealed=connections.seal(secret),
            permissions={},
            permissions_at=None,
        )
        visit(made)
        yield made


def test_admin_makes_an_item_from_a_template_of_the_cluster(open_page: Open, source: Source) -> None:
    template = Guest.objects.filter(source=source, kind="qemu", is_template=True).first()
    assert template is not None
    page = open_page(make_user(Role.ADMIN, source=source), "/items/")
    page.get_by_role("link", name="Add an item").click()
    page.get_by_role("link", name=re.compile(re.escape(template.name))).first.click()
    expect(page.get_by_label("Title")).to_have_value(template.name)
    page.get_by_label("Linked clone", exact=False).check()
    expect(page.get_by_label("Storage", exact=True)).to_be_hidden()  # a linked clone takes none
    page.get_by_label("Disk of size 1").fill("1")
    page.get_by_role("button", name="Add the item").click()
    expect(page.get_by_text("a disk only grows")).to_be_visible()
    page.get_by_label("Disk of size 1").fill("200")
    page.get_by_role("radio", name="Static, from a pool").check()
    page.get_by_role("textbox", name="Network").fill("10.20.30.0/24")
    page.get_by_label("First address").fill("10.20.30.50")
    page.get_by_label("Last address").fill("10.20.30.99")
    page.get_by_role("button", name="Add the item").click()
    expect(page.get_by_text("Give it to teams")).to_be_visible()
    item = CatalogItem.objects.get()
    assert (item.vmid, item.full_clone, item.ip_pool["last"]) == (template.vmid, False, "10.20.30.99")
    assert item.template_disk_gb > 0
    assert item.sizes[0]["disk_gb"] == 200


def test_portal_admin_makes_a_team_and_its_admin_sets_the_quota(open_page: Open) -> None:
    item, anna = make_item(), make_user(username="anna")
    page = open_page(make_superuser(), "/teams/add/")
    page.get_by_label("Name", exact=True).fill("Research")
    page.get_by_label("Short name").fill("research")
    page.get_by_role("group", name="Quota").get_by_label("Cores").fill("4")
    page.get_by_role("group", name="Ceiling").get_by_label("Cores").fill("16")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("Person").select_option("anna")
    page.get_by_role("button", name="Put in").click()
    page.get_by_role("button", name="anna: make team admin").click()
    page.get_by_label("Item", exact=True).select_option(label=f"{item} on {item.source}")
    page.get_by_role("button", name="Give", exact=True).click()
    expect(page.get_by_role("button", name=f"Take away {item}")).to_be_visible()
    team = Team.objects.get()
    leader = open_page(anna, f"/teams/{team.pk}/")
    expect(leader.get_by_role("heading", name="Settings")).to_have_count(0)
    leader.get_by_label("Cores", exact=False).last.fill("17")
    leader.get_by_role("button", name="Save quota").click()
    expect(leader.get_by_text("At most 16 cores")).to_be_visible()
    leader.get_by_label("Cores", exact=False).last.fill("16")
    leader.get_by_role("button", name="Save quota").click()
    expect(leader.get_by_text("0 of 16")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_fit_and_can_be_read_by_everybody(
    open_page: Open, source: Source, width: int, dark: bool
) -> None:
    template = Guest.objects.filter(source=source, kind="qemu", is_template=True).first()
    assert template is not None
    item = make_item(source, vmid=template.vmid, allows_custom=True, approval="above", ip_mode="static")
    team = make_team(make_user(), admins=(make_user(),), items=(item,), max_cores=1, max_disk_gb=100)
    make_machine(make_order(team, item=item), cores=4)
    admin = make_superuser()
    for path in (
        "/items/",
        f"/items/{item.pk}/",
        "/items/add/",
        "/teams/",
        "/teams/add/",
        f"/teams/{team.pk}/",
    ):
        page = open_page(admin, path, width=width, dark=dark)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert not overflows(page), path
        assert serious_findings(page) == [], path
        page.context.close()
