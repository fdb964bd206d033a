"""The page of time limits."""

import pytest
from django.test import Client

from tasks_app.forms.limits import minutes_words
from tasks_app.kinds import FAMILIES, HOUR, MINUTE
from tasks_app.models import AuditEntry, Role, TimeLimit
from tests.factories import make_source, make_superuser, make_user

pytestmark = pytest.mark.django_db


def given(**changes: object) -> dict[str, object]:
    return {name: family.seconds // MINUTE for name, family in FAMILIES.items()} | changes


def test_anonymous_is_led_to_the_sign_in(client: Client) -> None:
    assert client.get("/limits/")["Location"].startswith("/account/login/")


@pytest.mark.parametrize("role", [None, *Role])
def test_others_than_the_portals_admins_are_refused(client: Client, role: Role | None) -> None:
    client.force_login(make_user(role, source=make_source()) if role else make_user())
    assert client.get("/limits/").status_code == 403
    assert client.post("/limits/", given(clone=60)).status_code == 403
    assert not TimeLimit.objects.exists()


@pytest.mark.parametrize("admin", [make_superuser, lambda: make_user(Role.ADMIN)])
def test_an_admin_changes_one(client: Client, admin) -> None:
    client.force_login(admin())
    assert client.get("/limits/").status_code == 200
    assert client.post("/limits/", given(clone=60))["Location"] == "/limits/"
    assert list(TimeLimit.objects.values_list("family", "seconds")) == [("clone", HOUR)]
    assert AuditEntry.objects.filter(action="limits.change").count() == 1


@pytest.mark.parametrize("minutes", ["0", "-5", "99999999", "long", ""])
def test_nonsense_stays_in_the_form(client: Client, minutes: str) -> None:
    client.force_login(make_superuser())
    assert client.post("/limits/", given(clone=minutes)).status_code == 422
    assert not TimeLimit.objects.exists()


@pytest.mark.parametrize(
    ("seconds", "words"), [(2 * HOUR, "2 h"), (5 * MINUTE, "5 min"), (90 * MINUTE, "90 min")]
)
def test_limits_in_words(seconds: int, words: str) -> None:
    assert minutes_words(seconds) == words
