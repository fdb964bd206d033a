"""Gaps: stretches of a node's history that were dropped there before anybody read them."""

from datetime import datetime

from django.db import transaction

from tasks_app.ingest.events import Events
from tasks_app.models import HistoryGap, Node, TaskEvent


def store_gap(node: Node, *, since: datetime, until: datetime, at: datetime) -> HistoryGap | None:
    """Keep a gap that was found; None when it is known already, by where it begins."""
    with transaction.atomic():
        gap, is_new = HistoryGap.objects.get_or_create(
            node=node, since=since, defaults={"until": until, "found_at": at}
        )
        if not is_new:
            return None
        events = Events(node.source_id, at)
        events.add(TaskEvent.Kind.SOURCE)
        events.save()
    return gap
