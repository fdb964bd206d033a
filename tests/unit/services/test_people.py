"""People, their roles, and the first admin."""

import pytest
from django.contrib.auth.models import User

from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import AuditEntry, Grant, Role, SetupToken
from tasks_app.services import people, setup
from tests.factories import PASSWORD, make_source, make_superuser, make_user

pytestmark = pytest.mark.django_db

NEW = {"username": "ada", "email": "ada@example.com", "password": PASSWORD}


def test_an_admin_adds_a_person_who_may_nothing_yet(audited):
    person = people.add_person(actor=make_user(Role.ADMIN), **NEW)
    assert person.check_password(PASSWORD)
    assert not person.grants.exists()
    assert not person.is_superuser
    assert audited() == ["person.add"]
    assert PASSWORD not in str(AuditEntry.objects.values()[0])


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, None])
def test_others_may_not_manage_people(role, audited):
    actor, person = make_user(role), make_user(Role.VIEWER)
    deeds = [
        lambda: people.add_person(actor=actor, **NEW),
        lambda: people.change_person(person, actor=actor, is_active=False),
        lambda: people.set_password(person, actor=actor, password=PASSWORD),
        lambda: people.grant_role(person, actor=actor, role=Role.ADMIN, source=None),
        lambda: people.revoke_role(person.grants.get(), actor=actor),
    ]
    for deed in deeds:
        with pytest.raises(NotPermitted):
            deed()
    assert audited() == []


def test_an_admin_of_one_source_manages_no_people():
    with pytest.raises(NotPermitted):
        people.add_person(actor=make_user(Role.ADMIN, source=make_source()), **NEW)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"email": "nowhere"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "password123"}, "password"),
        ({"username": "adalovelace", "password": "adalovelace1"}, "password"),
    ],
)
def test_what_cannot_be_used_is_named(changes, field):
    with pytest.raises(InvalidInput) as refusal:
        people.add_person(actor=None, **(NEW | changes))
    assert list(refusal.value.fields) == [field]
    assert not User.objects.exists()


@pytest.mark.parametrize("username", ["ada", "ADA"])
def test_a_name_is_taken_once_however_it_is_written(username):
    people.add_person(actor=None, **NEW)
    with pytest.raises(InvalidInput) as refusal:
        people.add_person(actor=None, **(NEW | {"username": username}))
    assert list(refusal.value.fields) == ["username"]


def test_an_admin_cannot_make_or_take_over_a_superuser(audited):
    admin, superuser = make_user(Role.ADMIN), make_superuser()
    deeds = [
        lambda: people.add_person(actor=admin, is_superuser=True, **NEW),
        lambda: people.change_person(admin, actor=admin, is_superuser=True),
        lambda: people.change_person(superuser, actor=admin, email="x@example.com"),
        lambda: people.set_password(superuser, actor=admin, password=PASSWORD + "2"),
    ]
    for deed in deeds:
        with pytest.raises(NotPermitted):
            deed()
    assert audited() == []


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}])
def test_the_last_superuser_stays(change, audited):
    last = make_superuser()
    make_superuser(is_active=False)
    with pytest.raises(Refused):
        people.change_person(last, actor=last, **change)
    assert User.objects.get(pk=last.pk).is_active
    assert User.objects.get(pk=last.pk).is_superuser
    assert audited() == []


def test_one_of_two_superusers_may_go():
    first, second = make_superuser(), make_superuser()
    people.change_person(second, actor=first, is_active=False)
    assert not User.objects.get(pk=second.pk).is_active


def test_a_change_is_kept_with_before_and_after():
    person = make_user(email="old@example.com")
    people.change_person(person, actor=make_superuser(), email="new@example.com", is_active=True)
    entry = AuditEntry.objects.get()
    assert entry.data == {"before": {"email": "old@example.com"}, "after": {"email": "new@example.com"}}


def test_a_change_to_the_same_is_none(audited):
    people.change_person(make_user(), actor=make_superuser(), is_active=True)
    assert audited() == []


def test_who_becomes_superuser_may_enter_djangos_admin():
    person = make_user()
    people.change_person(person, actor=make_superuser(), is_superuser=True)
    assert User.objects.get(pk=person.pk).is_staff


def test_everybody_may_change_their_own_password(audited):
    person = make_user()
    people.set_password(person, actor=person, password="another long sentence")
    assert User.objects.get(pk=person.pk).check_password("another long sentence")
    assert audited() == ["person.password"]


def test_a_role_is_granted_and_taken_once(audited):
    admin, person, source = make_user(Role.ADMIN), make_user(), make_source()
    for _ in range(2):
        grant = people.grant_role(person, actor=admin, role=Role.OPERATOR, source=source)
    assert person.grants.count() == 1
    for _ in range(2):
        people.revoke_role(grant, actor=admin)
    assert audited() == ["grant.add", "grant.remove"]
    entry = AuditEntry.objects.first()
    assert entry.data == {"role": "operator", "on": source.name}
    assert entry.target_name == person.username


def test_a_role_on_all_sources_is_granted_once():
    person = make_user()
    for _ in range(2):
        people.grant_role(person, actor=None, role="viewer", source=None)
    assert Grant.objects.count() == 1


def test_an_unknown_role_is_refused():
    with pytest.raises(InvalidInput):
        people.grant_role(make_user(), actor=None, role="king", source=None)


def open_link():
    return setup.make_setup_link().split("/")[2]


def test_the_link_makes_the_first_superuser_and_is_used_up(audited):
    token = open_link()
    assert setup.is_link_open(token)
    person = setup.set_up_admin(token, username="admin", password=PASSWORD, email="")
    assert person.is_superuser
    assert person.is_staff
    assert audited() == ["person.setup"]
    assert not setup.is_link_open(token)
    with pytest.raises(Refused):
        setup.set_up_admin(token, username="admin2", password=PASSWORD, email="")


def test_only_a_hash_of_the_link_is_kept():
    token = open_link()
    assert token not in str(SetupToken.objects.values()[0])


def test_a_new_link_replaces_the_old_one():
    old, new = open_link(), open_link()
    assert not setup.is_link_open(old)
    assert setup.is_link_open(new)


@pytest.mark.parametrize("token", ["", "made-up", "\udcff", "x" * 10_000])
def test_a_made_up_link_opens_nothing(token):
    open_link()
    assert not setup.is_link_open(token)
    with pytest.raises(Refused):
        setup.set_up_admin(token, username="admin", password=PASSWORD, email="")


def test_a_bad_password_leaves_the_link_usable():
    token = open_link()
    with pytest.raises(InvalidInput):
        setup.set_up_admin(token, username="admin", password="short", email="")
    assert setup.is_link_open(token)


def test_with_an_admin_there_is_no_link():
    make_superuser()
    assert setup.make_setup_link() is None


def test_an_open_link_dies_when_there_is_an_admin():
    token = open_link()
    make_superuser()
    assert not setup.is_link_open(token)
    with pytest.raises(Refused):
        setup.set_up_admin(token, username="second", password=PASSWORD, email="")


def test_a_superuser_without_a_usable_password_does_not_count():
    person = make_superuser()
    person.set_unusable_password()
    person.save()
    assert setup.make_setup_link() is not None
