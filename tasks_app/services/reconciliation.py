"""Did it happen? Looks on the remote for the proof of a call whose answer was lost or whose worker was killed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks_app.models import Guest, Submission, Task
from tasks_app.services.guest_actions import REPEATABLE, expected_types
from tasks_app.services.guest_parameters import ConfigureParameters
from tasks_app.services.guest_settings import differences
from tasks_app.services.leftovers import read_new_vmid
from tasks_app.sources.base import TaskObservation
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.inventory import GuestKind

Action = Submission.Action

CLOCK_SLACK_SECONDS = 5.0
"""Start times have whole seconds, and the Date header that tells the remote's clock has, too."""
ABSENCE_SECONDS = 75.0
"""A job that noted a call may still make it until its time limit ends it (60 s, and 3 more if it does not listen), and
a request that Proxmox's proxy has given up (30 s) may still start its task. Nothing is called again before."""
PAGE = 500
MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class Happened:
    """The call started this task."""

    remote_id: str


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The source is as was asked, without a task that could be followed."""


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """Proven: the source answered, and there is nothing; or calling again does no harm."""


@dataclass(frozen=True, slots=True)
class TooEarly:
    """Nothing is there yet; the call may still be under way."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """No proof either way; a person must look. `reason` is a sentence for them."""

    reason: str


Verdict = Happened | AlreadyDone | NothingHappened | TooEarly | Unclear


def find_proof(client: ProxmoxSource, submission: Submission, *, at: datetime) -> Verdict:
    """What came of the call that `submission` noted in `called_at`. Raises SourceUnavailable, SourceNeedsPerson."""
    assert submission.called_at is not None
    try:
        if submission.action == Action.CONFIGURE:
            return _judge_settings(client, submission)
        client.fetch_version()  # tells the remote's clock
        started = _fetch_tasks(client, submission)
        if started is None:
            return Unclear("The node's task list is too long to be searched.")
        candidates = [task for task in started if _may_be_ours(task, submission)]
        verdict = _judge_action(client, submission, candidates)
    except SourceRefused as error:
        return Unclear(f"The source refuses to show what came of it: {error}")
    is_early = at < submission.called_at + timedelta(seconds=ABSENCE_SECONDS)
    if is_early and submission.action not in REPEATABLE and not isinstance(verdict, Happened | AlreadyDone):
        return TooEarly()
    return verdict


def is_gone(client: ProxmoxSource, vmid: int) -> bool:
    """Whether the cluster has no guest of that id, also none that the token may not see. Raises SourceError."""
    return all(row.vmid != vmid for row in client.fetch_resources("vm")) and client.is_vmid_free(vmid)


def _judge_action(
    client: ProxmoxSource, submission: Submission, candidates: list[TaskObservation]
) -> Verdict:
    match submission.action:
        case Action.CLONE:
            return _judge_clone(client, submission, candidates)
        case Action.CREATE:
            return _judge(candidates) if candidates else _judge_target(client, submission)
        case Action.DELETE:
            return (
                AlreadyDone() if not candidates and is_gone(client, submission.vmid) else _judge(candidates)
            )
        case Action.RESIZE if candidates:
            # It was called again to be sure; the last of these tasks leaves the disk as ordered.
            return Happened(max(candidates, key=lambda task: (task.started_at, task.remote_id)).remote_id)
    return _judge(candidates)


def _fetch_tasks(client: ProxmoxSource, submission: Submission) -> list[TaskObservation] | None:
    """All tasks of the node that began since the call, by the remote's clock; None when they are too many."""
    assert submission.called_at is not None
    called = submission.called_at.timestamp() + (client.clock_skew_seconds or 0.0)
    since = int(called - CLOCK_SLACK_SECONDS)
    found: dict[str, TaskObservation] = {}
    start = 0
    for _ in range(MAX_PAGES):
        page = client.fetch_node_tasks(submission.node, since=since, start=start, limit=PAGE)
        found |= {task.remote_id: task for task in page.observations}
        start += page.row_count
        if start >= page.total or not page.row_count:
            return [task for task in found.values() if task.started_at.timestamp() >= since]
    return None


def _may_be_ours(task: TaskObservation, submission: Submission) -> bool:
    """Started by our token, of the right type, on the right guest, and not known to be something else."""
    source = submission.source
    if f"{task.user}!{task.token}" != source.token_id or task.object_id != str(submission.vmid):
        return False
    if task.type not in expected_types(submission):
        return False
    others = Submission.objects.filter(source=source, remote_id=task.remote_id).exclude(pk=submission.pk)
    seen_before = Task.objects.filter(
        source=source, remote_id=task.remote_id, seen_at__lt=submission.called_at
    )
    return not others.exists() and not seen_before.exists()


def _judge(candidates: list[TaskObservation]) -> Verdict:
    if len(candidates) == 1:
        return Happened(candidates[0].remote_id)
    if candidates:
        return Unclear(
            f"{len(candidates)} tasks of the portal's token began there at that time; any may be it."
        )
    return NothingHappened()


def _judge_clone(client: ProxmoxSource, submission: Submission, candidates: list[TaskObservation]) -> Verdict:
    """Clones of one template are told apart by the new VMID in the log; one that failed at once names none."""
    silent = []
    for task in candidates:
        new_vmid = read_new_vmid(client, task.node, task.remote_id, task.type)
        if new_vmid == submission.new_vmid:
            return Happened(task.remote_id)
        if new_vmid is None:
            silent.append(task)
    if silent:
        return _judge(silent)
    return _judge_target(client, submission)


def _judge_target(client: ProxmoxSource, submission: Submission) -> Verdict:
    """The new guest without a task of ours that made it is nobody's proof."""
    if any(row.vmid == submission.new_vmid for row in client.fetch_resources("vm")):
        return Unclear(
            f"VMID {submission.new_vmid} exists now, but no task of the portal that made it was found."
        )
    return NothingHappened()


def _judge_settings(client: ProxmoxSource, submission: Submission) -> Verdict:
    """The same settings twice are the settings: what is not yet as ordered is simply sent again."""
    kind: GuestKind = "qemu" if submission.guest_kind == Guest.QEMU else "lxc"
    config = client.fetch_guest_config(kind, submission.node, submission.vmid)
    wanted = ConfigureParameters(**submission.parameters)
    return NothingHappened() if differences(kind, wanted, config) else AlreadyDone()
