"""What the page of an order shows of its machines: a few queries, whatever their number."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from tasks_app.models import CatalogItem, LogLine, Machine, Order, Stage, Submission, Task
from tasks_app.models.machine import WAITING, WORKING
from tasks_app.progress.failures import KnownFailure, explain_failure
from tasks_app.progress.logtext import printable
from tasks_app.progress.text import progress_text
from tasks_app.states import State

DONE, RUNNING, QUEUED, FAILED, CANCELLED = "done", "running", "queued", "failed", "cancelled"
GROUPS = (DONE, RUNNING, QUEUED, FAILED, CANCELLED)
"""How a batch is counted and filtered; also the `data-group` of CSS."""

GROUP_OF = {
    Stage.APPROVAL: QUEUED,
    Stage.QUEUED: QUEUED,
    Stage.READY: DONE,
    Stage.GONE: DONE,
    Stage.FAILED: FAILED,
    Stage.CANCELLED: CANCELLED,
    Stage.REJECTED: CANCELLED,
} | dict.fromkeys(WORKING, RUNNING)
_LINE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a machine. `state` is a word of CSS: pending, processing, completed, failed, cancelled, skipped."""

    stage: Stage
    label: str
    state: str
    words: str
    task_id: int | None = None
    began_at: datetime | None = None
    seconds: float | None = None
    percent: float | None = None
    text: str = ""
    last_line: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One machine of an order as the page shows it. `step` is what it does now or did last.

    `is_unknown`: nobody knows whether its clone was made, and what it reserved is kept until a person has looked.
    """

    pk: int
    position: int
    name: str
    vmid: int | None
    node: str
    storage: str
    owner: str
    group: str
    stage: str
    words: str
    is_cancelling: bool
    exists: bool
    step: Step | None
    steps: tuple[Step, ...]
    addresses: tuple[str, ...]
    address_note: str
    differences: tuple[str, ...]
    error: str
    cause: str
    failure: KnownFailure | None
    leftovers: str
    expires_at: datetime | None
    can_cancel: bool
    is_unknown: bool


def group_of(machine: Machine) -> str:
    return GROUP_OF[Stage(machine.stage)]


def read_rows(order: Order, *, group: str = "") -> list[Row]:
    """The order's machines, those of one group where that is named. Three queries, a fourth for a single machine."""
    machines = list(order.machines.order_by("position", "pk"))
    if group:
        machines = [machine for machine in machines if group_of(machine) == group]
    submissions = _submissions(machines)
    tasks = _tasks(found for own in submissions.values() for found in own.values())
    lines = _last_lines(tasks.values()) if len(machines) == 1 else {}
    makes = order.item is not None and order.item.kind == CatalogItem.Kind.LXC_CREATE
    return [_row(machine, submissions.get(machine.pk, {}), tasks, lines, makes=makes) for machine in machines]


def _submissions(machines: list[Machine]) -> dict[int, dict[str, Submission]]:
    """By machine the newest of each step."""
    pks = [machine.pk for machine in machines]
    found = Submission.objects.filter(machine__in=pks).exclude(step="").order_by("pk")
    wanted = found.only(
        "machine_id",
        "step",
        "state",
        "error",
        "created_at",
        "called_at",
        "answered_at",
        "ended_at",
        "remote_id",
    )
    by_machine: dict[int, dict[str, Submission]] = {}
    for each in wanted:
        if each.machine_id is not None:
            by_machine.setdefault(each.machine_id, {})[each.step] = each
    return by_machine


def _tasks(submissions: Iterable[Submission]) -> dict[int, Task]:
    """By submission."""
    pks = [each.pk for each in submissions]
    found = (
        Task.objects.filter(submission__in=pks).order_by("pk").defer("raw", "tracker_state", "search_text")
    )
    return {task.submission_id: task for task in found if task.submission_id is not None}


def _last_lines(tasks: Iterable[Task]) -> dict[int, str]:
    """The newest line of each running task, by task."""
    wanted = Q()
    for task in tasks:
        if not task.is_final and task.log_total:
            wanted |= Q(task=task.pk, number=task.log_total)
    if not wanted:
        return {}
    return {
        pk: printable(text[:_LINE_CHARS])
        for pk, text in LogLine.objects.filter(wanted).values_list("task_id", "text")
    }


def _row(
    machine: Machine,
    own: dict[str, Submission],
    tasks: dict[int, Task],
    lines: dict[int, str],
    *,
    makes: bool,
) -> Row:
    steps = _steps(machine, own, tasks, lines, makes=makes)
    shown = [step for step in steps if step.state not in ("pending", "skipped")]
    group = group_of(machine)
    task = tasks.get(own[machine.stage].pk) if machine.stage in own else None
    failure = explain_failure(machine.error) if group == FAILED else None
    is_unknown = machine.stage == Stage.FAILED and not machine.exists and machine.ended_at is None
    is_cancelling = machine.cancel_requested_at is not None and machine.is_in_the_making
    return Row(
        pk=machine.pk,
        position=machine.position,
        name=machine.name,
        vmid=machine.vmid,
        node=machine.node,
        storage=machine.storage,
        owner=machine.owner_name,
        group=group,
        stage=machine.stage,
        words="Cancelling…" if is_cancelling else _words(machine, task, makes=makes),
        is_cancelling=is_cancelling,
        exists=machine.exists,
        step=shown[-1] if shown else None,
        steps=tuple(steps),
        addresses=tuple(printable(str(address)) for address in machine.addresses),
        address_note=printable(machine.address_note),
        differences=tuple(printable(str(each)) for each in machine.differences),
        error=printable(machine.error),
        cause=printable(machine.cause),
        failure=failure,
        leftovers=printable(machine.leftovers),
        expires_at=machine.expires_at,
        can_cancel=not is_cancelling and (machine.stage in (*WAITING, Stage.CLONE) or is_unknown),
        is_unknown=is_unknown,
    )


def _words(machine: Machine, task: Task | None, *, makes: bool) -> str:
    label = _label(Stage(machine.stage), makes=makes)
    return f"{label} {int(task.percent)} %" if task is not None and task.percent is not None else label


def _label(stage: Stage, *, makes: bool) -> str:
    return "Create" if makes and stage is Stage.CLONE else stage.label


def _steps(
    machine: Machine,
    own: dict[str, Submission],
    tasks: dict[int, Task],
    lines: dict[int, str],
    *,
    makes: bool,
) -> list[Step]:
    """From queued to ready; growing a disk stands there only where it happens."""
    order = [Stage.QUEUED, *WORKING, Stage.READY]
    if not machine.grow_disk_gb and Stage.RESIZE not in own:
        order.remove(Stage.RESIZE)
    reached = _reached(machine, own, order)
    steps = []
    for place, stage in enumerate(order):
        submission = own.get(stage)
        task = tasks.get(submission.pk) if submission else None
        state, words = _state(machine, stage, place, reached)
        steps.append(_step(stage, _label(stage, makes=makes), state, words, submission, task, lines))
    return steps


def _reached(machine: Machine, own: dict[str, Submission], order: list[Stage]) -> int:
    """The place of the stage the machine is in or ended in; -1 before the queue."""
    stage = Stage(machine.stage)
    if stage in order:
        return order.index(stage)
    if stage in (Stage.APPROVAL, Stage.REJECTED):
        return -1
    if stage is Stage.GONE:
        return len(order)
    return max((order.index(Stage(step)) for step in own if step in order), default=0)


def _state(machine: Machine, stage: Stage, place: int, reached: int) -> tuple[str, str]:
    """The step's word for CSS and the one for people."""
    ended = Stage(machine.stage)
    is_off = not machine.starts and stage in (Stage.START, Stage.ADDRESS)
    if is_off and place != reached:
        return "skipped", "Not wanted"
    if place < reached or (place == reached and ended in (Stage.READY, Stage.GONE)):
        return "completed", "Done"
    if place > reached:
        return (
            ("skipped", "Not reached") if group_of(machine) in (FAILED, CANCELLED) else ("pending", "To do")
        )
    if ended is Stage.FAILED:
        return "failed", "Failed"
    if ended is Stage.CANCELLED:
        return "cancelled", "Cancelled"
    if machine.cancel_requested_at is not None:
        return "processing", "Cancelling…"
    return ("pending", "Waiting") if stage is Stage.QUEUED else ("processing", "Running")


def _step(
    stage: Stage,
    label: str,
    state: str,
    words: str,
    submission: Submission | None,
    task: Task | None,
    lines: dict[int, str],
) -> Step:
    if submission is None:
        return Step(stage, label, state, words)
    ended_at = submission.ended_at or (task.ended_at if task else None)
    note = ""
    if state == "processing" and task is None:
        note = "Asked, waiting for the cluster" if submission.called_at else "Waiting for a worker"
    if submission.state == State.LOST:
        note = "Outcome unknown"
    is_running = task is not None and not task.is_final
    return Step(
        stage,
        label,
        state,
        words,
        task_id=task.pk if task else None,
        began_at=task.started_at if task else submission.called_at,
        seconds=(ended_at - submission.created_at).total_seconds() if ended_at else None,
        percent=task.percent if task is not None and is_running else None,
        text=_text(task) if task is not None and is_running else "",
        last_line=lines.get(task.pk, "") if task else "",
        note=note or (submission.error if state == "processing" else ""),
    )


def _text(task: Task) -> str:
    return progress_text(
        task.percent, task.bytes_done, task.bytes_total, task.bytes_per_second, task.seconds_left, task.step
    )
