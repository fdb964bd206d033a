"""Whose clone starts next: fair between teams and orders, within what template, storage, source and team can bear."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils.timezone import now

from tasks_app.errors import InvalidInput
from tasks_app.models import CatalogItem, Machine, Order, Source, Stage, Submission, Task
from tasks_app.services.expectations import template_limit
from tasks_app.services.guest_actions import MAKES_GUEST
from tasks_app.services.machine_ends import fail
from tasks_app.services.placement import Facts, Placer, facts_of, template_of
from tasks_app.services.steps import create_submission

logger = logging.getLogger(__name__)

_CLONE_TYPES = ("qmclone", "vzclone")


@dataclass
class Load:
    """What works on a source now, counted by what limits it."""

    total: int = 0
    templates: Counter[str] = field(default_factory=Counter)
    storages: Counter[str] = field(default_factory=Counter)
    teams: Counter[int] = field(default_factory=Counter)
    orders: Counter[int] = field(default_factory=Counter)

    def add(self, machine: Machine) -> None:
        self.total += 1
        self.templates[template_key(machine.item)] += 1
        self.storages[storage_key(machine)] += 1
        self.teams[machine.team_id] += 1
        self.orders[machine.order_id] += 1


def template_key(item: CatalogItem | None) -> str:
    """What is cloned: `9000`, or the name of an OS template."""
    return "" if item is None else str(item.vmid or item.ostemplate)


def storage_key(machine: Machine) -> str:
    """Where it is written: the chosen storage; otherwise beside the template, which nothing else shares."""
    return machine.storage or f"beside {template_key(machine.item)}"


def start_due(source_pk: int) -> list[int]:
    """Move what may start from the queue into its clone; keys of these machines. Calls nothing on the source.

    Asks it only where a node must still be chosen, before the transaction. Running it twice is harmless.
    """
    source = Source.objects.filter(pk=source_pk, paused_at__isnull=True).first()
    if source is None:
        return []
    facts = _facts_for_placement(source)
    with transaction.atomic():
        # Two of these at once would fill the same room.
        Source.objects.select_for_update().get(pk=source_pk)
        candidates = list(
            Machine.objects.startable()
            .filter(source=source)
            .select_related("order", "item__source", "team__group", "order__actor")
            .select_for_update(of=("self", "order"))
            .order_by("order_id", "position")
        )
        load = measure_load(source)
        limits = {machine.item: template_limit(machine.item) for machine in candidates if machine.item}
        started: list[int] = []
        while (machine := _next(candidates, load, limits)) is not None:
            candidates.remove(machine)
            if _start(machine, facts):
                load.add(machine)
                started.append(machine.pk)
            elif machine.stage == Stage.FAILED and machine.order.on_failure != Order.OnFailure.GO_ON:
                stopped = Order.objects.filter(pk=machine.order_id, paused_at__isnull=False)
                candidates = [m for m in candidates if m.order_id != machine.order_id or not stopped.exists()]
    return started


def count_ahead(machine: Machine) -> int:
    """How many of the queue get their turn before `machine`, as the queue stands now."""
    waiting = list(
        Machine.objects.startable()
        .filter(source=machine.source_id)
        .select_related("item")
        .order_by("order_id", "position")
    )
    load = measure_load(machine.source)
    turns = _Turns(waiting, load)
    for position in range(len(waiting)):
        chosen = turns.choose(waiting)
        if chosen is None or chosen.pk == machine.pk:
            return position
        waiting.remove(chosen)
        turns.note(chosen)
    return 0


def measure_load(source: Source) -> Load:
    """Our own clones that are not over, and clones of others that run."""
    load = Load()
    making = Submission.objects.unfinished().filter(source=source, action__in=MAKES_GUEST)
    ours = list(making.select_related("machine__item"))
    for submission in ours:
        if submission.machine is not None:
            load.add(submission.machine)
        else:
            load.total += 1
            load.templates[str(submission.vmid)] += 1
            load.storages[submission.parameters.get("storage") or f"beside {submission.vmid}"] += 1
    foreign = Task.objects.unfinished().filter(source=source, type__in=_CLONE_TYPES, submission__isnull=True)
    known = {submission.remote_id for submission in ours}
    for remote_id, vmid in foreign.values_list("remote_id", "vmid"):
        if remote_id not in known:
            load.total += 1
            load.templates[str(vmid)] += 1
    return load


class _Turns:
    """Round robin: the team with the fewest clones at work, then the one that has waited longest; orders alike."""

    def __init__(self, waiting: list[Machine], load: Load) -> None:
        self._teams, self._orders = Counter(load.teams), Counter(load.orders)
        begun = Submission.objects.filter(
            step=Stage.CLONE, machine__order__in={machine.order_id for machine in waiting}
        )
        served = begun.values_list("machine__team_id", "machine__order_id").annotate(last=Max("created_at"))
        self._team_served: dict[int, float] = {}
        self._order_served: dict[int, float] = {}
        for team_id, order_id, last in served.order_by():
            self._order_served[order_id] = last.timestamp()
            self._team_served[team_id] = max(self._team_served.get(team_id, 0.0), last.timestamp())
        self._clock = now().timestamp()

    def choose(self, waiting: list[Machine]) -> Machine | None:
        return min(waiting, key=self._rank, default=None)

    def note(self, machine: Machine) -> None:
        self._clock += 1.0
        self._teams[machine.team_id] += 1
        self._orders[machine.order_id] += 1
        self._team_served[machine.team_id] = self._order_served[machine.order_id] = self._clock

    def _rank(self, machine: Machine) -> tuple[float, ...]:
        return (
            self._teams[machine.team_id],
            self._team_served.get(machine.team_id, 0.0),
            self._orders[machine.order_id],
            self._order_served.get(machine.order_id, 0.0),
            machine.order_id,
            machine.position,
        )


def _next(candidates: list[Machine], load: Load, limits: dict[CatalogItem, int]) -> Machine | None:
    """The fairest of those for which there is room."""
    fitting = [machine for machine in candidates if _has_room(machine, load, limits)]
    return _Turns(fitting, load).choose(fitting) if fitting else None


def _has_room(machine: Machine, load: Load, limits: dict[CatalogItem, int]) -> bool:
    at_template = limits[machine.item] if machine.item else settings.CLONES_PER_TEMPLATE
    return (
        load.total < settings.CLONES_PER_CLUSTER
        and load.templates[template_key(machine.item)] < at_template
        and load.storages[storage_key(machine)] < settings.CLONES_PER_STORAGE
        and load.teams[machine.team_id] < max(1, machine.team.max_parallel_clones)
    )


def _start(machine: Machine, facts: dict[int, Facts | None]) -> bool:
    """From queued to clone, together with the clone's submission. A machine that cannot be made fails."""
    at = now()
    item = machine.item
    obstacle = "The catalogue item was removed." if item is None else item.obstacle
    node = machine.node or ("" if item is None else _place(machine, item, facts.get(item.pk)))
    if not obstacle and not node:
        if item is not None and facts.get(item.pk) is None:
            return False  # the source does not tell at the moment: it waits
        obstacle = "No node that may be used reaches the storage of this item."
    waiting = Machine.objects.filter(pk=machine.pk, stage=Stage.QUEUED, cancel_requested_at__isnull=True)
    if not waiting.update(stage=Stage.CLONE, stage_at=at, next_look_at=at, node=node):
        return False
    machine.stage, machine.stage_at, machine.node = Stage.CLONE, at, node
    try:
        if obstacle:
            raise InvalidInput(item=obstacle)
        create_submission(machine, Stage.CLONE, at=at)
    except InvalidInput as error:
        fail(machine, str(error))
        return False
    logger.info("clone starts machine=%d order=%d", machine.pk, machine.order_id)
    return True


def _place(machine: Machine, item: CatalogItem, facts: Facts | None) -> str:
    chosen = Placer(item, facts).place(machine.memory_mb)
    template = template_of(item)
    if chosen or facts is None or template is None or item.placement == CatalogItem.Placement.FIXED:
        return chosen
    return template.node


def _facts_for_placement(source: Source) -> dict[int, Facts | None]:
    """For the items of machines whose node is still open; the source is asked at most once each."""
    open_items = Machine.objects.startable().filter(source=source, node="", item__isnull=False).values("item")
    items = CatalogItem.objects.filter(pk__in=open_items).select_related("source")
    return {item.pk: facts_of(item) for item in items}
