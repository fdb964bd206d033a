"""Teams: who may change them, what is written, and what is refused."""

import pytest
from django.contrib.auth.models import Group

from tasks_app.errors import InvalidInput, NotPermitted, Refused
from tasks_app.models import AuditEntry, Machine, Role, Stage, Team
from tasks_app.services import teams
from tasks_app.services.generation_quotas import GenerationLimits
from tasks_app.services.teams import Limits
from tests.factories import (
    make_generation,
    make_item,
    make_machine,
    make_order,
    make_source,
    make_superuser,
    make_team,
    make_user,
)

pytestmark = pytest.mark.django_db
NONE = Limits()


def save(team=None, *, actor=None, **given):
    wanted = {"name": "Research", "slug": "research", "quota": NONE, "ceiling": NONE} | given
    return teams.save_team(team, actor=actor, **wanted)


def test_portal_admin_adds_a_team_and_it_is_audited_once(audited):
    admin = make_user(Role.ADMIN)
    team = save(
        actor=admin, name="  Research  lab ", slug="Research", quota=Limits(machines=5), max_parallel_clones=2
    )
    team = Team.objects.get(pk=team.pk)
    assert (team.group.name, team.slug, team.max_machines, team.max_parallel_clones) == (
        "Research lab",
        "research",
        5,
        2,
    )
    assert audited() == ["team.add"]
    assert AuditEntry.objects.get().data["after"]["max_machines"] == 5


def test_a_change_is_audited_with_what_was_before(audited):
    team = save()
    save(team, name="Physics", quota=Limits(cores=8))
    assert audited() == ["team.add", "team.change"]
    entry = AuditEntry.objects.get(action="team.change")
    assert entry.data == {
        "before": {"name": "Research", "max_cores": None},
        "after": {"name": "Physics", "max_cores": 8},
    }
    assert Group.objects.get().name == "Physics"


def test_saving_what_is_already_so_leaves_no_entry(audited):
    team = save()
    save(team)
    assert audited() == ["team.add"]


@pytest.mark.parametrize("who", ["team admin", "member", "source admin", "auditor", "viewer", "stranger"])
def test_only_admins_of_the_portal_set_up_teams(who, audited):
    member, leader = make_user(), make_user()
    item = make_item()
    team = make_team(member, admins=(leader,), items=(item,))
    person = {
        "team admin": leader,
        "member": member,
        "source admin": make_user(Role.ADMIN, source=make_source()),
        "auditor": make_user(Role.AUDITOR),
        "viewer": make_user(Role.VIEWER),
        "stranger": make_user(),
    }[who]
    for deed in (
        lambda: save(actor=person),
        lambda: save(team, actor=person),
        lambda: teams.add_member(team, actor=person, person=make_user()),
        lambda: teams.remove_member(team, actor=person, person=member),
        lambda: teams.set_admin(team, actor=person, person=member, is_admin=True),
        lambda: teams.grant_item(team, actor=person, item=make_item()),
        lambda: teams.revoke_item(team, actor=person, item=item),
        lambda: teams.remove_team(team, actor=person),
    ):
        with pytest.raises(NotPermitted):
            deed()
    assert audited() == []
    assert set(team.group.user_set.all()) == {member, leader}


@pytest.mark.parametrize(
    ("slug", "is_good"),
    [
        ("web-1", True),
        ("", False),
        ("-web", False),
        ("web-", False),
        ("we_b", False),
        ("ä", False),
        ("x" * 31, False),
    ],
)
def test_a_short_name_is_part_of_a_host_name(slug, is_good):
    if is_good:
        assert save(slug=slug).slug == slug
        return
    with pytest.raises(InvalidInput) as refusal:
        save(slug=slug)
    assert set(refusal.value.fields) == {"slug"}


def test_two_teams_share_neither_name_nor_short_name():
    save()
    for given, field in (({"slug": "other"}, "name"), ({"name": "Other"}, "slug")):
        with pytest.raises(InvalidInput) as refusal:
            save(**given)
        assert set(refusal.value.fields) == {field}
    assert Team.objects.count() == Group.objects.count() == 1


@pytest.mark.parametrize(
    "given",
    [
        {"quota": Limits(cores=9), "ceiling": Limits(cores=8)},
        {"quota": Limits(), "ceiling": Limits(memory_mb=1024)},
        {"quota": Limits(machines=-1)},
        {"quota": Limits(disk_gb=2**31)},
        {"max_parallel_clones": 0},
        {"max_parallel_clones": 1000},
        {"name": "  "},
    ],
)
def test_impossible_limits_and_names_are_refused_on_their_field(given, audited):
    with pytest.raises(InvalidInput):
        save(**given)
    assert audited() == []
    assert not Group.objects.exists()


def test_team_admin_sets_the_quota_up_to_the_ceiling_and_no_further(audited):
    leader = make_user()
    team = make_team(admins=(leader,), max_cores=4, ceiling_cores=16)
    teams.set_quota(team, actor=leader, quota=Limits(cores=16))
    assert Team.objects.get().max_cores == 16
    for quota in (Limits(cores=17), Limits(cores=None)):
        with pytest.raises(InvalidInput) as refusal:
            teams.set_quota(team, actor=leader, quota=quota)
        assert refusal.value.fields == {"max_cores": "At most 16 cores: the ceiling that a portal admin set."}
    assert Team.objects.get().max_cores == 16
    assert audited() == ["team.quota"]
    assert AuditEntry.objects.get().data == {"before": {"cores": 4}, "after": {"cores": 16}}


def test_the_quota_of_another_team_is_not_theirs(audited):
    leader = make_user()
    make_team(admins=(leader,))
    for team, person in ((make_team(), leader), (make_team(leader), leader)):
        with pytest.raises(NotPermitted):
            teams.set_quota(team, actor=person, quota=NONE)
    assert audited() == []


def test_a_quota_may_fall_below_what_is_used():
    team = make_team()
    make_machine(make_order(team, item=make_item()), cores=8)
    teams.set_quota(team, actor=None, quota=Limits(cores=2))
    assert Team.objects.get(pk=team.pk).max_cores == 2


def test_members_come_and_go_once_each(audited):
    team, person = make_team(), make_user()
    teams.add_member(team, actor=None, person=person)
    teams.add_member(team, actor=None, person=person)
    assert list(Team.objects.of(person)) == [team]
    teams.set_admin(team, actor=None, person=person, is_admin=True)
    teams.set_admin(team, actor=None, person=person, is_admin=True)
    assert list(Team.objects.led_by(person)) == [team]
    teams.remove_member(team, actor=None, person=person)
    teams.remove_member(team, actor=None, person=person)
    assert not team.admins.exists()
    assert not Team.objects.of(person).exists()
    assert audited() == ["team.member_add", "team.admin", "team.member_remove"]


def test_machines_of_who_leaves_stay_with_the_team(audited):
    item, owner = make_item(), make_user()
    team = make_team(owner, items=(item,))
    machine = make_machine(make_order(team, item=item, actor=owner))
    teams.remove_member(team, actor=None, person=owner)
    machine.refresh_from_db()
    assert (machine.team, machine.owner) == (team, owner)
    assert AuditEntry.objects.get().data["machines_left"] == 1


def test_only_members_lead_and_only_active_people_join(audited):
    team = make_team()
    with pytest.raises(InvalidInput):
        teams.set_admin(team, actor=None, person=make_user(), is_admin=True)
    with pytest.raises(InvalidInput):
        teams.add_member(team, actor=None, person=make_user(is_active=False))
    assert audited() == []


def test_items_are_given_and_taken_once_each(audited):
    team, item = make_team(), make_item()
    teams.grant_item(team, actor=None, item=item)
    teams.grant_item(team, actor=None, item=item)
    assert list(team.items.all()) == [item]
    teams.revoke_item(team, actor=None, item=item)
    teams.revoke_item(team, actor=None, item=item)
    assert not team.items.exists()
    assert audited() == ["team.item_grant", "team.item_revoke"]


def test_a_team_with_machines_is_not_removed(audited):
    team = make_team()
    make_machine(make_order(team, item=make_item()))
    with pytest.raises(Refused, match="has a machine"):
        teams.remove_team(team, actor=make_superuser())
    Machine.objects.update(stage=Stage.GONE, ended_at=team.orders.get().created_at)
    with pytest.raises(Refused, match="has ordered machines before"):
        teams.remove_team(team, actor=make_superuser())
    assert Team.objects.filter(pk=team.pk).exists()
    assert audited() == []


def test_a_team_without_history_is_removed_with_its_group(audited):
    team = make_team(make_user(), items=(make_item(),))
    teams.remove_team(team, actor=make_superuser())
    assert not Team.objects.exists()
    assert not Group.objects.exists()
    assert audited() == ["team.remove"]


def test_limits_of_videos_and_images_are_kept_and_audited(audited):
    team = save(generations=GenerationLimits(3, 20))
    save(team, generations=GenerationLimits(3, None))
    save(team)  # says nothing about them
    team.refresh_from_db()
    assert (team.max_generations, team.max_generations_per_day) == (3, None)
    assert audited() == ["team.add", "team.change"]
    assert AuditEntry.objects.latest("pk").data == {
        "before": {"max_generations_per_day": 20},
        "after": {"max_generations_per_day": None},
    }


def test_limits_of_videos_that_no_table_holds_are_refused_on_their_field():
    with pytest.raises(InvalidInput) as refused:
        save(generations=GenerationLimits(-1, 2**31))
    assert set(refused.value.fields) == {"max_generations", "max_generations_per_day"}


def test_a_team_that_has_asked_for_videos_stays():
    team = make_team()
    make_generation(team=team)
    with pytest.raises(Refused, match="videos or images"):
        teams.remove_team(team, actor=None)
