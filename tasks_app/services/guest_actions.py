"""What can be started on a guest: which parameters each deed takes, and which call and which task it becomes."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from tasks_app.errors import InvalidInput
from tasks_app.models import Guest, Submission
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.inventory import GuestKind

Action = Submission.Action

SNAPSHOT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
MAX_HOST_NAME_CHARACTERS = 63
"""Proxmox takes 300 characters; a guest with more than 63 cannot set its own host name (Linux: 64 with the NUL)."""
MAX_DESCRIPTION_CHARACTERS = 8192
_RESERVED_SNAPSHOTS = frozenset({"current", "pending"})
_IDENTIFIER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,99})")

# The worker type without its prefix; for an HA guest the HA stack's request comes instead.
_TYPES: dict[str, tuple[str, frozenset[str]]] = {
    Action.START: ("start", frozenset({"hastart"})),
    Action.STOP: ("stop", frozenset({"hastop"})),
    Action.SHUTDOWN: ("shutdown", frozenset({"hashutdown", "hastop"})),
    Action.REBOOT: ("reboot", frozenset()),
    Action.SNAPSHOT: ("snapshot", frozenset()),
    Action.CLONE: ("clone", frozenset()),
}
_POWER = frozenset({Action.START, Action.STOP, Action.SHUTDOWN, Action.REBOOT})

# What the token needs on /vms/{vmid}, as the source asks for it first.
PRIVILEGES: dict[str, str] = {
    **dict.fromkeys(_POWER, "VM.PowerMgmt"),
    Action.SNAPSHOT: "VM.Snapshot",
    Action.CLONE: "VM.Clone",
}


@dataclass(frozen=True, slots=True)
class PowerParameters:
    """Nothing besides the guest."""

    def check(self, guest: Guest) -> None:
        if guest.is_template:
            raise InvalidInput(action="A template cannot be started or stopped.")


@dataclass(frozen=True, slots=True)
class SnapshotParameters:
    name: str
    description: str = ""

    def check(self, guest: Guest) -> None:
        if not SNAPSHOT_NAME.fullmatch(self.name):
            raise InvalidInput(name="Use 2 to 40 letters, digits, - and _, beginning with a letter.")
        if self.name.lower() in _RESERVED_SNAPSHOTS:
            raise InvalidInput(name=f"Proxmox keeps the name “{self.name}” for itself.")
        _check_description(self.description)


@dataclass(frozen=True, slots=True)
class CloneParameters:
    """A clone on the guest's own node. `storage` and `pool` may be empty: beside the original, in no pool."""

    name: str
    full: bool = True
    storage: str = ""
    pool: str = ""
    description: str = ""

    def check(self, guest: Guest) -> None:
        if len(self.name) > MAX_HOST_NAME_CHARACTERS or not HOST_NAME.fullmatch(self.name):
            raise InvalidInput(
                name=f"Use at most {MAX_HOST_NAME_CHARACTERS} letters, digits and -, in parts joined by dots."
            )
        if not self.full and not guest.is_template:
            raise InvalidInput(full="Only templates can be cloned as linked clones.")
        if not self.full and self.storage:
            raise InvalidInput(
                storage="A linked clone lies beside its template; a storage needs a full clone."
            )
        for field, value in (("storage", self.storage), ("pool", self.pool)):
            if value and not _IDENTIFIER.fullmatch(value):
                raise InvalidInput(**{field: f"“{value}” is not a name that Proxmox knows."})
        _check_description(self.description)


Parameters = PowerParameters | SnapshotParameters | CloneParameters
_PARAMETERS: dict[str, type[Parameters]] = {
    **dict.fromkeys(_POWER, PowerParameters),
    Action.SNAPSHOT: SnapshotParameters,
    Action.CLONE: CloneParameters,
}


def parse_action(text: str) -> Submission.Action:
    try:
        return Action(text)
    except ValueError:
        raise InvalidInput(action=f"There is no action “{text}”.") from None


def parse_parameters(action: Submission.Action, guest: Guest, given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete, checked parameters of `action` as JSON. Raises InvalidInput for the field that is wrong."""
    kind = _PARAMETERS[action]
    known = {field.name: field for field in fields(kind)}
    for name in given:
        if name not in known:
            raise InvalidInput(**{str(name): f"“{name}” is no parameter of this action."})
    for name, field in known.items():
        if name not in given and field.default is MISSING:
            raise InvalidInput(**{name: "This is needed."})
        if name in given and not isinstance(given[name], bool if field.type is bool else str):
            raise InvalidInput(**{name: "This has the wrong form."})
    parameters = kind(**given)
    parameters.check(guest)
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
    return ""


def main_type(submission: Submission) -> str:
    """The worker type of the task it becomes: `qmstart`, `vzclone`."""
    return ("qm" if submission.guest_kind == Guest.QEMU else "vz") + _TYPES[submission.action][0]


def expected_types(submission: Submission) -> frozenset[str]:
    """Every worker type its task may have."""
    return _TYPES[submission.action][1] | {main_type(submission)}


def send(client: ProxmoxSource, submission: Submission) -> str:
    """Make the one call of `submission`; the UPID. Raises OutcomeUnknown when it may or may not have happened."""
    kind: GuestKind = "qemu" if submission.guest_kind == Guest.QEMU else "lxc"
    where = (kind, submission.node, submission.vmid)
    match submission.action:
        case Action.START:
            return client.start_guest(*where)
        case Action.STOP:
            return client.stop_guest(*where)
        case Action.SHUTDOWN:
            return client.shutdown_guest(*where)
        case Action.REBOOT:
            return client.reboot_guest(*where)
        case Action.SNAPSHOT:
            return client.create_snapshot(*where, **submission.parameters)
        case Action.CLONE:
            assert submission.new_vmid is not None
            return client.clone_guest(*where, new_vmid=submission.new_vmid, **submission.parameters)
    raise AssertionError(f"no call for {submission.action}")


def _check_description(text: str) -> None:
    if len(text) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidInput(description=f"Use at most {MAX_DESCRIPTION_CHARACTERS} characters.")
    if any(not c.isprintable() and c not in "\r\n\t" for c in text):
        raise InvalidInput(description="The description holds characters that cannot be shown.")
