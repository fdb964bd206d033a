"""API tokens on the profile page: made, shown once, revoked."""

import uuid
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils.timezone import now

from tasks_app.access.tokens import hash_of
from tasks_app.models import ApiToken, AuditEntry
from tasks_app.services.api_tokens import MAX_TOKENS, add_token
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def person(client: Client):
    user = make_user()
    client.force_login(user)
    return user


def make(client: Client, **given):
    return client.post(
        "/profile/tokens/add", {"name": "Render script", "days": "90", "key": str(uuid.uuid4())} | given
    )


def test_token_is_shown_once_kept_as_a_hash_and_audited(client, person):
    page = make(client)
    token = ApiToken.objects.get()
    text = page.text.split('<pre id="token" tabindex="0">')[1].split("<")[0]
    assert text.startswith("tp_")
    assert len(text) == 46
    assert token.token_hash == hash_of(text)
    assert token.hint == text[:9]
    assert token.user == person
    assert timedelta(days=89) < token.expires_at - now() < timedelta(days=91)
    assert "no-store" in page["Cache-Control"]
    assert f"Bearer {text}" in page.text
    shown = client.get("/profile/").text
    assert "Render script" in shown
    assert text not in shown
    entry = AuditEntry.objects.get(action="token.add")
    assert entry.actor_id == person.pk
    assert text not in str(vars(entry))
    api = Client(headers={"authorization": f"Bearer {text}"})
    assert api.get("/api/v1/tasks").status_code == 200


def test_double_click_or_reload_makes_one_token_and_shows_it_no_more(client, person):
    key = str(uuid.uuid4())
    make(client, key=key)
    again = make(client, key=key)
    assert again["Location"] == "/profile/"
    assert ApiToken.objects.count() == 1


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 61}, {"name": "a\x07b"}, {"days": "7"}, {"key": "no"}],
    ids=["no name", "long", "control", "days", "key"],
)
def test_wrong_input_is_422_and_can_be_corrected(client, person, given):
    key = str(uuid.uuid4())
    page = make(client, **({"key": key} | given))
    assert page.status_code == 422
    assert not ApiToken.objects.exists()
    assert make(client, key=key).status_code == 200


def test_token_without_end(client, person):
    make(client, days="0")
    assert ApiToken.objects.get().expires_at is None


def test_only_so_many(client, person):
    for number in range(MAX_TOKENS):
        add_token(person, actor=person, name=f"t{number}", days=None)
    assert make(client).status_code == 409
    ApiToken.objects.filter(name="t0").update(revoked_at=now())
    assert make(client).status_code == 200


def test_revoked_token_is_gone_from_the_page_and_audited_once(client, person):
    token, text = add_token(person, actor=person, name="archive-7", days=None)
    for _ in range(2):
        answer = client.post(f"/profile/tokens/{token.pk}/revoke")
        assert answer["Location"] == "/profile/"
    assert "archive-7" not in client.get("/profile/").text.replace("“archive-7” is revoked", "")
    assert AuditEntry.objects.filter(action="token.revoke").count() == 1
    assert Client(headers={"authorization": f"Bearer {text}"}).get("/api/v1/tasks").status_code == 401


def test_token_of_somebody_else_does_not_exist(client, person):
    other = make_user()
    token, _ = add_token(other, actor=other, name="theirs", days=None)
    assert client.post(f"/profile/tokens/{token.pk}/revoke").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_expired_tokens_are_not_shown(client, person):
    add_token(person, actor=person, name="gone", days=1)
    ApiToken.objects.update(expires_at=now())
    assert "gone" not in client.get("/profile/").text


def test_anonymous_is_led_to_the_sign_in(client):
    assert make(client)["Location"].startswith("/account/login/")


def test_a_token_makes_no_tokens(client):
    user = make_user()
    _, text = add_token(user, actor=user, name="a", days=None)
    api = Client(headers={"authorization": f"Bearer {text}"})
    assert make(api)["Location"].startswith("/account/login/")
