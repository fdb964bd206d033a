"""The wizard from an address to the first sync of the demo cluster, and the pages of sources, in a real Chromium."""

import re

import pytest
from playwright.sync_api import expect

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.models import Source, TaskEvent
from tests.browser.admin import overflows, serious_findings, visit
from tests.browser.conftest import Open
from tests.factories import make_source, make_superuser, make_user

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [390, 1440])
def test_wizard_leads_from_an_address_to_the_first_sync(open_page: Open, width: int) -> None:
    with DemoCluster(time_scale=0.01, past=True) as cluster:
        page = open_page(make_superuser(), "/sources/", width=width, dark=width < 500)
        page.get_by_role("link", name="Connect a cluster").click()

        def looks_well() -> None:
            assert not overflows(page)
            assert serious_findings(page) == []

        looks_well()
        page.get_by_label("Addresses").fill(cluster.url.removeprefix("https://"))
        page.get_by_role("button", name="Look").click()
        looks_well()
        page.get_by_label("Matches: I compared it on the node").check()
        page.get_by_role("button", name="Pin this certificate").click()
        expect(page.locator("#pveum")).to_contain_text("VM.Snapshot")
        page.get_by_label("Make snapshots").uncheck()
        expect(page.locator("#pveum")).not_to_contain_text("VM.Snapshot")
        looks_well()
        page.get_by_label("Token ID").fill(cluster.token_id)
        page.get_by_label("Secret").fill(cluster.token_secret)
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_role("row", name="See the tasks of everybody")).to_contain_text("yes")
        looks_well()
        page.get_by_role("link", name=re.compile("^Continue")).click()
        looks_well()
        page.get_by_label("Name").fill("lab")
        page.get_by_role("button", name="Connect and read the tasks").dblclick()
        expect(page.get_by_text("Waiting for the first pass")).to_be_visible()
        assert Source.objects.count() == 1  # the double click made one
        visit(Source.objects.get(name="lab"))
        expect(page.get_by_text("The first sync is done")).to_be_visible()  # without a reload
        assert int(page.locator(".counts dd").first.inner_text()) > 100
        looks_well()
        page.get_by_role("link", name="Open the tasks").click()
        expect(page.locator("tr[data-row]").first).to_be_visible()


def test_reload_and_back_keep_what_the_wizard_knows(open_page: Open) -> None:
    with DemoCluster(time_scale=0.01) as cluster:
        page = open_page(make_superuser(), "/sources/add/")
        page.get_by_label("Addresses").fill(cluster.url)
        page.get_by_role("button", name="Look").click()
        heading = page.get_by_role("heading", name="Is it really your cluster?")
        expect(heading).to_be_visible()  # a reload would race with the way there
        page.reload()
        expect(heading).to_be_visible()
        page.get_by_role("link", name="Back").click()
        expect(page.get_by_label("Addresses")).to_have_value(cluster.url)
        page.get_by_role("link", name="Go on with these").click()
        expect(page.get_by_role("heading", name="Is it really your cluster?")).to_be_visible()


def test_health_on_the_page_follows_the_source(open_page: Open) -> None:
    source = make_source(name="prod")
    page = open_page(make_superuser(), "/sources/")
    expect(page.locator("[data-live-badge][data-state=live]")).to_be_visible()
    expect(page.locator(".source-card")).to_contain_text("Reachable")
    source.failing_since, source.error_text = source.created_at, "pve1 refuses connections."
    source.save()
    TaskEvent.objects.create(source_id=source.pk, kind=TaskEvent.Kind.SOURCE)
    expect(page.locator(".source-card")).to_contain_text("pve1 refuses connections.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_of_sources_and_people_fit_and_are_accessible(open_page: Open, width: int, dark: bool) -> None:
    admin = make_superuser()
    somebody = make_user()
    with DemoCluster(time_scale=0.01) as cluster:
        source = make_source(
            urls=[cluster.url],
            fingerprints=[":".join(["AB"] * 32)],
            token_secret_sealed=connections.seal(cluster.token_secret),
        )
        source.failing_since, source.error_text, source.error_kind = (
            source.created_at,
            "It is down.",
            "certificate",
        )
        source.save()
        page = open_page(admin, "/sources/", width=width, dark=dark)
        paths = [
            "",
            *(f"{source.pk}/{name}" for name in ("", "change", "token", "certificate", "remove", "sync/")),
        ]
        for path in [f"/sources/{path}" for path in paths] + [
            "/people/",
            "/people/add/",
            f"/people/{somebody.pk}/",
        ]:
            page.goto(re.sub(r"(https?://[^/]+).*", r"\1", page.url) + path)
            assert not overflows(page), path
            assert serious_findings(page) == [], path
