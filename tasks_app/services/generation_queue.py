"""Whose generation task is sent next: fair between persons, within the limits of the portal and of each source.

First comes the person with the fewest tasks at the providers; among equals the one whose last start is longest ago;
then the older order. Only orders for which there is room are compared: one that waits for its source or its kind holds
up nobody else. Nobody starves: between equals each turn puts a person behind all who have not had one since, and who
had none for a while counts one task less for each PATIENCE, so that a task which hangs at a provider does not keep its
person's next one waiting behind everybody's for ever.

Limits count what is at the providers, perhaps sent, or given a place here a moment ago. Those of the portal
(MAX_CONCURRENT_TASKS and so on) count its own tasks; those of a source (`settings["limits"]`) also what others started
there. What is at a source that has been silent or paused for SILENT counts for that source alone, or one that is down
would stop all the others. A place that was given is a lease on the row: the job that sends it takes over, or the place
is free again.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Max, Q, QuerySet
from django.utils.timezone import now

from tasks_app.ingest.events import Events
from tasks_app.models import Generation, Source, TaskEvent
from tasks_app.queue import Job, enqueue

logger = logging.getLogger(__name__)

PLACE_SECONDS = 20.0
"""A place whose job has not come to it in this time is given again; the queue of jobs is rarely that long."""
PATIENCE_SECONDS = 600.0
"""Of waiting without a turn that make up for one task at a provider. A video takes a minute or ten."""
SILENT_SECONDS = 600.0
PICK_UP_LIMIT = 200
MOST_TOLD = 20
"""Waiting tasks whose pages are told at each start that they have moved up; further back nobody counts."""
MOST_CONCURRENT = 10_000

PAUSED = "The source is paused: nothing is sent to it."
FAILING = "The source does not answer at the moment; it is sent as soon as it does."

Person = int | str
"""The key of an account, or the name where that is gone."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What the queue knows of one task, waiting or at a provider. `is_ours`: it counts against the portal's limits."""

    pk: int
    person: Person
    source_id: int
    kind: str
    is_ours: bool
    at: datetime  # asked at, or sent at

    @property
    def counters(self) -> Iterator[tuple[int | None, str]]:
        """What it counts to: (source or None for the whole portal, kind or total)."""
        for source_id in (None, self.source_id) if self.is_ours else (self.source_id,):
            yield source_id, "total"
            yield source_id, self.kind


def dispatch() -> list[int]:
    """Give the free places to who is next and enqueue their sending; keys of these. Calls no remote.

    Running it twice, or at once in several jobs, is harmless. Also enqueues what lost its answer and is due.
    """
    at = now()
    note_holds(at)
    lost = Generation.objects.deliverable(at).order_by("next_attempt_at")
    for pk in lost.values_list("pk", flat=True)[:PICK_UP_LIMIT]:
        enqueue(Job.GENERATE, pk)
    if not _startable(at).exists():
        return []
    started: list[int] = []
    with transaction.atomic():
        lock_sources()
        line = _Line.read(now())
        while (order := line.take_next()) is not None:
            if _give_place(order.pk):
                started.append(order.pk)
                transaction.on_commit(partial(enqueue, Job.GENERATE, order.pk))
            else:
                line.end(order)  # withdrawn in this moment
        if started:
            _tell_moved(line, at)
    if started:
        logger.info("generations get a place count=%d", len(started))
    return started


def places(task_pks: Collection[int]) -> dict[int, int]:
    """The place in the portal's own queue, 1 is next, of those that wait for one. A handful of queries, for pages.

    In exactly the order of `dispatch`, if what was sent first also ends first. What is held for another reason (its
    source is paused or fails, the provider asked to wait) has none.
    """
    at = now()
    wanted = set(_startable(at).filter(pk__in=task_pks).values_list("pk", flat=True))
    if not wanted:
        return {}
    line, found = _Line.read(at), {}
    for number, order in enumerate(line.play(), 1):
        if order.pk in wanted:
            found[order.pk] = number
            if len(found) == len(wanted):
                break
    return found


def note_holds(at: datetime) -> None:
    """Write at what is held why it waits, while its source is paused or fails, and take it back afterwards."""
    held = Generation.objects.held().order_by()
    groups = held.values_list(
        "task__source", "task__source__paused_at", "task__source__failing_since", "hold_reason"
    ).distinct()
    stale = []
    for source_id, paused_at, failing_since, reason in groups:
        wanted = PAUSED if paused_at else FAILING if failing_since else ""
        if reason != wanted and (wanted or reason in (PAUSED, FAILING)):
            stale.append((source_id, reason, wanted))
    if not stale:
        return
    with transaction.atomic():
        lock_sources()
        for source_id, reason, wanted in stale:
            rows = held.filter(task__source=source_id, hold_reason=reason)
            write_hold(source_id, list(rows.values_list("pk", flat=True)), at, hold_reason=wanted)


def hold_back(source_id: int, *, until: datetime, reason: str) -> None:
    """Send nothing of what waits for this source before `until`: what one order was told holds for the account."""
    with transaction.atomic():
        lock_sources()
        rows = Generation.objects.held().filter(task__source=source_id, next_attempt_at__lt=until)
        pks = list(rows.values_list("pk", flat=True))
        write_hold(source_id, pks, now(), hold_reason=reason, next_attempt_at=until)


def release(source: Source) -> None:
    """Try at once what was held back: somebody has changed the source, or resumed it."""
    at = now()
    with transaction.atomic():
        lock_sources()
        rows = Generation.objects.held().filter(Q(next_attempt_at__gt=at) | ~Q(hold_reason=""))
        pks = list(rows.filter(task__source=source.pk).values_list("pk", flat=True))
        write_hold(source.pk, pks, at, hold_reason="", next_attempt_at=at)
        transaction.on_commit(partial(enqueue, Job.DISPATCH))


def holds_of(source: Source) -> list[tuple[str, int]]:
    """Why orders for this source wait and how many, for its page; most first. The words have no secrets in them."""
    reasons = Generation.objects.held().filter(task__source=source.pk).exclude(hold_reason="")
    return Counter(reasons.values_list("hold_reason", flat=True)).most_common()


def lock_sources() -> None:
    """One decision about places at a time, until the transaction ends. Always the first lock that is taken."""
    rows = Source.objects.exclude(kind=Source.PROXMOX).select_for_update(no_key=True).order_by("pk")
    list(rows.values_list("pk", flat=True))


def limits_of(source_settings: Any) -> dict[str, int]:
    """The source's own limits, by total, video and image; what is no sensible number does not limit."""
    given = source_settings.get("limits") if isinstance(source_settings, Mapping) else None
    if not isinstance(given, Mapping):
        return {}
    return {
        name: number
        for name in ("total", Generation.Kind.VIDEO.value, Generation.Kind.IMAGE.value)
        if isinstance(number := given.get(name), int)
        and not isinstance(number, bool)
        and 0 <= number <= MOST_CONCURRENT
    }


def write_hold(source_id: int, pks: Collection[int], at: datetime, **values: Any) -> None:
    """Change what is still held of these, and tell the pages."""
    rows = Generation.objects.filter(pk__in=pks, called_at__isnull=True)
    if pks and rows.update(**values):
        events = Events(source_id, at)
        for pk in pks:
            events.add(TaskEvent.Kind.STATE, pk)
        events.save()


def _startable(at: datetime) -> "QuerySet[Generation]":
    return Generation.objects.startable(at).filter(task__source__failing_since__isnull=True)


def _tell_moved(line: "_Line", at: datetime) -> None:
    """Pages show places: those in front have another one now."""
    events: dict[int, Events] = {}
    for order in islice(line.play(), MOST_TOLD):
        of_source = events.setdefault(order.source_id, Events(order.source_id, at))
        of_source.add(TaskEvent.Kind.STATE, order.pk)
    for each in events.values():
        each.save()


def _give_place(pk: int) -> bool:
    """Own columns only: PostgreSQL judges these again when it had to wait for the row."""
    at = now()
    free = Generation.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=at), pk=pk, called_at__isnull=True
    )
    return free.update(lease_until=at + timedelta(seconds=PLACE_SECONDS)) == 1


class _Line:
    """The queue as it stands: who waits, what is at the providers, and who had the last turn."""

    def __init__(
        self,
        waiting: Iterable[_Order],
        busy: Iterable[_Order],
        *,
        limits: Mapping[tuple[int | None, str], int],
        last_starts: Mapping[Person, float],
        clock: float,
    ) -> None:
        self._limits = limits
        self._last = dict(last_starts)
        self._at = self._clock = clock
        self._load: Counter[tuple[int | None, str]] = Counter()
        self._held_by: Counter[Person] = Counter()
        self._busy: deque[_Order] = deque()
        self._heads: dict[tuple[Person, int, str], deque[_Order]] = defaultdict(deque)
        for order in sorted(busy, key=lambda order: (order.at, order.pk)):
            self._begin(order)
        for order in sorted(waiting, key=lambda order: (order.at, order.pk)):
            self._heads[order.person, order.source_id, order.kind].append(order)

    @classmethod
    def read(cls, at: datetime) -> "_Line":
        """From the tables: four queries, however many wait."""
        waiting = [_order(row) for row in _startable(at).values_list(*_COLUMNS, "asked_at")]
        placed = Generation.objects.held().filter(lease_until__gte=at)
        busy = [_order(row) for row in placed.values_list(*_COLUMNS, "asked_at")]
        silent_before = at - timedelta(seconds=SILENT_SECONDS)
        is_silent = Q(task__source__failing_since__lt=silent_before) | Q(
            task__source__paused_at__lt=silent_before
        )
        sent = Generation.objects.at_remote().annotate(is_silent=ExpressionWrapper(is_silent, BooleanField()))
        for *row, called_at, asked_at, counts_there in sent.values_list(
            *_COLUMNS, "called_at", "asked_at", "is_silent"
        ):
            busy.append(_order((*row, called_at or asked_at), counts_there=counts_there))
        people = {order.person for order in waiting if isinstance(order.person, int)}
        # With one person there is nobody to be fair to.
        starts = (
            Generation.objects.filter(actor__in=people, called_at__isnull=False) if len(people) > 1 else None
        )
        last = starts.order_by().values_list("actor").annotate(Max("called_at")) if starts is not None else ()
        limits: dict[tuple[int | None, str], int] = {
            (None, "total"): settings.MAX_CONCURRENT_TASKS,
            (None, Generation.Kind.IMAGE.value): settings.IMAGE_MAX_CONCURRENT,
            (None, Generation.Kind.VIDEO.value): settings.VIDEO_MAX_CONCURRENT,
        }
        sources = Source.objects.filter(pk__in={order.source_id for order in waiting})
        for pk, own in sources.values_list("pk", "settings"):
            limits |= {(pk, name): number for name, number in limits_of(own).items()}
        return cls(
            waiting,
            busy,
            limits=limits,
            last_starts={person: moment.timestamp() for person, moment in last},
            clock=at.timestamp(),
        )

    def take_next(self) -> _Order | None:
        """The fairest of those for which there is room; from now on it counts as sent."""
        full = {counter for counter, limit in self._limits.items() if self._load[counter] >= limit}
        heads = [line[0] for line in self._heads.values() if full.isdisjoint(line[0].counters)]
        order = min(heads, key=self._rank, default=None)
        if order is not None:
            key = (order.person, order.source_id, order.kind)
            self._heads[key].popleft()
            if not self._heads[key]:
                del self._heads[key]
            self._clock += 1.0
            self._last[order.person] = self._clock
            self._begin(order)
        return order

    def end(self, order: _Order) -> None:
        self._busy.remove(order)
        self._count(order, -1)

    def play(self) -> Iterator[_Order]:
        """All that wait, in the order of their turns, when what is at the providers ends in the order it was sent."""
        while self._heads:
            order = self.take_next()
            if order is not None:
                yield order
            elif self._busy:
                self.end(self._busy[0])
            else:
                return  # a limit of nothing

    def _begin(self, order: _Order) -> None:
        self._busy.append(order)
        self._count(order, 1)

    def _count(self, order: _Order, number: int) -> None:
        for counter in order.counters:
            self._load[counter] += number
        if order.is_ours:
            self._held_by[order.person] += number

    def _rank(self, order: _Order) -> tuple[float, float, float, int]:
        last, asked = self._last.get(order.person, 0.0), order.at.timestamp()
        patience = max(0.0, self._at - max(last, asked)) // PATIENCE_SECONDS
        return self._held_by[order.person] - patience, last, asked, order.pk


_COLUMNS = ("pk", "actor", "actor_name", "task__source", "kind")


def _order(row: tuple[Any, ...], *, counts_there: bool = False) -> _Order:
    """`counts_there`: against the limits of its source alone, as what others started there does."""
    pk, actor, actor_name, source_id, kind, at = row
    return _Order(pk, actor or actor_name, source_id, kind, bool(actor_name) and not counts_there, at)
