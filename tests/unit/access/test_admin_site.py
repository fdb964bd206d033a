"""Django's admin: superusers look, nobody else gets in, nothing is changed there."""

import pytest
from django.contrib import admin
from django.urls import reverse

from tasks_app.admin import LookOnly
from tasks_app.models import AuditEntry
from tests.factories import PASSWORD, make_guest, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db
MODELS = sorted(
    model._meta.model_name for model in admin.site._registry if model._meta.app_label == "tasks_app"
)


@pytest.mark.parametrize("model", MODELS)
def test_a_superuser_sees_every_list(client, model):
    make_guest(make_task().source)
    client.force_login(make_superuser())
    assert client.get(reverse(f"admin:tasks_app_{model}_changelist")).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_staff_without_being_superuser_sees_none(client, model):
    client.force_login(make_user(is_staff=True))
    assert client.get(reverse(f"admin:tasks_app_{model}_changelist")).status_code == 403


def test_a_source_is_shown_without_its_secret(client):
    source = make_source()
    client.force_login(make_superuser())
    page = client.get(reverse("admin:tasks_app_source_change", args=[source.pk])).content.decode()
    assert source.name in page
    assert source.token_secret_sealed not in page


@pytest.mark.parametrize("name", ["tasks_app_source", "tasks_app_auditentry", "auth_user"])
def test_nothing_is_added_there(client, name):
    client.force_login(make_superuser())
    assert client.get(reverse(f"admin:{name}_add")).status_code == 403


def test_nothing_is_changed_or_deleted_there(client):
    source = make_source(name="prod")
    client.force_login(make_superuser())
    change = reverse("admin:tasks_app_source_change", args=[source.pk])
    assert client.post(change, {"name": "other"}).status_code == 403
    assert (
        client.post(reverse("admin:tasks_app_source_delete", args=[source.pk]), {"post": "yes"}).status_code
        == 403
    )
    source.refresh_from_db()
    assert source.name == "prod"


def test_the_admin_signs_nobody_in_past_second_factor_and_limits(client):
    person = make_superuser()
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0] == "/account/login/?next=/admin/"
    given = {"username": person.username, "password": PASSWORD, "next": "/admin/"}
    assert client.post("/admin/login/", given).status_code == 405
    assert "_auth_user_id" not in client.session


def test_a_person_without_rights_there_is_not_led_in_circles(client):
    client.force_login(make_user())
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_admin_leads_nobody_to_another_site(client):
    client.force_login(make_superuser())
    assert client.get("/admin/login/?next=https://elsewhere.example/")["Location"] == "/admin/"


def test_a_password_is_changed_where_that_is_audited(client):
    client.force_login(make_superuser())
    assert client.get("/admin/password_change/")["Location"] == "/account/password/change/"


def test_nothing_is_registered_that_could_be_changed_without_an_entry():
    others = [page for page in admin.site._registry.values() if not isinstance(page, LookOnly)]
    assert others == []


def test_a_refusal_of_the_admin_is_noted_once(client):
    client.force_login(make_user(is_staff=True))
    assert client.get(reverse("admin:tasks_app_task_changelist")).status_code == 403
    entry = AuditEntry.objects.get(action="permission.denied")
    assert entry.target_name == "GET /admin/tasks_app/task/"
