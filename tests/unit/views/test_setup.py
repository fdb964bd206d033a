"""The one-time link of the first start."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry
from tasks_app.services.setup import make_setup_link
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

GIVEN = {"username": "boss", "email": "", "password": PASSWORD, "password_again": PASSWORD}


def new_link() -> str:
    link = make_setup_link()
    assert link is not None
    return link


def test_link_makes_the_first_admin_and_signs_them_in(client: Client) -> None:
    answer = client.post(new_link(), GIVEN)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    boss = User.objects.get(username="boss")
    assert boss.is_superuser
    assert client.session["_auth_user_id"] == str(boss.pk)
    assert AuditEntry.objects.filter(action=Action.PERSON_SETUP, target_name="boss").exists()


def test_used_link_says_how_to_get_in(client: Client) -> None:
    link = new_link()
    client.post(link, GIVEN)
    for answer in (Client().get(link), Client().post(link, GIVEN | {"username": "second"})):
        assert answer.status_code == 410
        assert "has an admin already" in answer.text
    assert User.objects.count() == 1


def test_made_up_link_says_how_to_get_a_new_one(client: Client) -> None:
    new_link()
    answer = client.get("/setup/made-up/")
    assert answer.status_code == 410
    assert "Each start of the portal prints a fresh link" in answer.text


def test_replaced_link_is_closed(client: Client) -> None:
    old = new_link()
    new_link()
    assert client.get(old).status_code == 410


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"password_again": "something else"}, "differ"),
        ({"username": "no spaces allowed"}, "valid username"),
        ({"username": ""}, "required"),
    ],
)
def test_wrong_input_stays_on_its_field_and_leaves_the_link_open(
    client: Client, change: dict, words: str
) -> None:
    link = new_link()
    answer = client.post(link, GIVEN | change)
    assert answer.status_code == 422
    assert words in answer.text
    assert client.post(link, GIVEN).status_code == 302


def test_password_is_never_sent_back(client: Client) -> None:
    answer = client.post(new_link(), GIVEN | {"password_again": "something else entirely"})
    assert PASSWORD not in answer.text
