"""Teams: members, what they may order, and how much. Portal admins set teams up, team admins decide the quota."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import IntegrityError, transaction

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, Refused
from tasks_app.models import CatalogItem, Machine, Team
from tasks_app.services import quotas
from tasks_app.services.generation_quotas import GenerationLimits

MAX_SLUG_CHARACTERS = 30
MAX_PARALLEL_CLONES = 64
"""More at once no cluster bears; the settings of the queue limit them further."""
_MAX_NUMBER = 2_147_483_647


@dataclass(frozen=True, slots=True)
class Limits:
    """How much machines of a team may take together; None is without limit. Memory in MiB, disk in GiB."""

    machines: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None


_WORDS = {"machines": "machines", "cores": "cores", "memory_mb": "MiB of memory", "disk_gb": "GiB of disk"}


def quota_of(team: Team) -> Limits:
    """The quota that counts."""
    return Limits(team.max_machines, team.max_cores, team.max_memory_mb, team.max_disk_gb)


def ceiling_of(team: Team) -> Limits:
    """How far team admins may raise the quota."""
    return Limits(team.ceiling_machines, team.ceiling_cores, team.ceiling_memory_mb, team.ceiling_disk_gb)


@transaction.atomic
def save_team(
    team: Team | None,
    *,
    actor: User | None,
    name: str,
    slug: str,
    quota: Limits,
    ceiling: Limits,
    max_parallel_clones: int = 4,
    generations: GenerationLimits | None = None,
) -> Team:
    """A new team without members, or `team` changed. What is the same leaves no entry.

    `generations` None leaves these limits as they are; they cost money, so that admins of the team do not decide them.
    Raises NotPermitted, InvalidInput (name, slug, max_… and ceiling_… with the names of Limits, max_parallel_clones,
    max_generations, max_generations_per_day).
    """
    _require(actor, Verb.SET_UP_TEAM)
    name, slug = " ".join(name.split()), slug.strip().lower()
    _check_name(name, slug, team)
    _check_limits(quota, ceiling)
    if not 1 <= max_parallel_clones <= MAX_PARALLEL_CLONES:
        raise InvalidInput(max_parallel_clones=f"Give a number from 1 to {MAX_PARALLEL_CLONES}.")
    if generations is not None:
        _check_generations(generations)
    before = None
    if team is None:
        team = Team(group=_make_group(name))
    else:
        team = quotas.lock(team)
        before = _facts(team)
        if team.group.name != name:
            team.group.name = name
            team.group.save(update_fields=["name"])
    team.slug, team.max_parallel_clones = slug, max_parallel_clones
    _set(team, "max", quota)
    _set(team, "ceiling", ceiling)
    if generations is not None:
        team.max_generations, team.max_generations_per_day = generations.at_once, generations.per_day
    try:
        with transaction.atomic():
            team.save()
    except IntegrityError:
        raise InvalidInput(slug="Another team has this short name already.") from None
    after = _facts(team)
    if before is None:
        record(Action.TEAM_ADD, actor=actor, target=team, after=after)
    elif before != after:
        record(Action.TEAM_CHANGE, actor=actor, target=team, **_difference(before, after))
    return team


@transaction.atomic
def set_quota(team: Team, *, actor: User | None, quota: Limits) -> None:
    """Change how much the team may take, up to its ceiling: what a team admin decides.

    A quota below what is used takes nothing away; nothing new fits until enough is gone.
    Raises NotPermitted, InvalidInput (max_…).
    """
    _require(actor, Verb.MANAGE_TEAM, team)
    team = quotas.lock(team)
    _check_limits(quota, ceiling_of(team))
    before = asdict(quota_of(team))
    _set(team, "max", quota)
    team.save(update_fields=[f"max_{field.name}" for field in fields(Limits)])
    after = asdict(quota_of(team))
    if before != after:
        record(Action.TEAM_QUOTA, actor=actor, target=team, **_difference(before, after))


@transaction.atomic
def add_member(team: Team, *, actor: User | None, person: User) -> None:
    """Put `person` into the team. Who is in it already stays."""
    _require(actor, Verb.SET_UP_TEAM)
    if not person.is_active:
        raise InvalidInput(person=f"The account of {person} is switched off.")
    if not team.group.user_set.filter(pk=person.pk).exists():
        team.group.user_set.add(person)
        record(Action.TEAM_MEMBER_ADD, actor=actor, target=team, person=person.get_username())


@transaction.atomic
def remove_member(team: Team, *, actor: User | None, person: User) -> None:
    """Take `person` out of the team, and its lead. Their machines stay the team's: its admins use them further."""
    _require(actor, Verb.SET_UP_TEAM)
    if not team.group.user_set.filter(pk=person.pk).exists():
        return
    team.admins.remove(person)
    team.group.user_set.remove(person)
    machines = Machine.objects.filter(team=team, owner=person).holding_quota().count()
    record(
        Action.TEAM_MEMBER_REMOVE,
        actor=actor,
        target=team,
        person=person.get_username(),
        machines_left=machines,
    )


@transaction.atomic
def set_admin(team: Team, *, actor: User | None, person: User, is_admin: bool) -> None:
    """Let a member decide about orders and quota of the team, or no longer. Raises InvalidInput (person)."""
    _require(actor, Verb.SET_UP_TEAM)
    if is_admin and not team.group.user_set.filter(pk=person.pk).exists():
        raise InvalidInput(person=f"{person} is not in this team.")
    if team.admins.filter(pk=person.pk).exists() == is_admin:
        return
    if is_admin:
        team.admins.add(person)
    else:
        team.admins.remove(person)
    record(Action.TEAM_ADMIN, actor=actor, target=team, person=person.get_username(), is_admin=is_admin)


@transaction.atomic
def grant_item(team: Team, *, actor: User | None, item: CatalogItem) -> None:
    """Let the team order the item. Granting twice is harmless."""
    _require(actor, Verb.SET_UP_TEAM)
    if not team.items.filter(pk=item.pk).exists():
        team.items.add(item)
        record(Action.TEAM_ITEM_GRANT, actor=actor, target=team, source=item.source, item=item.title)


@transaction.atomic
def revoke_item(team: Team, *, actor: User | None, item: CatalogItem) -> None:
    """The team may not order the item any more. What it has ordered goes on."""
    _require(actor, Verb.SET_UP_TEAM)
    if team.items.filter(pk=item.pk).exists():
        team.items.remove(item)
        record(Action.TEAM_ITEM_REVOKE, actor=actor, target=team, source=item.source, item=item.title)


@transaction.atomic
def remove_team(team: Team, *, actor: User | None) -> None:
    """Forget a team that has never ordered anything, with its group. Raises NotPermitted, Refused with the reason."""
    _require(actor, Verb.SET_UP_TEAM)
    team = quotas.lock(team)  # an order that is being accepted comes first
    if obstacle := removal_obstacle(team):
        raise Refused(obstacle)
    record(Action.TEAM_REMOVE, actor=actor, target=team, before=_facts(team))
    team.group.delete()


def removal_obstacle(team: Team) -> str:
    """Why the team cannot be removed; "" when it can."""
    machines = Machine.objects.filter(team=team).holding_quota().count()
    if machines:
        has = "a machine" if machines == 1 else f"{machines} machines"
        return f"{team} has {has}. A team can be removed when none of its machines is left."
    if team.orders.exists():
        return (
            f"{team} has ordered machines before, and its orders are kept. Take its members and items away instead: "
            "nobody can order for it then."
        )
    if team.generations.exists():
        return (
            f"{team} has asked for videos or images before, and these are kept. Take its members away instead: nobody "
            "can ask for it then."
        )
    return ""


def _require(actor: User | None, verb: Verb, team: Team | None = None) -> None:
    if actor is not None:
        require(actor, verb, team=team)


def _check_name(name: str, slug: str, team: Team | None) -> None:
    if not name or len(name) > 150:
        raise InvalidInput(name="Give it a name of at most 150 characters.")
    try:
        validate_slug(slug)
    except ValidationError:
        raise InvalidInput(slug="Use letters, digits and -.") from None
    if len(slug) > MAX_SLUG_CHARACTERS or "_" in slug or slug.startswith("-") or slug.endswith("-"):
        # it stands in names of machines, which are host names
        raise InvalidInput(slug=f"Use at most {MAX_SLUG_CHARACTERS} letters, digits and - (not at the ends).")
    groups = Group.objects.filter(name__iexact=name)
    if (groups.exclude(pk=team.group_id) if team else groups).exists():
        raise InvalidInput(name="There is a team or group of this name already.")
    slugs = Team.objects.filter(slug=slug)
    if (slugs.exclude(pk=team.pk) if team else slugs).exists():
        raise InvalidInput(slug="Another team has this short name already.")


def _check_limits(quota: Limits, ceiling: Limits) -> None:
    """Every number is one that a table holds, and no quota is above its ceiling. Raises InvalidInput."""
    problems: dict[str, str] = {}
    for key, words in _WORDS.items():
        limit, most = getattr(quota, key), getattr(ceiling, key)
        for name, number in ((f"max_{key}", limit), (f"ceiling_{key}", most)):
            if number is not None and not 0 <= number <= _MAX_NUMBER:
                problems[name] = "Give a number that is not negative, or nothing for no limit."
        if most is not None and (limit is None or limit > most):
            problems.setdefault(f"max_{key}", f"At most {most} {words}: the ceiling that a portal admin set.")
    if problems:
        raise InvalidInput(**problems)


def _check_generations(limits: GenerationLimits) -> None:
    given = {"max_generations": limits.at_once, "max_generations_per_day": limits.per_day}
    problems = {
        name: "Give a number that is not negative, or nothing for no limit."
        for name, number in given.items()
        if number is not None and not 0 <= number <= _MAX_NUMBER
    }
    if problems:
        raise InvalidInput(**problems)


def _make_group(name: str) -> Group:
    try:
        with transaction.atomic():
            return Group.objects.create(name=name)
    except IntegrityError:
        raise InvalidInput(name="There is a team or group of this name already.") from None


def _set(team: Team, prefix: str, limits: Limits) -> None:
    for key, number in asdict(limits).items():
        setattr(team, f"{prefix}_{key}", number)


def _facts(team: Team) -> dict[str, Any]:
    return {
        "name": team.group.name,
        "slug": team.slug,
        "max_parallel_clones": team.max_parallel_clones,
        "max_generations": team.max_generations,
        "max_generations_per_day": team.max_generations_per_day,
        **{f"max_{key}": number for key, number in asdict(quota_of(team)).items()},
        **{f"ceiling_{key}": number for key, number in asdict(ceiling_of(team)).items()},
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    changed = [key for key in after if before.get(key) != after[key]]
    return {
        "before": {key: before.get(key) for key in changed},
        "after": {key: after[key] for key in changed},
    }
