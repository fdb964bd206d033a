"""Saying whose a Proxmox user is, in a real Chromium: the task names its person afterwards."""

import os

import pytest
from playwright.sync_api import expect

from tasks_app.jobs import name_persons
from tasks_app.models import KnownIdentity, Task
from tests.browser.admin import overflows, serious_findings
from tests.browser.conftest import Open
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_an_admin_names_who_is_behind_a_task(open_page: Open) -> None:
    source = make_source(name="lab")
    task = make_task(source, remote_user="ann@pve", remote_token="ci")
    for user in ("root@pam", "bob@pve"):
        make_task(source, remote_user=user)
    make_user(username="ann")
    page = open_page(make_superuser(), f"/tasks/{task.pk}/")
    expect(page.locator("#task-status")).to_contain_text("unknown person using token ci")

    page.goto(page.url.split("/tasks/")[0] + "/identities/")
    expect(page.get_by_role("heading", name="Nobody is named yet")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("row", name="ann@pve!ci").get_by_role("link", name="Say who it is").click()
    expect(page.get_by_label("Proxmox user")).to_have_value("ann@pve")
    expect(page.get_by_label("Token")).to_have_value("ci")
    expect(page.get_by_label("On", exact=True)).to_have_value(str(source.pk))
    page.get_by_label("Person").fill("ann")
    assert serious_findings(page) == []
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_role("row", name="ann@pve!ci")).to_contain_text("lab")
    assert not overflows(page)
    _keep(page, "identities")

    name_persons()
    assert Task.objects.get(pk=task.pk).person == "ann"
    page.goto(page.url.split("/identities/")[0] + f"/tasks/{task.pk}/")
    expect(page.locator("#task-status")).to_contain_text("ann as ann@pve!ci")

    page.goto(page.url.split("/tasks/")[0] + "/identities/")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Nobody is named yet")).to_be_visible()
    assert not KnownIdentity.objects.exists()


def _keep(page, name):
    if os.environ.get("SHOT_DIR"):
        page.screenshot(path=f"{os.environ['SHOT_DIR']}/{name}.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 800})
        page.screenshot(path=f"{os.environ['SHOT_DIR']}/{name}-narrow.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 800})
