"""Gaps in the history, for those who may see the tasks around them."""

from datetime import datetime

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from tasks_app.models import HistoryGap, Source


def gaps_for(
    user: User | AnonymousUser,
    *,
    source: Source | None = None,
    node: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[HistoryGap]:
    """Gaps of the sources on which `user` holds a role, newest first, with `node.source` at hand.

    `since` and `until` leave out those that lie wholly outside. In a list newest first a gap is drawn before the first
    task that started at or before its `until`.
    """
    gaps = HistoryGap.objects.filter(node__source__in=Source.objects.visible_to(user))
    gaps = gaps.select_related("node__source").order_by("-until", "-pk")
    if source is not None:
        gaps = gaps.filter(node__source=source)
    if node:
        gaps = gaps.filter(node__name=node)
    if since is not None:
        gaps = gaps.filter(until__gte=since)
    return gaps if until is None else gaps.filter(since__lte=until)
