"""What an id of the API names, whether a person may see it, and its rows: a few queries for many ids at once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from django.contrib.auth.models import User
from django.db.models import Prefetch

from tasks_app.live.order_shapes import machine_state, order_object, order_state, submission_object
from tasks_app.live.shapes import Json, is_settled, task_object
from tasks_app.models import Asset, Machine, Order, Stage, Submission, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.states import OPEN_STATES

Sort = Literal["task", "order", "sub"]
_MAX_DIGITS = 18  # what fits a 64-bit key

# What the shapes look at; the other columns are wide and stay in the table.
_TASK_FIELDS = (
    "id",
    "source_id",
    "source__name",
    "source__kind",
    "remote_id",
    "node",
    "type",
    "vmid",
    "new_vmid",
    "state",
    "warnings",
    "exit_text",
    "error_line",
    "started_at",
    "ended_at",
    "changed_at",
    "percent",
    "step",
    "cancel_requested_at",
    "submission_id",
    "submission__machine__team_id",
    "submission__machine__order_id",
    "generation__kind",
    "generation__team_id",
    "generation__hold_reason",
    "generation__problem_kind",
    "generation__cleaned_at",
)


@dataclass(frozen=True, slots=True)
class Ref:
    """A row that an id names: a task, an order of machines, or something started on a guest."""

    sort: Sort
    pk: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows behind a ref, read together. `is_settled`: nothing about it changes any more by itself.

    Exactly one of task, order and submission is set, but a submission brings its task along.
    """

    source_id: int
    team_ids: frozenset[int]
    is_settled: bool
    task: Task | None = None
    submission: Submission | None = None
    order: Order | None = None
    machines: tuple[Machine, ...] = ()
    clones: dict[int, Task] = field(default_factory=dict)

    @property
    def is_expired(self) -> bool:
        """Its result was removed by retention."""
        return bool(
            self.task is not None and self.task.is_generation and self.task.generation.cleaned_at is not None
        )

    def tell(self, base_url: str) -> Json:
        """The object, with addresses below `base_url`."""
        if self.order is not None:
            return order_object(self.order, self.machines, self.clones, base_url)
        if self.submission is not None:
            return submission_object(self.submission, self.task, base_url)
        assert self.task is not None
        return task_object(self.task, base_url)


def find_ref(text: str, user: User) -> Ref | None:
    """What `text` names, if `user` may see it. A UPID and every `Task.api_id` is known, `order_<n>` and `sub_<n>`."""
    prefix, _, digits = text.rpartition("_")
    if prefix in ("order", "sub"):
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
            return None
        pk = int(digits)
        if prefix == "order":
            return Ref("order", pk) if Order.objects.visible_to(user).filter(pk=pk).exists() else None
        return Ref("sub", pk) if Submission.objects.visible_to(user).filter(pk=pk).exists() else None
    if "\0" in text:
        return None
    found = Task.objects.visible_to(user).by_api_id(text).values_list("pk", flat=True).first()
    return Ref("task", found) if found is not None else None


def read_snapshots(refs: Collection[Ref]) -> dict[Ref, Snapshot]:
    """The snapshots of those that exist. At most seven queries, however many; none for a sort that is not there."""
    submissions = _read_submissions(_pks(refs, "sub"))
    wanted = {(row.source_id, row.remote_id): row.pk for row in submissions if row.remote_id}
    tasks = _read_tasks(_pks(refs, "task"), [remote_id for _, remote_id in wanted])
    found: dict[Ref, Snapshot] = {
        Ref("task", pk): _task_snapshot(task) for pk, task in tasks.items() if Ref("task", pk) in refs
    }
    by_remote = {(task.source_id, task.remote_id): task for task in tasks.values()}
    for row in submissions:
        task = by_remote.get((row.source_id, row.remote_id)) if row.remote_id else None
        found[Ref("sub", row.pk)] = _submission_snapshot(row, task)
    return found | _read_orders(_pks(refs, "order"))


def shape_rows(tasks: TaskQuerySet) -> TaskQuerySet:
    """`tasks` with what the shapes look at and no more; their assets are another query."""
    return tasks.select_related("source", "submission__machine", "generation").only(*_TASK_FIELDS)


def _pks(refs: Iterable[Ref], sort: Sort) -> set[int]:
    return {ref.pk for ref in refs if ref.sort == sort}


def _read_tasks(pks: Collection[int], remote_ids: Collection[str]) -> dict[int, Task]:
    assets = Prefetch("generation__assets", Asset.objects.defer("ref", "url", "error"))
    rows = shape_rows(Task.objects.all()).prefetch_related(assets)
    found: dict[int, Task] = rows.in_bulk(list(pks)) if pks else {}
    if remote_ids:
        found |= {task.pk: task for task in rows.filter(remote_id__in=remote_ids)}
    return found


def _task_snapshot(task: Task) -> Snapshot:
    team_id = task.team_id
    teams = frozenset() if team_id is None else frozenset({team_id})
    return Snapshot(task.source_id, teams, is_settled(task), task=task)


def _read_submissions(pks: Collection[int]) -> list[Submission]:
    if not pks:
        return []
    rows = Submission.objects.filter(pk__in=pks).select_related("source", "machine")
    return list(rows.defer("parameters"))


def _submission_snapshot(row: Submission, task: Task | None) -> Snapshot:
    teams = frozenset({row.machine.team_id}) if row.machine is not None else frozenset()
    is_over = row.is_final and (task is None or task.is_final)
    return Snapshot(row.source_id, teams, is_over, task=task, submission=row)


def _read_orders(pks: Collection[int]) -> dict[Ref, Snapshot]:
    if not pks:
        return {}
    orders = Order.objects.select_related("source").in_bulk(list(pks))
    machines: dict[int, list[Machine]] = {pk: [] for pk in orders}
    for machine in Machine.objects.filter(order__in=orders).defer("ssh_keys"):
        machines[machine.order_id].append(machine)
    clones: dict[int, dict[int, Task]] = {pk: {} for pk in orders}
    rows = shape_rows(
        Task.objects.filter(submission__step=Stage.CLONE, submission__machine__order__in=orders)
    )
    for task in rows.order_by("pk"):  # after a repeat the last one counts
        if task.submission is not None and task.submission.machine is not None:
            clones[task.submission.machine.order_id][task.submission.machine.pk] = task
    return {
        Ref("order", pk): _order_snapshot(order, machines[pk], clones[pk]) for pk, order in orders.items()
    }


def _order_snapshot(order: Order, machines: list[Machine], clones: dict[int, Task]) -> Snapshot:
    state = order_state([machine_state(machine) for machine in machines])
    return Snapshot(
        order.source_id,
        frozenset({order.team_id}),
        state not in OPEN_STATES,
        order=order,
        machines=tuple(machines),
        clones=clones,
    )
