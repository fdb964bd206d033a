"""Exports over HTTP: the address of the page, as a file."""

import json

import pytest
from django.urls import reverse

from tasks_app.models import AuditEntry, Role
from tasks_app.services.exports import AT_ONCE
from tests.factories import make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db


def get(client, name, query):
    return client.get(f"{reverse(f'portal:{name}')}?{query}")


@pytest.fixture
def admin(client):
    client.force_login(make_superuser())
    return client


@pytest.mark.parametrize("name", ["audit-export", "history-export"])
@pytest.mark.parametrize(
    ("format", "content_type", "ending"),
    [
        ("csv", "text/csv; charset=utf-8", "csv"),
        ("jsonl", "application/x-ndjson", "jsonl"),
        ("syslog", "text/plain; charset=utf-8", "log"),
        ("cef", "text/plain; charset=utf-8", "cef"),
    ],
)
def test_each_format_is_a_file(admin, name, format, content_type, ending):
    make_task()
    answer = get(admin, name, f"format={format}")
    assert (answer.status_code, answer["Content-Type"]) == (200, content_type)
    kind = "audit" if name == "audit-export" else "task"
    assert answer["Content-Disposition"].startswith(f'attachment; filename="{kind}-2')
    assert answer["Content-Disposition"].endswith(f'.{ending}"')
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.getvalue().count(b"\n") >= 1


def test_the_address_of_the_page_says_what_is_exported(admin):
    failed, _ = make_task(state="failed"), make_task(state="completed")
    lines = get(admin, "history-export", "outcome=failed&before=x&format=jsonl").getvalue().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [failed.pk]
    lines = get(admin, "audit-export", "action=tasks.export&format=jsonl").getvalue().splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["tasks.export"]


def test_a_byte_order_mark_on_wish(admin):
    assert get(admin, "audit-export", "format=csv&bom=1").getvalue().startswith(b"\xef\xbb\xbfnumber,at,")
    assert get(admin, "audit-export", "format=csv").getvalue().startswith(b"number,at,")


@pytest.mark.parametrize("query", ["", "format=exe", "format="])
def test_without_a_format_nothing_happens(admin, query):
    answer = get(admin, "audit-export", query)
    assert answer.status_code == 422
    assert b"csv, jsonl, syslog, cef" in answer.content
    assert not AuditEntry.objects.filter(action="audit.export").exists()


def test_who_has_not_signed_in_is_asked_to(client):
    for name in ("audit-export", "history-export"):
        answer = get(client, name, "format=csv")
        assert answer.status_code == 302 and "/login" in answer["Location"]


def test_a_viewer_exports_tasks_and_not_the_trail_and_the_refusal_is_noted(client):
    client.force_login(make_user(Role.VIEWER))
    assert get(client, "audit-export", "format=csv").status_code == 403
    assert AuditEntry.objects.filter(action="permission.denied").count() == 1
    assert get(client, "history-export", "format=csv").getvalue().startswith(b"id,")


def test_an_auditor_exports_the_trail(client):
    client.force_login(make_user(Role.AUDITOR))
    assert b"person.login" in get(client, "audit-export", "format=csv").getvalue()


def test_too_many_at_once_are_asked_to_come_again(admin):
    running = [get(admin, "audit-export", "format=csv") for _ in range(AT_ONCE)]
    answer = get(admin, "audit-export", "format=csv")
    assert (answer.status_code, answer["Retry-After"]) == (429, "30")
    assert b"under way" in answer.content
    for other in running:
        other.getvalue()
    assert get(admin, "history-export", "format=csv").getvalue().startswith(b"id,")


def test_a_post_is_no_export(admin):
    assert admin.post(reverse("portal:audit-export"), {"format": "csv"}).status_code == 405
