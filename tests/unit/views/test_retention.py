"""The page of task retention: nothing is saved before its preview was seen."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.timezone import now

from tasks_app.models import AuditEntry, RetentionPeriod, Role, Task
from tasks_app.states import State
from tests.factories import make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db
ADDRESS = "/retention/"


@pytest.fixture
def admin():
    client = Client()
    client.force_login(make_superuser())
    return client


@pytest.fixture
def old_tasks():
    source = make_source()
    for _ in range(1200):
        make_task(source, state=State.COMPLETED, started_at=now() - timedelta(days=40))


def periods():
    return dict(RetentionPeriod.objects.values_list("family", "days"))


def row_of(page, family):
    return page.split(f'<tr data-family="{family}">')[1].split("</tr>")[0]


def previewed(page):
    return page.split('name="previewed" value="')[1].split('"')[0]


def test_anonymous_is_led_to_the_sign_in(client):
    assert client.get(ADDRESS)["Location"].startswith("/account/login/")


@pytest.mark.parametrize("role", [None, *Role])
def test_others_than_the_portals_admins_are_refused(client, role):
    client.force_login(make_user(role, source=make_source()) if role else make_user())
    assert client.get(ADDRESS).status_code == 403
    assert client.post(ADDRESS, {"start": 30, "save": 1, "previewed": "start=30"}).status_code == 403
    assert client.post("/retention/purge").status_code == 403
    assert not periods()


def test_at_first_everything_is_kept_for_ever(admin, old_tasks):
    page = admin.get(ADDRESS).text
    assert "1,200" in row_of(page, "start")
    assert "keeps all" in row_of(page, "start")
    assert "A preview" not in page
    assert 'name="save"' not in page


def test_a_preview_says_what_would_go_and_saves_nothing(admin, old_tasks):
    page = admin.post(ADDRESS, {"start": 30, "preview": 1}).text
    day = now() - timedelta(days=30)
    assert f"removes 1,200 tasks before {day.day} {day:%B %Y}" in row_of(page, "start")
    assert "Nothing is saved yet" in page
    assert not periods()
    assert Task.objects.count() == 1200
    saved = admin.post(ADDRESS, {"start": 30, "save": 1, "previewed": previewed(page)})
    assert saved["Location"] == ADDRESS
    assert periods() == {"start": 30}
    assert AuditEntry.objects.filter(action="retention.change").count() == 1
    assert Task.objects.count() == 1200, "saving removes nothing by itself"


@pytest.mark.parametrize("seen", ["", "-", "start=31", "start=30 backup=30"])
def test_what_was_not_previewed_is_not_saved_but_shown(admin, old_tasks, seen):
    answer = admin.post(ADDRESS, {"start": 30, "save": 1, "previewed": seen})
    assert answer.status_code == 200
    assert "removes 1,200 tasks" in answer.text
    assert not periods()


def test_an_emptied_field_is_for_ever_again(admin):
    RetentionPeriod.objects.create(family="start", days=30)
    page = admin.post(ADDRESS, {"start": "", "preview": 1}).text
    admin.post(ADDRESS, {"start": "", "save": 1, "previewed": previewed(page)})
    assert not periods()


@pytest.mark.parametrize("days", ["0", "-1", "36501", "x", "1e3", "٣.٥"])
def test_nonsense_stays_in_the_form(admin, days):
    assert admin.post(ADDRESS, {"start": days, "save": 1, "previewed": f"start={days}"}).status_code == 422
    assert not periods()


def test_what_is_due_can_be_removed_now(admin, old_tasks):
    RetentionPeriod.objects.create(family="start", days=30)
    assert "Remove them now" in admin.get(ADDRESS).text
    assert admin.post("/retention/purge")["Location"] == ADDRESS
    assert AuditEntry.objects.filter(action="tasks.purge").count() == 1


def test_both_pages_of_retention_lead_to_each_other(admin):
    assert 'href="/results/retention/"' in admin.get(ADDRESS).text
    assert 'href="/retention/"' in admin.get("/results/retention/").text
