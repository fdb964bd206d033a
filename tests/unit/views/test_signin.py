"""Getting in and out: password, second factor, and what is closed."""

import re

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.cache import cache
from django.test import Client

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry
from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_limits_from_other_tests() -> None:
    cache.clear()


def sign_in(client: Client, password: str = PASSWORD, **more: str):
    return client.post("/account/login/", {"login": "ann", "password": password, **more})


def sign_in_and_confirm(client: Client) -> None:
    """Signed in, and the password entered once more, as the delicate pages want it."""
    sign_in(client)
    client.post("/account/reauthenticate/", {"password": PASSWORD})


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def test_front_page_asks_strangers_to_sign_in(client: Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


def test_sign_in_page_shows_no_navigation(client: Client) -> None:
    answer = client.get("/account/login/")
    assert answer.status_code == 200
    assert 'class="nav"' not in answer.text
    assert "Forgot" not in answer.text


def test_right_password_leads_to_where_one_wanted_to_go(client: Client) -> None:
    make_user(username="ann")
    answer = sign_in(client, next="/sources/")
    assert (answer.status_code, answer["Location"]) == (302, "/sources/")
    assert AuditEntry.objects.filter(action=Action.LOGIN, actor_name="ann").exists()


def test_nobody_is_led_to_another_site(client: Client) -> None:
    make_user(username="ann")
    assert sign_in(client, next="https://elsewhere.example/")["Location"] == "/"


def test_wrong_password_is_said_and_noted(client: Client) -> None:
    make_user(username="ann")
    answer = sign_in(client, password="wrong")
    assert "not correct" in answer.text
    assert AuditEntry.objects.filter(action=Action.LOGIN_FAILED, target_name="ann").exists()


def test_unknown_name_reads_like_a_wrong_password(client: Client) -> None:
    wrong_name = sign_in(client, password="wrong").text
    make_user(username="ann")
    wrong_password = sign_in(client, password="wrong").text
    message = re.compile(r'<div class="banner".*?</div></div>', re.DOTALL)
    assert message.findall(wrong_name) == message.findall(wrong_password) != []


def test_guessing_is_slowed_down(client: Client) -> None:
    make_user(username="ann")
    answers = [sign_in(client, password=f"guess {number}") for number in range(12)]
    assert any("Too many" in answer.text for answer in answers)
    assert "_auth_user_id" not in client.session


def test_switched_off_account_cannot_sign_in(client: Client) -> None:
    make_user(username="ann", is_active=False)
    sign_in(client)
    assert "_auth_user_id" not in client.session


def test_sign_out_ends_the_session(client: Client) -> None:
    client.force_login(make_user())
    assert "Running tasks go on" in client.get("/account/logout/").text
    client.post("/account/logout/")
    assert client.get("/sources/").status_code == 302


def test_nobody_signs_up(client: Client) -> None:
    given = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD}
    for answer in (client.get("/account/signup/"), client.post("/account/signup/", given)):
        assert "Nobody signs up by themselves" in answer.text


@pytest.mark.parametrize("path", ["password/reset/", "email/", "confirm-email/", "login/code/"])
def test_pages_that_would_send_mail_are_closed(client: Client, path: str) -> None:
    client.force_login(make_user())
    assert "An admin of this portal adds people" in client.get(f"/account/{path}").text
    assert client.post(f"/account/{path}", {"email": "a@example.com"}).status_code == 405


def test_own_password_is_changed(client: Client) -> None:
    person = make_user()
    client.force_login(person)
    given = {"oldpassword": PASSWORD, "password1": "a new long sentence", "password2": "a new long sentence"}
    assert "Change password" in client.get("/account/password/change/").text
    client.post("/account/password/change/", given)
    person.refresh_from_db()
    assert person.check_password("a new long sentence")
    entry = AuditEntry.objects.get(action=Action.PERSON_PASSWORD)
    assert (entry.actor_name, entry.target_id, entry.data) == (person.username, str(person.pk), {})


def test_second_factor_is_set_up_sealed_and_asked_for(client: Client) -> None:
    person = make_user(username="ann")
    sign_in_and_confirm(client)
    page = client.get("/account/2fa/totp/activate/")
    secret = page.context["form"].secret
    assert secret in page.text
    client.post("/account/2fa/totp/activate/", {"code": code_of(secret)})
    stored = Authenticator.objects.get(user=person, type="totp")
    assert secret not in str(stored.data)

    other = Client()
    assert sign_in(other)["Location"].startswith("/account/2fa/authenticate/")
    assert "_auth_user_id" not in other.session
    assert "recovery codes" in other.get("/account/2fa/authenticate/").text
    wrong = other.post("/account/2fa/authenticate/", {"code": "000000"})
    assert "Incorrect code" in wrong.text
    assert AuditEntry.objects.get(action=Action.LOGIN_FAILED).target_name == "ann"


def test_delicate_pages_ask_for_the_password_once_more(client: Client) -> None:
    make_user(username="ann")
    sign_in(client)
    answer = client.get("/account/2fa/totp/activate/", follow=True)
    assert "Confirm it is you" in answer.text


def test_recovery_code_opens_the_account_once(client: Client) -> None:
    make_user(username="ann")
    sign_in_and_confirm(client)
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    client.post("/account/2fa/totp/activate/", {"code": code_of(secret)})
    codes = client.get("/account/2fa/recovery-codes/").context["unused_codes"]
    first = Client()
    sign_in(first)
    assert first.post("/account/2fa/authenticate/", {"code": codes[0]}).status_code == 302
    assert "_auth_user_id" in first.session
    second = Client()
    sign_in(second)
    second.post("/account/2fa/authenticate/", {"code": codes[0]})
    assert "_auth_user_id" not in second.session


def test_second_factor_is_audited_once_for_each_deed_without_what_it_knows(client: Client) -> None:
    make_user(username="ann")
    sign_in_and_confirm(client)
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    client.post("/account/2fa/totp/activate/", {"code": "000000"})
    client.post("/account/2fa/totp/activate/", {"code": code_of(secret)})
    client.post("/account/2fa/recovery-codes/generate/")
    client.post("/account/2fa/totp/deactivate/")
    entries = AuditEntry.objects.filter(action=Action.PERSON_SECOND_FACTOR).order_by("number")
    both = ["recovery_codes", "totp"]
    assert [(entry.actor_name, entry.data) for entry in entries] == [
        ("ann", {"change": "added", "kinds": both}),
        ("ann", {"change": "renewed", "kinds": ["recovery_codes"]}),
        ("ann", {"change": "removed", "kinds": both}),
    ]
    assert secret not in str(list(entries.values()))


def test_second_factor_pages_are_drawn_in_our_frame(client: Client) -> None:
    make_user(username="ann")
    sign_in_and_confirm(client)
    assert "Not set up" in client.get("/account/2fa/").text
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    client.post("/account/2fa/totp/activate/", {"code": code_of(secret)})
    assert "Active. Sign-in asks" in client.get("/account/2fa/").text
    assert "stop working" in client.get("/account/2fa/recovery-codes/generate/").text
    assert "Switch off the authenticator app?" in client.get("/account/2fa/totp/deactivate/").text
    client.post("/account/2fa/totp/deactivate/")
    assert "Not set up" in client.get("/account/2fa/").text
