"""Every question of permission is answered here and nowhere else.

Roles are held on a source or on all of them (`Grant`), membership and leadership in teams; superusers may everything.
Who is admin of all sources is the portal's admin. Rows a person may not see are left out by `visible_to` of the
querysets, so a stranger gets 404; `require` refuses the rest with 403.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Exists, Q, QuerySet

from tasks_app.errors import NotPermitted
from tasks_app.models import AuditEntry, CatalogItem, Generation, Grant, Machine, Role, Source, Team

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    Person = AbstractBaseUser | AnonymousUser


class Verb(StrEnum):
    """What can be asked. The value completes the sentence "may not …"."""

    SEE = "see tasks"
    CANCEL = "cancel tasks"
    START = "start things on guests"
    ACKNOWLEDGE = "acknowledge failures"
    MANAGE_SOURCE = "change sources"
    ADD_SOURCE = "add sources"
    MANAGE_PEOPLE = "change people and their roles"
    SEE_AUDIT = "read the audit trail"
    ORDER = "order machines"
    USE_MACHINE = "use machines"
    APPROVE = "decide about orders"
    SEE_TEAM = "read teams"
    MANAGE_TEAM = "change the quota"
    SET_UP_TEAM = "set up teams"
    SET_LIMITS = "change time limits"
    CLEAN_UP = "clean up results"
    GENERATE = "make videos and images"
    USE_RESULT = "keep or remove results"
    SEE_ITEM = "read the settings of catalogue items"
    MANAGE_ITEM = "change catalogue items"


MAY: dict[str, frozenset[Verb]] = {
    Role.VIEWER: frozenset({Verb.SEE}),
    Role.OPERATOR: frozenset(
        {
            Verb.SEE,
            Verb.CANCEL,
            Verb.START,
            Verb.ACKNOWLEDGE,
            Verb.USE_MACHINE,
            Verb.GENERATE,
            Verb.USE_RESULT,
        }
    ),
    Role.AUDITOR: frozenset({Verb.SEE, Verb.SEE_AUDIT, Verb.SEE_ITEM}),
    Role.ADMIN: frozenset(
        {
            Verb.SEE,
            Verb.CANCEL,
            Verb.START,
            Verb.ACKNOWLEDGE,
            Verb.MANAGE_SOURCE,
            Verb.SEE_AUDIT,
            Verb.USE_MACHINE,
            Verb.GENERATE,
            Verb.USE_RESULT,
            Verb.SEE_ITEM,
            Verb.MANAGE_ITEM,
        }
    ),
}
# Verbs that are about the whole portal: who holds the role on all sources has them, on one source nobody has.
_PORTAL_ADMIN = frozenset(
    {
        Verb.ADD_SOURCE,
        Verb.MANAGE_PEOPLE,
        Verb.APPROVE,
        Verb.SEE_TEAM,
        Verb.MANAGE_TEAM,
        Verb.SET_UP_TEAM,
        Verb.SET_LIMITS,
        Verb.CLEAN_UP,
    }
)
WHOLE_PORTAL: dict[str, frozenset[Verb]] = {
    Role.AUDITOR: frozenset({Verb.SEE_TEAM}),
    Role.ADMIN: _PORTAL_ADMIN,
}
# Verbs that a team gives, to its members and to its admins; those of the whole portal above hold for every team.
AS_MEMBER = frozenset({Verb.ORDER, Verb.SEE_TEAM, Verb.GENERATE})
AS_TEAM_ADMIN = frozenset({Verb.APPROVE, Verb.MANAGE_TEAM})


def can(
    person: "Person",
    verb: Verb,
    source: Source | None = None,
    *,
    team: Team | None = None,
    item: CatalogItem | None = None,
    machine: Machine | None = None,
    generation: Generation | None = None,
) -> bool:
    """Whether `person` may do `verb` on what is named; where nothing is named: on anything at all.

    `source` is for the verbs of roles; an item or a machine brings its own. `team`, and for ORDER also `item`, are for
    the verbs of teams; GENERATE by a team needs one to which the source is open. Who may use a machine may also cancel
    its tasks: CANCEL with `machine`. Whose generation it is, and who leads its team, may CANCEL it and USE_RESULT.
    """
    if not person.is_authenticated or not person.is_active:
        return False
    if getattr(person, "is_superuser", False):
        return True
    return (
        _by_role(person, verb, _source_id(source, item, machine))
        or _by_team(person, verb, team, item, source)
        or _by_machine(person, verb, source, machine)
        or _by_generation(person, verb, generation)
    )


def require(
    person: "Person",
    verb: Verb,
    source: Source | None = None,
    *,
    team: Team | None = None,
    item: CatalogItem | None = None,
    machine: Machine | None = None,
    generation: Generation | None = None,
) -> None:
    """Raise NotPermitted unless `person` may; see `can`."""
    if can(person, verb, source, team=team, item=item, machine=machine, generation=generation):
        return
    where = f" on {source.name}" if source is not None else ""
    if machine is not None:
        where = f" of others; {machine.name} belongs to {machine.owner_name}"
    elif team is not None:
        where = f" of {team}" if verb is Verb.MANAGE_TEAM else f" in {team}"
    if item is not None and machine is None:
        where = f" from “{item}”{where}" if verb is Verb.ORDER else f" like “{item}”"
    raise NotPermitted(f"Your role does not allow you to {verb.value}{where}.")


def machines_used_by(person: "Person") -> QuerySet[Machine]:
    """Machines for which USE_MACHINE holds: one's own, those of teams one leads, those of sources one operates.

    The owner must still be in the team. Two questions for a list: its rows, and which of them are in here.
    """
    if not person.is_authenticated or not person.is_active:
        return Machine.objects.none()
    if getattr(person, "is_superuser", False):
        return Machine.objects.all()
    grants = _grants(person, Verb.USE_MACHINE)
    return Machine.objects.filter(
        Q(owner=person.pk, team__in=Team.objects.of(person))
        | Q(team__in=Team.objects.led_by(person))
        | Q(source__in=grants.values("source"))
        | Exists(grants.filter(source__isnull=True))
    )


def entries_seen_by(person: "Person") -> QuerySet[AuditEntry]:
    """Audit entries for which SEE_AUDIT holds: all with the role on all sources, else those of one's own sources.

    Entries keep the name of their source. Those about the portal itself name none.
    """
    if not person.is_authenticated or not person.is_active:
        return AuditEntry.objects.none()
    if getattr(person, "is_superuser", False):
        return AuditEntry.objects.all()
    grants = _grants(person, Verb.SEE_AUDIT)
    if grants.filter(source__isnull=True).exists():
        return AuditEntry.objects.all()
    names = list(Source.objects.filter(pk__in=grants.values("source")).values_list("name", flat=True))
    return AuditEntry.objects.filter(source_name__in=names) if names else AuditEntry.objects.none()


def _source_id(source: Source | None, item: CatalogItem | None, machine: Machine | None) -> int | None:
    if source is not None:
        return source.pk
    if machine is not None:
        return machine.source_id
    return item.source_id if item is not None else None


def _grants(person: "AbstractBaseUser", verb: Verb) -> QuerySet[Grant]:
    return Grant.objects.filter(
        user_id=person.pk, role__in=[role for role, verbs in MAY.items() if verb in verbs]
    )


def _by_role(person: "AbstractBaseUser", verb: Verb, source_id: int | None) -> bool:
    if roles := [role for role, verbs in WHOLE_PORTAL.items() if verb in verbs]:
        return Grant.objects.filter(user_id=person.pk, role__in=roles, source__isnull=True).exists()
    if not any(verb in verbs for verbs in MAY.values()):
        return False
    grants = _grants(person, verb)
    if source_id is not None:
        grants = grants.filter(Q(source=source_id) | Q(source__isnull=True))
    return grants.exists()


def _by_team(
    person: "AbstractBaseUser",
    verb: Verb,
    team: Team | None,
    item: CatalogItem | None,
    source: Source | None,
) -> bool:
    if verb in AS_MEMBER:
        teams = Team.objects.of(person)
    elif verb in AS_TEAM_ADMIN:
        teams = Team.objects.led_by(person)
    else:
        return False
    if team is not None:
        teams = teams.filter(pk=team.pk)
    if item is not None:
        teams = teams.filter(items=item)
    if verb is Verb.GENERATE:
        teams = teams.filter(generation_sources=source) if source else teams.exclude(generation_sources=None)
    return teams.exists()


def _by_generation(person: "AbstractBaseUser", verb: Verb, generation: Generation | None) -> bool:
    """One's own as long as one is in its team, and those of teams one leads."""
    if generation is None or verb not in (Verb.CANCEL, Verb.USE_RESULT) or generation.team_id is None:
        return False
    if Team.objects.led_by(person).filter(pk=generation.team_id).exists():
        return True
    is_own = generation.actor_id == person.pk
    return is_own and Team.objects.of(person).filter(pk=generation.team_id).exists()


def _by_machine(
    person: "AbstractBaseUser", verb: Verb, source: Source | None, machine: Machine | None
) -> bool:
    if verb is not Verb.USE_MACHINE and (verb is not Verb.CANCEL or machine is None):
        return False
    machines = machines_used_by(person)
    if machine is not None:
        machines = machines.filter(pk=machine.pk)
    if source is not None:
        machines = machines.filter(source=source)
    return machines.exists()


def teams_of(people: Iterable["AbstractBaseUser"]) -> dict[int, frozenset[int]]:
    """What `Team.objects.of` answers, for many at once: keys of teams. One query; inactive people are left out."""
    teams: dict[int, set[int]] = {person.pk: set() for person in people if person.is_active}
    rows = Team.objects.filter(group__user__in=teams).values_list("group__user", "pk")
    for user_id, team_id in rows:
        teams[user_id].add(team_id)
    return {pk: frozenset(own) for pk, own in teams.items()}


def sources_seen_by(people: Iterable["AbstractBaseUser"]) -> dict[int, frozenset[int] | None]:
    """What `Source.objects.visible_to` answers, for many at once: keys of sources, or None for all of them.

    One query. Inactive people are left out.
    """
    active = [person for person in people if person.is_active]
    seen: dict[int, set[int | None]] = {person.pk: set() for person in active}
    for user_id, source_id in Grant.objects.filter(user_id__in=seen).values_list("user_id", "source_id"):
        seen[user_id].add(source_id)
    for person in active:
        if getattr(person, "is_superuser", False):
            seen[person.pk].add(None)
    return {
        pk: None if None in sources else frozenset(source for source in sources if source is not None)
        for pk, sources in seen.items()
    }
