"""Slots of the watch loop: at most one loop lives in each, and the lowest living one leads."""

from datetime import datetime

from django.db.models import F, Q

from tasks_app import queue
from tasks_app.models import WatchSlot
from tasks_app.polling import cadence

SLOTS = (0, 1)
"""One leads, one stands by: a killed loop is replaced within its lease."""
_ENQUEUED = "enqueued"


def claim(slot: int, owner: str, at: datetime) -> bool:
    """Enter `slot` unless a loop lives there: a redelivered or reseeded copy finds it taken."""
    WatchSlot.objects.get_or_create(slot=slot)
    free = WatchSlot.objects.filter(slot=slot).filter(
        Q(owner__in=["", _ENQUEUED]) | Q(until__isnull=True) | Q(until__lte=at)
    )
    return bool(free.update(owner=owner, until=at + cadence.SLOT_LEASE, generation=F("generation") + 1))


def renew(slot: int, owner: str, at: datetime) -> bool:
    """False when another loop has taken the slot: this one must end."""
    mine = WatchSlot.objects.filter(slot=slot, owner=owner)
    return bool(mine.update(until=at + cadence.SLOT_LEASE))


def leads(slot: int, at: datetime) -> bool:
    """Whether no loop lives in a lower slot."""
    lower = WatchSlot.objects.filter(slot__lt=slot, until__gt=at).exclude(owner__in=["", _ENQUEUED])
    return not lower.exists()


def release(slot: int, owner: str) -> bool:
    return bool(WatchSlot.objects.filter(slot=slot, owner=owner).update(owner="", until=None))


def enqueue_free(at: datetime) -> int:
    """Enqueue a loop for every slot in which none lives and none is on its way. Returns how many."""
    enqueued = 0
    for slot in SLOTS:
        WatchSlot.objects.get_or_create(slot=slot)
        # The mark is taken by conditional update, so that callers on all hosts enqueue one loop together.
        free = WatchSlot.objects.filter(slot=slot).filter(Q(until__isnull=True) | Q(until__lte=at))
        if free.update(owner=_ENQUEUED, until=at + cadence.SUCCESSOR):
            queue.enqueue(queue.Job.WATCH, slot)
            enqueued += 1
    return enqueued
