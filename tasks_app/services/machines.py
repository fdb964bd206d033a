"""What people do with machines the portal has made: power, snapshots, backups, delete, lease, owner.

Each deed on a guest is a submission, followed as a task. Deleting takes several calls, see `removal.py`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, Refused, SourcePaused
from tasks_app.models import Guest, Machine, Source, Submission
from tasks_app.services.guest_actions import missing_privilege, parse_action
from tasks_app.services.lease_times import told_at_first
from tasks_app.services.machine_calls import guest_of, write_submission
from tasks_app.services.notices import notify
from tasks_app.services.removal import begin_removal, removal_steps
from tasks_app.services.submissions import MAX_KEY_CHARACTERS
from tasks_app.services.submissions import obstacle as guest_obstacle
from tasks_app.sources.proxmox import ProxmoxSource, Snapshot
from tasks_app.sources.proxmox.inventory import GuestKind
from tasks_app.sources.proxmox.permissions import parse_permissions

Deed = Submission.Action
MACHINE_ACTIONS = (
    Deed.START,
    Deed.SHUTDOWN,
    Deed.REBOOT,
    Deed.STOP,
    Deed.SNAPSHOT,
    Deed.ROLLBACK,
    Deed.BACKUP,
)
DAYS_WITHOUT_LIMIT = 3650
"""Where the item sets no longest lease: nobody plans further."""
DAYS_WITHOUT_ITEM = 30
"""The item that limited it has been removed: long enough to speak with an admin."""


def submit_machine_action(
    machine: Machine, *, actor: User, action: str, parameters: Mapping[str, Any], idempotency_key: str
) -> Submission:
    """Ask for `action` on the guest of `machine`. The same key of the same person gives the first submission again.

    Raises NotPermitted, SourcePaused, Refused (not in this state), InvalidInput (action, idempotency_key, a parameter).
    """
    require(actor, Verb.USE_MACHINE, machine=machine)
    if known := _known(actor, idempotency_key):
        return known
    chosen = parse_action(action)
    if chosen not in MACHINE_ACTIONS:
        raise InvalidInput(action="This is not done here.")
    try:
        with transaction.atomic():
            row = _lock(machine)
            trouble = _trouble(row, chosen)
            if trouble:
                raise Refused(trouble)
            submission = write_submission(
                row,
                guest_of(row),
                asked_by=actor,
                action=chosen,
                parameters=parameters,
                idempotency_key=idempotency_key,
            )
            record(
                Action.MACHINE_ACTION,
                actor=actor,
                target=row,
                action_name=chosen.value,
                submission=submission.pk,
                parameters=submission.parameters,
            )
    except IntegrityError:  # the same click arrived twice at the same moment
        return Submission.objects.get(actor=actor, idempotency_key=idempotency_key)
    return submission


def delete_machine(machine: Machine, *, actor: User, typed_name: str, idempotency_key: str) -> Submission:
    """Delete the guest with its disks: stopped first when it runs, then removed, each a submission. The first of them.

    Raises NotPermitted, SourcePaused, Refused, InvalidInput (typed_name, idempotency_key).
    """
    require(actor, Verb.USE_MACHINE, machine=machine)
    if known := _known(actor, idempotency_key):
        return known
    if typed_name.strip() != machine.name:
        raise InvalidInput(typed_name=f"Type {machine.name} to confirm.")
    try:
        with transaction.atomic():
            row = _lock(machine)
            trouble = _trouble(row, Deed.DELETE)
            if trouble:
                raise Refused(trouble)
            submission = begin_removal(row, asked_by=actor, idempotency_key=idempotency_key)
            record(Action.MACHINE_DELETE, actor=actor, target=row, submission=submission.pk, node=row.node)
    except IntegrityError:
        return Submission.objects.get(actor=actor, idempotency_key=idempotency_key)
    return submission


@transaction.atomic
def extend_lease(machine: Machine, *, actor: User, days: int) -> None:
    """Let the lease end `days` from now. Reminders begin anew, and a deletion that was only announced is off.

    Raises NotPermitted, Refused (no lease, being deleted), InvalidInput (days).
    """
    require(actor, Verb.USE_MACHINE, machine=machine)
    row = _lock(machine)
    if not row.is_standing:
        raise Refused(f"{row.name} does not exist any more.")
    if row.expires_at is None:
        raise Refused(f"{row.name} has no lease: it may stay.")
    if removal_steps(row):
        raise Refused(f"{row.name} is being deleted.")
    most = most_days(row)
    if not 1 <= days <= most:
        raise InvalidInput(days=f"Choose 1 to {most} days from now.")
    until = now() + timedelta(days=days)
    if until <= row.expires_at:
        raise InvalidInput(days="It already lasts longer than that.")
    before = row.expires_at
    Machine.objects.filter(pk=row.pk).update(
        expires_at=until, reminded_days=told_at_first(timedelta(days=days)), delete_at=None
    )
    record(
        Action.MACHINE_EXTEND,
        actor=actor,
        target=row,
        days=days,
        before=before.isoformat(),
        after=until.isoformat(),
    )


@transaction.atomic
def transfer_machine(machine: Machine, *, actor: User, to: User) -> None:
    """Make `to`, a member of the machine's team, its owner. Asking for the present owner changes nothing.

    Raises NotPermitted, Refused, InvalidInput (to).
    """
    require(actor, Verb.USE_MACHINE, machine=machine)
    row = _lock(machine)
    if row.ended_at is not None:
        raise Refused(f"{row.name} does not exist any more.")
    if not to.is_active or not row.team.group.user_set.filter(pk=to.pk).exists():
        raise InvalidInput(to=f"{to.get_username()} is no member of {row.team}.")
    if row.owner_id == to.pk:
        return
    before = row.owner_name
    Machine.objects.filter(pk=row.pk).update(owner=to, owner_name=to.get_username())
    record(Action.MACHINE_TRANSFER, actor=actor, target=row, before=before, after=to.get_username())
    said = f"{actor.get_username()} made {to.get_username()} the owner of {row.name}."
    others = [person for person in (to, row.owner) if person != actor]
    notify(others, key=f"transfer-{row.pk}-{now():%Y%m%dT%H%M%S%f}", text=said, path=f"/machines/{row.pk}/")


def most_days(machine: Machine) -> int:
    """How many days from now its lease may be extended to."""
    if machine.item is None:
        return DAYS_WITHOUT_ITEM
    return machine.item.max_lease_days or DAYS_WITHOUT_LIMIT


def machine_obstacle(machine: Machine, guest: Guest, action: Submission.Action) -> str:
    """Why `action` would not work now, as far as the last pass knows; "" when nothing speaks against it. For pages."""
    trouble = _state_trouble(machine, action)
    if trouble:
        return trouble
    if action is not Deed.DELETE:
        return guest_obstacle(guest, action)
    if machine.source.paused_at is not None:
        return f"{machine.source.name} is paused: nothing is sent to it."
    if guest.gone_at is not None:
        return f"{guest} does not exist any more."
    if guest.lock:
        return f"{guest} is locked ({guest.lock})."
    needed = [Deed.DELETE] if guest.status == "stopped" else [Deed.DELETE, Deed.STOP]
    lacks = (
        missing_privilege(deed, machine.source, vmid=guest.vmid, pool=guest.pool or pool_of(machine))
        for deed in needed
    )
    return next((words for words in lacks if words), "")


def pool_of(machine: Machine) -> str:
    """The pool its item puts machines into; "" when the item is gone or names none."""
    return machine.item.pool if machine.item is not None else ""


def fetch_snapshots(machine: Machine, *, client: ProxmoxSource | None = None) -> list[Snapshot]:
    """Asks the source, oldest first; for the dialog that rolls back. Raises SourceError within the client's limits."""
    guest = guest_of(machine)
    kind: GuestKind = "qemu" if guest.kind == Guest.QEMU else "lxc"
    return (client or connections.client_of(machine.source)).fetch_snapshots(kind, guest.node, guest.vmid)


def fetch_backup_storages(machine: Machine, *, client: ProxmoxSource | None = None) -> list[str]:
    """Names of storages that take backups of the token, as the machine's node reaches them. Raises SourceError."""
    client = client or connections.client_of(machine.source)
    storages = client.fetch_storages_by_node().get(guest_of(machine).node, {})
    permissions = parse_permissions(machine.source.permissions)
    return sorted(
        name
        for name, storage in storages.items()
        if "backup" in storage.content
        and (
            machine.source.permissions_at is None
            or permissions.allows(f"/storage/{name}", "Datastore.AllocateSpace")
        )
    )


def _known(actor: User, idempotency_key: str) -> Submission | None:
    if not 0 < len(idempotency_key) <= MAX_KEY_CHARACTERS:
        raise InvalidInput(idempotency_key="The key is missing or too long.")
    return Submission.objects.filter(actor=actor, idempotency_key=idempotency_key).first()


def _lock(machine: Machine) -> Machine:
    """The row as it is now, held until the end of the transaction."""
    rows = Machine.objects.select_for_update(of=("self",)).select_related("source", "item", "team", "owner")
    return rows.get(pk=machine.pk)


def _trouble(machine: Machine, action: Submission.Action) -> str:
    source: Source = machine.source
    if source.paused_at is not None:
        raise SourcePaused(f"{source.name} is paused: nothing is sent to it.")
    return _state_trouble(machine, action)


def _state_trouble(machine: Machine, action: Submission.Action) -> str:
    """What the machine itself says against `action`; the guest's state is the source's to judge."""
    if machine.is_in_the_making:
        return f"{machine.name} is still being made."
    if not machine.is_standing:
        return f"{machine.name} does not exist any more."
    if removal_steps(machine):
        return f"{machine.name} is being deleted."
    starts = action in (Deed.START, Deed.REBOOT)
    if starts and machine.expires_at is not None and machine.expires_at <= now():
        return "Its lease has ended. Extend it first."
    return ""
