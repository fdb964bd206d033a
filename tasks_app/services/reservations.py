"""VMIDs for new guests: reserved in our own tables before the call, because Proxmox's next free id reserves nothing."""

import re

from django.db import IntegrityError, transaction

from tasks_app.models import Guest, Machine, Submission
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox import ProxmoxSource

LOWEST_VMID, HIGHEST_VMID = 100, 999_999_999
MAX_COLLISIONS = 50
"""Ids that others take between our reading and our writing, or that belong to guests the token may not see."""

# Before the task (VM, CT), and in the task when the id belongs to the other kind of guest.
_TAKEN = re.compile(
    r"config file already exists|(?:VM|CT) \d+ already exists|/\d+\.conf' failed: File exists"
)


def says_vmid_is_taken(text: str) -> bool:
    """Whether a refusal or the error of a clone task means that somebody has the VMID already."""
    return _TAKEN.search(text) is not None


def reserve_vmid(client: ProxmoxSource, submission: Submission, *, above: int = 0) -> None:
    """Reserve a VMID higher than `above` for `submission`, on its row, its machine and in the database.

    A VMID promised to its machine is taken before any other, and the range of the machine's item is kept. Raises
    SourceError, also when the row has gone into other hands: then nothing is changed.
    """
    lowest, highest = _range_of(submission.machine)
    promised = submission.machine.vmid if submission.machine is not None else None
    if promised is not None and promised > above and _write(submission, promised):
        return
    hint = client.fetch_next_vmid()
    vmid = max(hint, lowest, above + 1)
    taken = {row.vmid for row in client.fetch_resources("vm")} | _reserved(submission)
    for _ in range(MAX_COLLISIONS):
        while vmid in taken:
            vmid += 1
        if vmid > highest:
            raise SourceUnavailable(f"All VMIDs from {lowest} to {highest} are taken.", kind="no_vmid")
        if (vmid == hint or client.is_vmid_free(vmid)) and _write(submission, vmid):
            return
        taken.add(vmid)
    raise SourceUnavailable("No free VMID could be reserved.", kind="no_vmid")


def _range_of(machine: Machine | None) -> tuple[int, int]:
    if machine is None or machine.item is None:
        return LOWEST_VMID, HIGHEST_VMID
    return max(machine.item.vmid_from, LOWEST_VMID), min(machine.item.vmid_to, HIGHEST_VMID)


def _reserved(submission: Submission) -> set[int | None]:
    """Ids of guests as last seen, of open submissions and of machines, but not those of `submission` itself."""
    source = submission.source_id
    guests = Guest.objects.filter(source=source, gone_at__isnull=True)
    submissions = Submission.objects.unfinished().filter(source=source).exclude(pk=submission.pk)
    machines = Machine.objects.filter(source=source, ended_at__isnull=True)
    if submission.machine_id is not None:
        machines = machines.exclude(pk=submission.machine_id)
    return {
        *guests.values_list("vmid", flat=True),
        *submissions.values_list("new_vmid", flat=True),
        *machines.values_list("vmid", flat=True),
    }


def _write(submission: Submission, vmid: int) -> bool:
    """False when somebody reserved it first. Raises SourceUnavailable when the row has gone into other hands."""
    values = {"new_vmid": vmid}
    if submission.action == Submission.Action.CREATE:
        values["vmid"] = vmid  # nothing is cloned: the guest it is about is the new one
    mine = Submission.objects.unfinished().filter(
        pk=submission.pk, attempts=submission.attempts, answered_at__isnull=True
    )
    try:
        with transaction.atomic():
            if not mine.update(**values):
                raise SourceUnavailable("Another job has taken this over.", kind="claim_lost")
            if submission.machine_id is not None:
                Machine.objects.filter(pk=submission.machine_id).update(vmid=vmid)
    except IntegrityError:
        return False
    for name, value in values.items():
        setattr(submission, name, value)
    if submission.machine is not None:
        submission.machine.vmid = vmid
    return True
