"""Claims on sources: a conditional update is the only way to visit one, so two loops never visit it at once."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from tasks_app.models import Source
from tasks_app.polling import cadence


def due_sources(at: datetime, *, is_leading: bool) -> list[int]:
    """Sources to visit now, longest due first. A loop that stands by takes only what nobody has for a whole lease."""
    latest = at if is_leading else at - cadence.LEASE
    due = Source.objects.watchable().filter(next_pass_at__lte=latest)
    free = due.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=at))
    return list(free.order_by("next_pass_at").values_list("pk", flat=True))


def claim(source_pk: int, owner: str, at: datetime) -> Source | None:
    """The source as claimed, or None when somebody else was quicker."""
    free = (
        Source.objects.watchable()
        .filter(pk=source_pk, next_pass_at__lte=at)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lte=at))
    )
    if not free.update(lease_owner=owner, lease_until=at + cadence.LEASE):
        return None
    return Source.objects.filter(pk=source_pk, lease_owner=owner).first()


def renew(source_pks: Iterable[int], owner: str, at: datetime) -> set[int]:
    """Renew while passes run; returns those that are still ours."""
    mine = Source.objects.filter(pk__in=list(source_pks), lease_owner=owner)
    mine.update(lease_until=at + cadence.LEASE)
    return set(mine.values_list("pk", flat=True))


def release_all(owner: str) -> None:
    """Give back what passes have not given back themselves, when the loop ends."""
    Source.objects.filter(lease_owner=owner).update(lease_owner="", lease_until=None)
