"""A person's own profile."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from tasks_app.models import AuditEntry, Profile
from tests.factories import make_team, make_user

pytestmark = pytest.mark.django_db

KEY = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_anonymous_is_led_to_the_sign_in(client: Client) -> None:
    assert client.get("/profile/")["Location"].startswith("/account/login/")


def test_keys_are_kept_and_shown_again(client: Client) -> None:
    person = make_user()
    make_team(person, name="Research")
    client.force_login(person)
    assert client.post("/profile/", {"ssh_keys": f"{KEY} me"})["Location"] == "/profile/"
    assert Profile.objects.get().user == person
    page = client.get("/profile/").text
    assert KEY.split()[1].replace("+", "&#x2B;") in page or KEY.split()[1] in page
    assert "Research" in page
    assert AuditEntry.objects.filter(action="person.profile").count() == 1


def test_wrong_line_is_named_and_what_was_written_stays(client: Client) -> None:
    client.force_login(make_user())
    answer = client.post("/profile/", {"ssh_keys": f"{KEY}\nnonsense <b>"})
    assert answer.status_code == 422
    assert "Line 2: this is no public key" in answer.text
    assert "nonsense &lt;b&gt;" in answer.text
    assert not Profile.objects.exclude(ssh_keys="").exists()
