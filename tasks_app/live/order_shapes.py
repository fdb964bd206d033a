"""Orders of machines, and what was started on a guest, as the API tells them: before their task is known, and after.

Same shape as a task, so a client follows `order_12` or `sub_34` from the answer of its POST to the end.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import floor
from typing import Any

from tasks_app.live.shapes import (
    MAX_DETAIL,
    OUTCOME_UNKNOWN,
    Json,
    format_time,
    result_of,
    shorten,
    status_of,
    task_object,
)
from tasks_app.models import Machine, Order, Stage, Submission, Task
from tasks_app.models.machine import WAITING, WORKING
from tasks_app.states import State

_ENDS = {
    Stage.FAILED: State.FAILED,
    Stage.REJECTED: State.FAILED,
    Stage.CANCELLED: State.CANCELLED,
}


def machine_state(machine: Machine) -> State:
    """Where one machine stands, as a task. One that is gone was made, or was never wanted any more."""
    if machine.stage in WAITING:
        return State.PENDING
    if machine.stage in WORKING:
        return State.PROCESSING
    if machine.stage == Stage.GONE:
        return State.COMPLETED if machine.ready_at else State.CANCELLED
    return _ENDS.get(Stage(machine.stage), State.COMPLETED)


def order_state(states: Sequence[State]) -> State:
    """Of all machines together. It has not ended while one of them moves; one failure makes it failed."""
    found = set(states)
    if State.PROCESSING in found or (State.PENDING in found and len(found) > 1):
        return State.PROCESSING
    for state in (State.PENDING, State.FAILED, State.COMPLETED):
        if state in found:
            return state
    return State.CANCELLED


def order_object(
    order: Order, machines: Sequence[Machine], clones: Mapping[int, Task], base_url: str
) -> Json:
    """`clones`: the task that makes the machine, by its key."""
    states = [machine_state(machine) for machine in machines]
    state = order_state(states)
    is_completed = state is State.COMPLETED
    ended_at = max((machine.stage_at for machine in machines), default=order.created_at)
    shares = [_progress(machine, clones.get(machine.pk)) for machine in machines]
    progress = floor(sum(shares) / len(shares)) if shares else 0
    return {
        "task_id": f"order_{order.pk}",
        "status": state.value,
        "progress": 100 if is_completed else min(99, progress),
        "created_at": format_time(order.created_at),
        "updated_at": format_time(_updated_at(order, machines, clones)),
        "completed_at": format_time(ended_at) if is_completed else None,
        "result": _order_result(order, machines, clones, base_url, ended_at) if is_completed else None,
        "error": _order_error(order, machines) if state is State.FAILED else None,
    }


def submission_object(submission: Submission, task: Task | None, base_url: str) -> Json:
    """Its task as soon as there is one; a failed task may still be repeated until the submission has ended too."""
    task_id = f"sub_{submission.pk}"
    if task is not None and (submission.is_final or not task.is_final or task.state == State.COMPLETED):
        return task_object(task, base_url, task_id=task_id)
    state = State(submission.state)
    if task is not None or (state is State.PENDING and submission.called_at is not None):
        state = State.PROCESSING
    is_completed = state is State.COMPLETED
    is_failed = state in (State.FAILED, State.LOST)
    error: Json = {
        "type": OUTCOME_UNKNOWN if state is State.LOST else "SubmissionError",
        "message": shorten(submission.error, MAX_DETAIL) or "It could not be started.",
    }
    times = (submission.created_at, submission.called_at, submission.answered_at, submission.ended_at)
    updated_at = max(at for at in times if at is not None)
    return {
        "task_id": task_id,
        "status": status_of(state),
        "progress": 100 if is_completed else 0,
        "created_at": format_time(submission.created_at),
        "updated_at": format_time(updated_at),
        "completed_at": format_time(submission.ended_at) if is_completed else None,
        "result": {"service": submission.source.kind, "result": {}, "duration": None}
        if is_completed
        else None,
        "error": error if is_failed else None,
    }


def _progress(machine: Machine, clone: Task | None) -> float:
    """Of one machine: the percent of its clone. The steps after it are short and have none."""
    if machine_state(machine) is State.COMPLETED:
        return 100.0
    return clone.percent or 0.0 if clone is not None else 0.0


def _updated_at(order: Order, machines: Sequence[Machine], clones: Mapping[int, Task]) -> datetime:
    known = [order.created_at, order.decided_at]
    known += [machine.stage_at for machine in machines] + [task.changed_at for task in clones.values()]
    return max(at for at in known if at is not None)


def _order_result(
    order: Order,
    machines: Sequence[Machine],
    clones: Mapping[int, Task],
    base_url: str,
    ended_at: datetime,
) -> Json:
    """What was made; for a single machine also what the task of its clone tells."""
    inner: dict[str, Any] = {}
    only = clones.get(machines[0].pk) if len(machines) == 1 else None
    if only is not None:
        inner |= result_of(only, base_url)["result"]
        inner["new_vmid"] = machines[0].vmid
    inner |= {"order": order.title, "machines": [_machine(machine, clones) for machine in machines]}
    duration = round(max(0.0, (ended_at - order.created_at).total_seconds()), 1)
    return {"service": order.source.kind, "result": inner, "duration": duration}


def _machine(machine: Machine, clones: Mapping[int, Task]) -> Json:
    clone = clones.get(machine.pk)
    return {
        "name": machine.name,
        "vmid": machine.vmid,
        "node": machine.node,
        "status": machine_state(machine).value,
        "addresses": machine.addresses,
        "task_id": clone.api_id if clone is not None else None,
    }


def _order_error(order: Order, machines: Sequence[Machine]) -> Json:
    if order.decision == Order.Decision.REJECTED:
        reason = shorten(order.decision_reason, MAX_DETAIL)
        return {"type": "OrderRejected", "message": reason or "The order was rejected."}
    failed = [machine for machine in machines if machine_state(machine) is State.FAILED]
    causes = list(dict.fromkeys(shorten(machine.error, 300) for machine in failed if machine.error))
    words = " ".join(causes[:3]) or "It failed without a reason."
    if len(machines) > 1:
        words = f"{len(failed)} of {len(machines)} machines failed. {words}"
    return {"type": "OrderError", "message": shorten(words, MAX_DETAIL)}
