"""What to expect of an order: how long such machines usually take, how many wait before it, and advice."""

import statistics

from django.conf import settings

from tasks_app.models import CatalogItem, Machine, Order, Stage, Submission, Task
from tasks_app.services.placement import source_is_busy_alone
from tasks_app.states import State

RUNS = 30
"""Newest finished ones that are looked at."""


def usual(item: CatalogItem) -> str:
    """`2–3 min (last 30 runs)`: the middle half of the newest machines of this item; "" when none was made yet."""
    made = Machine.objects.filter(item=item, ready_at__isnull=False).order_by("-ready_at")[:RUNS]
    begun = dict(
        Submission.objects.filter(machine__in=[machine.pk for machine in made], step=Stage.CLONE)
        .order_by("created_at")
        .values_list("machine_id", "created_at")
    )
    seconds = [
        (machine.ready_at - begun[machine.pk]).total_seconds()
        for machine in made
        if machine.ready_at and machine.pk in begun
    ]
    if seconds:
        return f"{_span(seconds)} (last {_count(len(seconds), 'run')})"
    if item.vmid is None:
        return ""
    clones = Task.objects.filter(
        source=item.source_id, vmid=item.vmid, type__in=("qmclone", "vzclone"), state=State.COMPLETED
    ).order_by("-started_at", "-id")
    durations = [task.duration_seconds for task in clones[:RUNS]]
    known = [duration for duration in durations if duration is not None]
    return f"{_span(known)} for the clone (last {_count(len(known), 'run')})" if known else ""


def ahead(item: CatalogItem) -> int:
    """Machines of the same source that wait for their clone before a new order; 0 when it starts at once."""
    waiting = Machine.objects.filter(
        source=item.source_id,
        stage=Stage.QUEUED,
        order__paused_at__isnull=True,
        order__decision__in=(Order.Decision.NOT_NEEDED, Order.Decision.APPROVED),
    ).count()
    running = Submission.objects.unfinished().filter(
        source=item.source_id, action__in=(Submission.Action.CLONE, Submission.Action.CREATE)
    )
    same = running.filter(vmid=item.vmid).count() if item.vmid else 0
    is_full = running.count() >= settings.CLONES_PER_CLUSTER or same >= template_limit(item)
    return waiting + (same if is_full else 0)


def template_limit(item: CatalogItem) -> int:
    """Clones of its template at once."""
    return 1 if source_is_busy_alone(item) else int(settings.CLONES_PER_TEMPLATE)


def advice(item: CatalogItem, count: int) -> str:
    """What the member should know before many are made; "" when nothing."""
    guest = source_is_busy_alone(item)
    if guest is None or count < 2:
        return ""
    return (
        f"{guest} is running: clones of a running guest run one after another. "
        f"Stop it or make a template of it, and {settings.CLONES_PER_TEMPLATE} run at once."
    )


def _span(seconds: list[float]) -> str:
    if len(seconds) < 4:
        low = high = statistics.median(seconds)
    else:
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    if high < 90:
        first, last, unit = max(1, round(low)), max(1, round(high)), "s"
    elif high < 5400:
        first, last, unit = max(1, round(low / 60)), max(1, round(high / 60)), "min"
    else:
        first, last, unit = max(1, round(low / 3600)), max(1, round(high / 3600)), "h"
    return f"{first} {unit}" if first == last else f"{first}–{last} {unit}"


def _count(number: int, noun: str) -> str:
    return noun if number == 1 else f"{number} {noun}s"
