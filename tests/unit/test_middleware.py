"""Where a request came from, and what a refusal becomes."""

import pytest
from django.test import RequestFactory, override_settings

from portal.middleware import client_ip
from tasks_app.models import AuditEntry, Role
from tests.factories import make_user

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
