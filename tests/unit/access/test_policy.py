"""Who may do what: every role against every verb, on the source of the role, on another, and on the whole portal."""

import pytest
from django.contrib.auth.models import AnonymousUser

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import NotPermitted
from tasks_app.models import Guest, Role, Source, Submission, Task
from tests.factories import make_guest, make_source, make_superuser, make_task, make_user

pytestmark = pytest.mark.django_db

SEE, CANCEL, START, ACKNOWLEDGE = Verb.SEE, Verb.CANCEL, Verb.START, Verb.ACKNOWLEDGE
EXPECTED = {
    Role.VIEWER: {SEE},
    Role.OPERATOR: {SEE, CANCEL, START, ACKNOWLEDGE, Verb.USE_MACHINE, Verb.GENERATE, Verb.USE_RESULT},
    Role.AUDITOR: {SEE, Verb.SEE_AUDIT, Verb.SEE_ITEM},
    Role.ADMIN: {
        SEE,
        CANCEL,
        START,
        ACKNOWLEDGE,
        Verb.MANAGE_SOURCE,
        Verb.SEE_AUDIT,
        Verb.USE_MACHINE,
        Verb.GENERATE,
        Verb.USE_RESULT,
        Verb.SEE_ITEM,
        Verb.MANAGE_ITEM,
    },
}
WHOLE_PORTAL: dict[Role, set[Verb]] = {
    Role.VIEWER: set(),
    Role.OPERATOR: set(),
    Role.AUDITOR: {Verb.SEE_TEAM},
    Role.ADMIN: {
        Verb.ADD_SOURCE,
        Verb.MANAGE_PEOPLE,
        Verb.APPROVE,
        Verb.SEE_TEAM,
        Verb.MANAGE_TEAM,
        Verb.SET_UP_TEAM,
        Verb.SET_LIMITS,
        Verb.CLEAN_UP,
    },
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("role", Role)
def test_a_role_on_one_source(role, verb):
    source = make_source()
    person = make_user(role, source=source)
    assert can(person, verb, source) == (verb in EXPECTED[role])
    assert not can(person, verb, make_source())


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("role", Role)
def test_a_role_on_all_sources(role, verb):
    person = make_user(role)
    expected = EXPECTED[role] | WHOLE_PORTAL[role]
    assert can(person, verb, make_source()) == (verb in expected)
    assert can(person, verb) == (verb in expected)


@pytest.mark.parametrize("verb", Verb)
def test_a_superuser_may_everything(verb):
    assert can(make_superuser(), verb, make_source())


@pytest.mark.parametrize("verb", Verb)
def test_strangers_the_inactive_and_the_anonymous_may_nothing(verb):
    source = make_source()
    for person in (
        make_user(),
        make_user(Role.ADMIN, is_active=False),
        make_superuser(is_active=False),
        AnonymousUser(),
    ):
        assert not can(person, verb, source)


def test_roles_add_up():
    source = make_source()
    person = make_user(Role.AUDITOR)
    assert not can(person, Verb.CANCEL, source)
    person.grants.create(role=Role.OPERATOR, source=source)
    assert can(person, Verb.CANCEL, source)
    assert can(person, Verb.SEE_AUDIT, source)


def test_a_refusal_says_what_and_where():
    source = make_source(name="prod")
    with pytest.raises(NotPermitted, match="Your role does not allow you to cancel tasks on prod"):
        require(make_user(Role.VIEWER), Verb.CANCEL, source)


@pytest.mark.parametrize("role", Role)
def test_rows_are_visible_on_the_source_of_the_role_only(role):
    mine, other = make_source(), make_source()
    person = make_user(role, source=mine)
    for source in (mine, other):
        make_task(source)
        make_guest(source)
    assert list(Source.objects.visible_to(person)) == [mine]
    assert [row.source for row in Task.objects.visible_to(person)] == [mine]
    assert [row.source for row in Guest.objects.visible_to(person)] == [mine]
    assert not Submission.objects.visible_to(person).exists()


def test_a_role_on_all_sources_sees_sources_added_later():
    person = make_user(Role.VIEWER)
    source = make_source()
    assert list(Source.objects.visible_to(person)) == [source]


def test_strangers_the_inactive_and_the_anonymous_see_nothing():
    make_source()
    for person in (make_user(), make_user(Role.ADMIN, is_active=False), AnonymousUser()):
        assert not Source.objects.visible_to(person).exists()
