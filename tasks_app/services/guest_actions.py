"""What can be started on a guest: which parameters each deed takes, and which call and which task it becomes."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from tasks_app.errors import InvalidInput
from tasks_app.models import Guest, Source, Submission
from tasks_app.services.guest_parameters import (
    BackupParameters,
    CloneParameters,
    ConfigureParameters,
    CreateParameters,
    DeleteParameters,
    Parameters,
    PowerParameters,
    ResizeParameters,
    RollbackParameters,
    SnapshotParameters,
    Target,
)
from tasks_app.services.guest_settings import network_card, settings_to_send
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.inventory import GuestKind
from tasks_app.sources.proxmox.permissions import parse_permissions

Action = Submission.Action

# The worker type without its prefix; for an HA guest the HA stack's request comes instead.
_TYPES: dict[str, tuple[str, frozenset[str]]] = {
    Action.START: ("start", frozenset({"hastart"})),
    Action.STOP: ("stop", frozenset({"hastop"})),
    Action.SHUTDOWN: ("shutdown", frozenset({"hashutdown", "hastop"})),
    Action.REBOOT: ("reboot", frozenset()),
    Action.SNAPSHOT: ("snapshot", frozenset()),
    Action.CLONE: ("clone", frozenset()),
    Action.CREATE: ("create", frozenset()),
    Action.CONFIGURE: ("config", frozenset()),
    Action.RESIZE: ("resize", frozenset()),
    Action.ROLLBACK: ("rollback", frozenset()),
    Action.BACKUP: ("vzdump", frozenset()),
    Action.DELETE: ("destroy", frozenset()),
}
_SAME_FOR_BOTH_KINDS = frozenset({Action.RESIZE, Action.BACKUP})
MAKES_GUEST = frozenset({Action.CLONE, Action.CREATE})
"""Deeds that need a new VMID."""
WITHOUT_TASK = frozenset({Action.CONFIGURE})
"""Deeds that are over when the call returns."""
REPEATABLE = frozenset({Action.CONFIGURE, Action.RESIZE})
"""Deeds that name a goal: done twice they leave what done once leaves."""
_POWER = frozenset({Action.START, Action.STOP, Action.SHUTDOWN, Action.REBOOT})

# What the token needs on /vms/{vmid}, as the source asks for it first.
PRIVILEGES: dict[str, str] = {
    **dict.fromkeys(_POWER, "VM.PowerMgmt"),
    Action.SNAPSHOT: "VM.Snapshot",
    Action.CLONE: "VM.Clone",
    Action.CREATE: "VM.Allocate",
    Action.CONFIGURE: "VM.Config.Options",
    Action.RESIZE: "VM.Config.Disk",
    Action.ROLLBACK: "VM.Snapshot|VM.Snapshot.Rollback",
    Action.BACKUP: "VM.Backup",
    Action.DELETE: "VM.Allocate",
}


_PARAMETERS: dict[str, type[Parameters]] = {
    **dict.fromkeys(_POWER, PowerParameters),
    Action.SNAPSHOT: SnapshotParameters,
    Action.CLONE: CloneParameters,
    Action.CREATE: CreateParameters,
    Action.CONFIGURE: ConfigureParameters,
    Action.RESIZE: ResizeParameters,
    Action.ROLLBACK: RollbackParameters,
    Action.BACKUP: BackupParameters,
    Action.DELETE: DeleteParameters,
}
_FORMS: dict[Any, type] = {bool: bool, int: int, str: str}


def parse_action(text: str) -> Submission.Action:
    try:
        return Action(text)
    except ValueError:
        raise InvalidInput(action=f"There is no action “{text}”.") from None


def parse_parameters(action: Submission.Action, target: Target, given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete, checked parameters of `action` as JSON. Raises InvalidInput for the field that is wrong.

    `target` is the guest's row, or a `NewGuest` where no pass has seen it yet.
    """
    kind = _PARAMETERS[action]
    known = {field.name: field for field in fields(kind)}
    for name in given:
        if name not in known:
            raise InvalidInput(**{str(name): f"“{name}” is no parameter of this action."})
    for name, field in known.items():
        if name not in given and field.default is MISSING:
            raise InvalidInput(**{name: "This is needed."})
        if name in given and type(given[name]) is not _FORMS[field.type]:  # True is no number
            raise InvalidInput(**{name: "This has the wrong form."})
    parameters = kind(**given)
    parameters.check(target)
    return asdict(parameters)


def unfitness(action: Submission.Action, guest: Guest) -> str:
    """Why the state of the guest, as last seen, does not fit `action`; "" when it does."""
    if guest.is_template and action is not Action.CLONE:
        return "This is a template: it can only be cloned."
    if guest.lock:
        return f"{guest} is locked ({guest.lock})."
    if action is Action.START and guest.status == "running":
        return "It is running already."
    if action in (Action.STOP, Action.SHUTDOWN, Action.REBOOT) and guest.status == "stopped":
        return "It is not running."
    if action is Action.DELETE and guest.status == "running":
        return "It is running: stop it first."
    return ""


def missing_privilege(action: Submission.Action, source: Source, *, vmid: int, pool: str = "") -> str:
    """The sentence that names what the source's token lacks for `action`; "" when it may, or when nobody knows.

    Rights on a guest often come through its `pool`; the source's permissions may be older than the guest.
    """
    if source.permissions_at is None:
        return ""
    permissions, privilege = parse_permissions(source.permissions), PRIVILEGES[action]
    paths = [f"/vms/{vmid}"] + ([f"/pool/{pool}"] if pool else [])
    if any(permissions.allows(path, privilege) for path in paths):
        return ""
    names = privilege.replace("|", " or ")
    return f"The token {source.token_id} lacks {names} on {paths[-1]}."


def main_type(submission: Submission) -> str:
    """The worker type of the task it becomes: `qmstart`, `vzclone`. A deed without a task is named alike."""
    word = _TYPES[submission.action][0]
    if submission.action in _SAME_FOR_BOTH_KINDS:
        return word
    return ("qm" if submission.guest_kind == Guest.QEMU else "vz") + word


def expected_types(submission: Submission) -> frozenset[str]:
    """Every worker type its task may have; none for a deed without a task."""
    if submission.action in WITHOUT_TASK:
        return frozenset()
    return _TYPES[submission.action][1] | {main_type(submission)}


def send(client: ProxmoxSource, submission: Submission) -> str:
    """Make the one call of `submission`; the UPID, "" for a deed that is over without a task.

    Raises OutcomeUnknown when it may or may not have happened.
    """
    kind: GuestKind = "qemu" if submission.guest_kind == Guest.QEMU else "lxc"
    where = (kind, submission.node, submission.vmid)
    if submission.action in _POWER:
        return _send_power(client, submission.action, where)
    match submission.action:
        case Action.SNAPSHOT:
            return client.create_snapshot(*where, **submission.parameters)
        case Action.ROLLBACK:
            return client.rollback_snapshot(*where, **submission.parameters)
        case Action.BACKUP:
            return client.backup_guest(submission.node, submission.vmid, **submission.parameters)
        case Action.CLONE:
            assert submission.new_vmid is not None
            return client.clone_guest(*where, new_vmid=submission.new_vmid, **submission.parameters)
        case Action.CREATE:
            return _create(client, submission)
        case Action.CONFIGURE:
            values, removed = settings_to_send(kind, ConfigureParameters(**submission.parameters))
            client.configure_guest(*where, values, remove=removed)
            return ""
        case Action.RESIZE:
            return client.resize_disk(*where, **submission.parameters)
        case Action.DELETE:
            return client.delete_guest(*where)
    raise AssertionError(f"no call for {submission.action}")


def _send_power(client: ProxmoxSource, action: str, where: tuple[GuestKind, str, int]) -> str:
    match action:
        case Action.START:
            return client.start_guest(*where)
        case Action.STOP:
            return client.stop_guest(*where)
        case Action.SHUTDOWN:
            return client.shutdown_guest(*where)
    return client.reboot_guest(*where)


def _create(client: ProxmoxSource, submission: Submission) -> str:
    assert submission.new_vmid is not None
    wanted = CreateParameters(**submission.parameters)
    return client.create_container(
        submission.node,
        submission.new_vmid,
        ostemplate=wanted.ostemplate,
        storage=wanted.storage,
        disk_gb=wanted.disk_gb,
        hostname=wanted.name,
        cores=wanted.cores,
        memory_mb=wanted.memory_mb,
        swap_mb=wanted.swap_mb,
        network=network_card(wanted),
        ssh_keys=wanted.ssh_keys,
        pool=wanted.pool,
        description=wanted.description,
        tags=wanted.tags,
    )
