"""Who may make, cancel, keep and see videos and images: everybody against what is theirs and what is not."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import AnonymousUser, User

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import NotPermitted
from tasks_app.models import Generation, Role, Source, Task, Team
from tests.factories import make_generation, make_generation_source, make_superuser, make_team, make_user

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class World:
    """A source that is open to one team, and a task of somebody in it."""

    source: Source
    team: Team
    generation: Generation
    people: dict[str, User | AnonymousUser]


def make_world() -> World:
    source = make_generation_source()
    owner, member, leader, gone = make_user(), make_user(), make_user(), make_user(is_active=False)
    team = make_team(owner, member, gone, admins=(leader,))
    team.admins.add(gone)
    source.teams.add(team)
    outsider = make_user()
    make_team(outsider, admins=(outsider,))
    people: dict[str, User | AnonymousUser] = {
        "owner": owner,
        "member": member,
        "team admin": leader,
        "operator": make_user(Role.OPERATOR, source=source),
        "operator elsewhere": make_user(Role.OPERATOR, source=make_generation_source()),
        "viewer": make_user(Role.VIEWER, source=source),
        "auditor": make_user(Role.AUDITOR),
        "portal admin": make_user(Role.ADMIN),
        "superuser": make_superuser(),
        "other team": outsider,
        "stranger": make_user(),
        "inactive": gone,
        "anonymous": AnonymousUser(),
    }
    return World(source, team, make_generation(source, actor=owner, team=team), people)


def allowed(world: World, deed) -> set[str]:
    return {name for name, person in world.people.items() if deed(person)}


BY_ROLE = {"operator", "portal admin", "superuser"}
IN_TEAM = {"owner", "member", "team admin"}


def test_who_may_make_something_there():
    world = make_world()
    assert allowed(world, lambda who: can(who, Verb.GENERATE, world.source)) == BY_ROLE | IN_TEAM


def test_who_may_make_something_for_the_team():
    world = make_world()
    assert (
        allowed(world, lambda who: can(who, Verb.GENERATE, world.source, team=world.team))
        == BY_ROLE | IN_TEAM
    )


def test_a_team_to_which_the_source_is_not_open_gives_nothing():
    world = make_world()
    for closed in (make_team(*[world.people[name] for name in IN_TEAM]), Team(pk=0)):
        assert (
            allowed(world, lambda who, team=closed: can(who, Verb.GENERATE, world.source, team=team))
            == BY_ROLE
        )


def test_who_may_make_anything_at_all():
    world = make_world()
    assert allowed(world, lambda who: can(who, Verb.GENERATE)) == BY_ROLE | IN_TEAM | {"operator elsewhere"}


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.USE_RESULT])
def test_who_may_cancel_it_and_use_its_result(verb):
    world = make_world()
    assert allowed(
        world, lambda who: can(who, verb, world.source, generation=world.generation)
    ) == BY_ROLE | {"owner", "team admin"}


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.USE_RESULT])
def test_without_a_team_it_is_theirs_with_the_role(verb):
    """Who has left their team, or lost their role, has no say any more; nor has the team one in what is not its."""
    world = make_world()
    mine = make_generation(world.source, actor=world.people["owner"], team=None)
    assert allowed(world, lambda who: can(who, verb, world.source, generation=mine)) == BY_ROLE
    world.team.group.user_set.remove(world.people["owner"])
    assert not can(world.people["owner"], verb, world.source, generation=world.generation)


def test_a_foreign_task_is_nobodys_but_the_operators():
    world = make_world()
    foreign = make_generation(world.source, actor=None)
    assert allowed(world, lambda who: can(who, Verb.CANCEL, world.source, generation=foreign)) == BY_ROLE


def test_the_lead_of_a_team_says_nothing_about_other_verbs():
    world = make_world()
    leader = world.people["team admin"]
    for verb in (Verb.MANAGE_SOURCE, Verb.ACKNOWLEDGE, Verb.SEE_AUDIT):
        assert not can(leader, verb, world.source, generation=world.generation)


def test_a_refusal_names_what_and_where():
    world = make_world()
    with pytest.raises(NotPermitted, match=f"make videos and images on {world.source.name}"):
        require(world.people["stranger"], Verb.GENERATE, world.source)
    with pytest.raises(NotPermitted, match=f"in {world.team}"):
        require(world.people["stranger"], Verb.GENERATE, world.source, team=world.team)


def test_who_sees_it_in_lists():
    world = make_world()
    seeing = BY_ROLE | IN_TEAM | {"viewer", "auditor"}
    assert (
        allowed(world, lambda who: Task.objects.visible_to(who).filter(pk=world.generation.pk).exists())
        == seeing
    )
    assert (
        allowed(world, lambda who: Generation.objects.visible_to(who).filter(pk=world.generation.pk).exists())
        == seeing
    )


def test_a_task_without_a_team_is_seen_by_role_alone():
    world = make_world()
    made = make_generation(world.source, actor=world.people["operator"])
    seeing = BY_ROLE | {"viewer", "auditor"}
    assert allowed(world, lambda who: Task.objects.visible_to(who).filter(pk=made.pk).exists()) == seeing
