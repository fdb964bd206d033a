"""People and their roles."""

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Grant, Role
from tests.factories import PASSWORD, make_source, make_superuser, make_user

pytestmark = pytest.mark.django_db

PAGES = ["/people/", "/people/add/", "/people/{pk}/"]
DEEDS = ["change", "password", "second-factor", "grant", "deactivate", "activate", "promote", "demote"]


@pytest.fixture
def admin() -> User:
    return make_superuser()


@pytest.fixture
def somebody() -> User:
    return make_user()


@pytest.mark.parametrize("page", PAGES)
def test_anonymous_is_led_to_the_sign_in(client: Client, page: str, somebody: User) -> None:
    answer = client.get(page.format(pk=somebody.pk))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_page_is_refused_without_the_role(
    client: Client, page: str, role: Role | None, somebody: User
) -> None:
    client.force_login(make_user(role))
    assert client.get(page.format(pk=somebody.pk)).status_code == 403


@pytest.mark.parametrize("deed", DEEDS)
def test_deed_is_refused_without_the_role_and_noted(client: Client, deed: str, somebody: User) -> None:
    client.force_login(make_user(Role.OPERATOR))
    given = {"password": PASSWORD + "!", "role": "admin", "email": "a@example.com"}
    assert client.post(f"/people/{somebody.pk}/{deed}", given).status_code == 403
    somebody.refresh_from_db()
    assert somebody.is_active
    assert not somebody.is_superuser
    assert somebody.check_password(PASSWORD)
    assert not somebody.grants.exists()
    assert AuditEntry.objects.filter(action=Action.DENIED).count() == 1


def test_admin_of_one_source_may_not_manage_people(client: Client) -> None:
    client.force_login(make_user(Role.ADMIN, source=make_source()))
    assert client.get("/people/").status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_admin_of_all_sources_sees_the_pages(client: Client, page: str, somebody: User) -> None:
    client.force_login(make_user(Role.ADMIN))
    assert client.get(page.format(pk=somebody.pk)).status_code == 200


def test_added_person_can_sign_in_and_sees_nothing(client: Client, admin: User) -> None:
    client.force_login(admin)
    answer = client.post("/people/add/", {"username": "new", "email": "", "password": PASSWORD})
    person = User.objects.get(username="new")
    assert answer["Location"] == f"/people/{person.pk}/"
    newcomer = Client()
    assert newcomer.post("/account/login/", {"login": "new", "password": PASSWORD}).status_code == 302
    assert "You see no source yet" in newcomer.get("/sources/").text


def test_name_that_is_taken_is_said_on_the_field(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    answer = client.post("/people/add/", {"username": somebody.username.upper(), "password": PASSWORD})
    assert answer.status_code == 422
    assert "has this name already" in answer.text


def test_weak_first_password_is_refused(client: Client, admin: User) -> None:
    client.force_login(admin)
    answer = client.post("/people/add/", {"username": "new", "password": "123"})
    assert answer.status_code == 422
    assert not User.objects.filter(username="new").exists()


def test_role_is_given_and_taken_away(client: Client, admin: User, somebody: User) -> None:
    source = make_source(name="prod")
    client.force_login(admin)
    client.post(f"/people/{somebody.pk}/grant", {"role": "operator", "source": source.pk})
    grant = Grant.objects.get(user=somebody)
    assert (grant.role, grant.source) == (Role.OPERATOR, source)
    assert "Operator · prod" in client.get("/people/").text
    client.post(f"/people/{somebody.pk}/revoke/{grant.pk}")
    assert not Grant.objects.exists()
    assert AuditEntry.objects.filter(action__in=[Action.GRANT_ADD, Action.GRANT_REMOVE]).count() == 2


def test_role_on_all_sources_needs_no_source(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    client.post(f"/people/{somebody.pk}/grant", {"role": "viewer", "source": ""})
    assert Grant.objects.get(user=somebody).source is None


def test_unknown_role_is_refused(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    assert client.post(f"/people/{somebody.pk}/grant", {"role": "god"}).status_code == 422
    assert not Grant.objects.exists()


def test_grant_of_somebody_else_is_not_found(client: Client, admin: User, somebody: User) -> None:
    other = Grant.objects.create(user=make_user(), role=Role.VIEWER)
    client.force_login(admin)
    assert client.post(f"/people/{somebody.pk}/revoke/{other.pk}").status_code == 404
    assert Grant.objects.filter(pk=other.pk).exists()


def test_switching_off_ends_the_sessions(client: Client, admin: User, somebody: User) -> None:
    theirs = Client()
    theirs.force_login(somebody)
    client.force_login(admin)
    client.post(f"/people/{somebody.pk}/deactivate")
    assert theirs.get("/sources/").status_code == 302
    client.post(f"/people/{somebody.pk}/activate")
    somebody.refresh_from_db()
    assert somebody.is_active


@pytest.mark.parametrize("deed", ["deactivate", "demote"])
def test_last_superuser_cannot_lock_the_portal(client: Client, admin: User, deed: str) -> None:
    client.force_login(admin)
    answer = client.post(f"/people/{admin.pk}/{deed}")
    assert answer.status_code == 409
    assert "only active superuser" in answer.text
    admin.refresh_from_db()
    assert admin.is_active
    assert admin.is_superuser


def test_admin_who_is_no_superuser_cannot_become_one(client: Client) -> None:
    admin = make_user(Role.ADMIN)
    client.force_login(admin)
    assert client.post(f"/people/{admin.pk}/promote").status_code == 403
    admin.refresh_from_db()
    assert not admin.is_superuser


def test_admin_cannot_take_over_a_superuser_by_a_password(client: Client, admin: User) -> None:
    client.force_login(make_user(Role.ADMIN))
    assert (
        client.post(f"/people/{admin.pk}/password", {"password": "another long password"}).status_code == 403
    )
    admin.refresh_from_db()
    assert admin.check_password(PASSWORD)


def test_new_password_works_and_is_not_shown(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    answer = client.post(
        f"/people/{somebody.pk}/password", {"password": "quite another sentence"}, follow=True
    )
    assert "quite another sentence" not in answer.text
    somebody.refresh_from_db()
    assert somebody.check_password("quite another sentence")


def test_unknown_person_and_unknown_deed_are_not_found(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    assert client.get("/people/99999/").status_code == 404
    assert client.post(f"/people/{somebody.pk}/explode").status_code == 404


def test_list_needs_the_same_queries_for_many(client: Client, admin: User, django_assert_num_queries) -> None:
    client.force_login(admin)
    for _ in range(5):
        make_user(Role.VIEWER, source=make_source())
    client.get("/people/")
    with django_assert_num_queries(5):  # session, person, everybody, grants, counts of the navigation
        client.get("/people/")


def give_second_factor(person: User) -> None:
    Authenticator.objects.create(user=person, type=Authenticator.Type.TOTP, data={"secret": "sealed"})


def test_a_lost_second_factor_is_removed_and_noted(client: Client, admin: User, somebody: User) -> None:
    client.force_login(admin)
    assert "Remove second factor" not in client.get(f"/people/{somebody.pk}/").text
    give_second_factor(somebody)
    assert "Remove second factor" in client.get(f"/people/{somebody.pk}/").text
    for _ in range(2):
        assert client.post(f"/people/{somebody.pk}/second-factor").status_code == 302
    assert not Authenticator.objects.exists()
    entry = AuditEntry.objects.get(action=Action.PERSON_SECOND_FACTOR)
    assert (entry.target_name, entry.data) == (somebody.username, {"change": "removed", "kinds": ["totp"]})


def test_the_second_factor_of_a_superuser_is_a_superusers_matter(client: Client, admin: User) -> None:
    give_second_factor(admin)
    client.force_login(make_user(Role.ADMIN))
    assert client.post(f"/people/{admin.pk}/second-factor").status_code == 403
    assert Authenticator.objects.exists()
