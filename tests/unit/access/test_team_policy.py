"""Who may do what with teams, items and machines: everybody against every verb, on what is theirs and what is not."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import AnonymousUser, User

from tasks_app.access.policy import Verb, can, machines_used_by, require
from tasks_app.errors import NotPermitted
from tasks_app.models import CatalogItem, Machine, Role, Source, Team
from tests.factories import (
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class World:
    """One team with an item and a machine of somebody in it, and another team with the same."""

    source: Source
    team: Team
    item: CatalogItem
    machine: Machine
    people: dict[str, User | AnonymousUser]


def make_world() -> World:
    source = make_source()
    item = make_item(source)
    owner, member, leader, gone = make_user(), make_user(), make_user(), make_user(is_active=False)
    team = make_team(owner, member, gone, admins=(leader,), items=(item,))
    team.admins.add(gone)
    machine = make_machine(make_order(team, item=item, actor=owner))
    make_machine(make_order(team, item=item, actor=make_user()))  # of somebody who left the team
    people: dict[str, User | AnonymousUser] = {
        "owner": owner,
        "member": member,
        "team admin": leader,
        "portal admin": make_user(Role.ADMIN),
        "source admin": make_user(Role.ADMIN, source=source),
        "operator": make_user(Role.OPERATOR, source=source),
        "auditor": make_user(Role.AUDITOR),
        "source auditor": make_user(Role.AUDITOR, source=source),
        "viewer": make_user(Role.VIEWER, source=source),
        "superuser": make_superuser(),
        "stranger": make_user(),
        "inactive team admin": gone,
        "anonymous": AnonymousUser(),
    }
    return World(source, team, item, machine, people)


EVERYTHING = {
    Verb.ORDER,
    Verb.USE_MACHINE,
    Verb.CANCEL,
    Verb.APPROVE,
    Verb.SEE_TEAM,
    Verb.MANAGE_TEAM,
    Verb.SET_UP_TEAM,
    Verb.SEE_ITEM,
    Verb.MANAGE_ITEM,
}
MEMBER = {Verb.ORDER, Verb.SEE_TEAM}
OPERATES = {Verb.USE_MACHINE, Verb.CANCEL}
MAY: dict[str, set[Verb]] = {
    "owner": MEMBER | OPERATES,
    "member": MEMBER,
    "team admin": MEMBER | OPERATES | {Verb.APPROVE, Verb.MANAGE_TEAM},
    "portal admin": EVERYTHING - {Verb.ORDER},
    "source admin": OPERATES | {Verb.SEE_ITEM, Verb.MANAGE_ITEM},
    "operator": OPERATES,
    "auditor": {Verb.SEE_TEAM, Verb.SEE_ITEM},
    "source auditor": {Verb.SEE_ITEM},
    "viewer": set(),
    "superuser": EVERYTHING,
    "stranger": set(),
    "inactive team admin": set(),
    "anonymous": set(),
}
# what holds for every team, item and machine of the portal, and not only for one's own
EVERYWHERE: dict[str, set[Verb]] = {
    "portal admin": MAY["portal admin"],
    "auditor": MAY["auditor"],
    "superuser": EVERYTHING,
}


def subject(world: World, verb: Verb) -> dict[str, object]:
    """What the verb is asked about, as its callers do."""
    if verb is Verb.ORDER:
        return {"team": world.team, "item": world.item}
    if verb in (Verb.USE_MACHINE, Verb.CANCEL):
        return {"machine": world.machine}
    if verb in (Verb.SEE_ITEM, Verb.MANAGE_ITEM):
        return {"item": world.item}
    return {} if verb is Verb.SET_UP_TEAM else {"team": world.team}


@pytest.mark.parametrize("verb", sorted(EVERYTHING))
@pytest.mark.parametrize("who", MAY)
def test_everybody_on_what_is_theirs(who, verb):
    world = make_world()
    assert can(world.people[who], verb, **subject(world, verb)) == (verb in MAY[who])


@pytest.mark.parametrize("verb", sorted(EVERYTHING))
@pytest.mark.parametrize("who", MAY)
def test_everybody_on_what_is_of_others(who, verb):
    world, others = make_world(), make_world()
    assert can(world.people[who], verb, **subject(others, verb)) == (verb in EVERYWHERE.get(who, set()))


@pytest.mark.parametrize("verb", sorted(EVERYTHING))
@pytest.mark.parametrize("who", MAY)
def test_everybody_on_anything_at_all(who, verb):
    world = make_world()
    expected = verb in MAY[who]
    if verb is Verb.CANCEL:  # of tasks in general: only roles
        expected = who in ("portal admin", "source admin", "operator", "superuser")
    assert can(world.people[who], verb) == expected


@pytest.mark.parametrize("verb", sorted(set(Verb) - EVERYTHING))
@pytest.mark.parametrize("who", ["owner", "member", "team admin"])
def test_a_team_gives_no_verb_of_a_role(who, verb):
    world = make_world()
    assert not can(
        world.people[who], verb, world.source, team=world.team, item=world.item, machine=world.machine
    )


def test_only_what_the_team_was_granted_is_ordered():
    world = make_world()
    member = world.people["member"]
    assert not can(member, Verb.ORDER, team=world.team, item=make_item(world.source))
    assert can(member, Verb.ORDER, item=world.item)
    world.team.items.clear()
    assert not can(member, Verb.ORDER, team=world.team, item=world.item)


def test_an_item_of_one_team_is_not_ordered_for_another():
    world = make_world()
    member = make_user()
    make_team(member, items=(world.item,))
    own_team_without = make_team(member)
    assert can(member, Verb.ORDER, item=world.item)
    assert not can(member, Verb.ORDER, team=own_team_without, item=world.item)


@pytest.mark.parametrize(
    ("who", "verb"),
    [
        ("owner", Verb.USE_MACHINE),
        ("owner", Verb.ORDER),
        ("team admin", Verb.APPROVE),
        ("team admin", Verb.USE_MACHINE),
    ],
)
def test_who_leaves_the_team_loses_what_it_gave(who, verb):
    world = make_world()
    person = world.people[who]
    assert can(person, verb, **subject(world, verb))
    world.team.group.user_set.remove(person)
    assert not can(person, verb, **subject(world, verb))


@pytest.mark.parametrize("who", MAY)
def test_the_machines_in_a_list_are_those_that_one_by_one_may_be_used(who):
    world, others = make_world(), make_world()
    del others
    person = world.people[who]
    used = {machine for machine in Machine.objects.all() if can(person, Verb.USE_MACHINE, machine=machine)}
    assert set(machines_used_by(person)) == used
    assert (world.machine in used) == (Verb.USE_MACHINE in MAY[who])


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        (Verb.ORDER, "Your role does not allow you to order machines from “Debian” in Research."),
        (Verb.USE_MACHINE, "Your role does not allow you to use machines of others; web-7 belongs to anna."),
        (Verb.APPROVE, "Your role does not allow you to decide about orders in Research."),
        (Verb.MANAGE_TEAM, "Your role does not allow you to change the quota of Research."),
        (Verb.MANAGE_ITEM, "Your role does not allow you to change catalogue items like “Debian”."),
        (Verb.SET_UP_TEAM, "Your role does not allow you to set up teams."),
    ],
)
def test_a_refusal_says_what_and_of_whom(verb, sentence):
    anna = make_user(username="anna")
    item = make_item(title="Debian")
    team = make_team(anna, name="Research", items=(item,))
    machine = make_machine(make_order(team, item=item, actor=anna), name="web-7")
    world = World(item.source, team, item, machine, {})
    with pytest.raises(NotPermitted) as refusal:
        require(make_user(), verb, **subject(world, verb))
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("verb", [Verb.ORDER, Verb.USE_MACHINE, Verb.APPROVE, Verb.MANAGE_TEAM])
def test_a_question_costs_at_most_two_queries(verb, django_assert_max_num_queries):
    world = make_world()
    with django_assert_max_num_queries(2):
        can(world.people["stranger"], verb, **subject(world, verb))
