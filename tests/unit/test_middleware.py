"""Where a request came from, and what a refusal becomes."""

import pytest
from django.test import RequestFactory, override_settings

from portal.middleware import client_ip
from tasks_app.audit import recorder
from tasks_app.models import AuditEntry, Role
from tasks_app.services.api_tokens import add_token
from tests.factories import make_task, make_user

PEER = "192.0.2.7"


def ip(forwarded=None, *, peer=PEER, behind_proxy=True):
    more = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    with override_settings(BEHIND_PROXY=behind_proxy):
        return client_ip(RequestFactory().get("/", REMOTE_ADDR=peer, **more))


def test_nobody_makes_up_an_address_without_a_proxy():
    assert ip("198.51.100.1", behind_proxy=False) == PEER


def test_the_proxy_has_the_last_word():
    assert ip("6.6.6.6, 198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("198.51.100.1:4711", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_found_in_every_form_that_proxies_write(said, meant):
    assert ip(said) == meant


@pytest.mark.parametrize("said", ["", "unknown", "'; --", "1.2.3.4.5", "x" * 10_000, "[", "\0"])
def test_what_is_no_address_is_not_recorded_as_one(said):
    assert ip(said) == PEER
    assert ip(said, peer="") is None


@pytest.mark.django_db
def test_a_denied_address_with_nul_is_audited_all_the_same(client):
    person = make_user(Role.VIEWER)
    client.force_login(person)
    assert client.post("/people/1/a%00b").status_code == 403
    assert AuditEntry.objects.get(action="permission.denied").target_name == "POST /people/1/a\ufffdb"


@pytest.mark.django_db
def test_parts_are_never_taken_for_the_page_of_the_same_address(client):
    assert "HX-Request" in client.get("/account/login/")["Vary"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/people/", {}),
        ("/people/", {"HX-Request": "true"}),
        ("/people/", {"Accept": "application/json"}),
        ("/admin/", {}),
    ],
    ids=["page", "part", "JSON", "admin site"],
)
def test_a_denied_look_leaves_one_entry(client, path, headers):
    person = make_user(Role.VIEWER)
    client.force_login(person)
    before = AuditEntry.objects.count()
    assert client.get(path, headers=headers, follow=True).status_code == 403
    entry = AuditEntry.objects.order_by("number").last()
    assert AuditEntry.objects.count() == before + 1
    assert (entry.action, entry.result, entry.actor_name) == ("permission.denied", "refused", person.username)
    assert len(entry.request_id) == 32


@pytest.mark.django_db
def test_a_deed_denied_through_the_api_leaves_one_entry(client):
    person = make_user(Role.VIEWER)
    _, text = add_token(person, actor=person, name="ci", days=None)
    task = make_task()
    answer = client.delete(f"/api/v1/tasks/{task.api_id}", headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 403
    entries = list(AuditEntry.objects.order_by("number").values_list("action", "actor_name"))
    assert entries == [("token.add", person.username), ("permission.denied", person.username)]


@pytest.mark.django_db
def test_what_cannot_be_noted_is_not_answered_as_if_it_were(client, monkeypatch):
    def refuse(entry):
        raise ConnectionError

    client.force_login(make_user(Role.VIEWER))
    monkeypatch.setattr(recorder, "_append", refuse)
    with pytest.raises(ConnectionError):
        client.get("/people/")
