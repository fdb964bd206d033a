"""What one person may open at all, and what waits for them: two short queries for the frame of every page.

Verbs are told by the same tables as in `policy.py`; each deed and each page still asks `policy` itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db.models import Count, Exists, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from tasks_app.access.policy import AS_MEMBER, AS_TEAM_ADMIN, MAY, WHOLE_PORTAL, Verb
from tasks_app.models import Grant, Notice, Order, Source, Team

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


@dataclass(frozen=True, slots=True)
class Overview:
    """`verbs`: held on anything at all, by roles and teams. `waiting`: orders that this person may decide about.

    `makes`: there is a source at which this person, by a role or a team, may make videos and images. `sees_results`:
    there is one on which the person holds any role.
    """

    verbs: frozenset[Verb] = frozenset()
    has_role: bool = False
    is_member: bool = False
    unread: int = 0
    waiting: int = 0
    makes: bool = False
    sees_results: bool = False


def overview_of(person: "AbstractBaseUser | AnonymousUser") -> Overview:
    """Nothing for who is not signed in or switched off."""
    if not person.is_authenticated or not person.is_active:
        return Overview()
    is_superuser = bool(getattr(person, "is_superuser", False))
    grants = (
        [] if is_superuser else list(Grant.objects.filter(user_id=person.pk).values_list("role", "source_id"))
    )
    verbs: set[Verb] = set(Verb) if is_superuser else set()
    for role, source_id in grants:
        verbs |= MAY.get(role, frozenset())
        verbs |= WHOLE_PORTAL.get(role, frozenset()) if source_id is None else frozenset()
    orders = Order.objects.filter(decision=Order.Decision.WAITING)
    if Verb.APPROVE not in verbs:
        orders = orders.filter(team__in=Team.objects.led_by(person))
    workshops = Source.objects.exclude(kind=Source.PROXMOX)
    if Verb.GENERATE not in verbs:
        workshops = workshops.filter(teams__in=Team.objects.of(person))
    row = (
        User.objects.filter(pk=person.pk)
        .annotate(
            is_member=Exists(Team.objects.of(person)),
            leads=Exists(Team.objects.led_by(person)),
            makes=Exists(workshops),
            sees_results=Exists(Source.objects.visible_to(person).exclude(kind=Source.PROXMOX)),
            unread=_count(Notice.objects.filter(user=OuterRef("pk"), read_at__isnull=True), "user"),
            waiting=_count(orders, "decision"),
        )
        .values("is_member", "leads", "unread", "waiting", "makes", "sees_results")
        .get()
    )
    verbs |= AS_MEMBER if row["is_member"] else frozenset()
    verbs |= AS_TEAM_ADMIN if row["leads"] else frozenset()
    return Overview(
        verbs=frozenset(verbs),
        has_role=is_superuser or bool(grants),
        is_member=row["is_member"],
        unread=row["unread"],
        waiting=row["waiting"],
        makes=row["makes"],
        sees_results=row["sees_results"],
    )


def _count(rows: QuerySet[Notice] | QuerySet[Order], by: str) -> Coalesce:
    """How many, as a subquery; `by` is a field that is the same in all of them."""
    counted = rows.order_by().values(by).annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
