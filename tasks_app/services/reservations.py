"""VMIDs for new guests: reserved in our own table before the call, because Proxmox's next free id reserves nothing."""

import re

from django.db import IntegrityError, transaction

from tasks_app.models import Guest, Submission
from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox import ProxmoxSource

HIGHEST_VMID = 999_999_999
MAX_COLLISIONS = 50
"""Reservations that other processes may make between our reading and our writing."""

# Before the task (VM, CT), and in the task when the id belongs to the other kind of guest.
_TAKEN = re.compile(
    r"config file already exists|(?:VM|CT) \d+ already exists|/\d+\.conf' failed: File exists"
)


def says_vmid_is_taken(text: str) -> bool:
    """Whether a refusal or the error of a clone task means that somebody has the VMID already."""
    return _TAKEN.search(text) is not None


def reserve_vmid(client: ProxmoxSource, submission: Submission, *, above: int = 0) -> None:
    """Reserve a free VMID higher than `above` for `submission`, on its row and in the database. Raises SourceError."""
    vmid = max(client.fetch_next_vmid(), above + 1)
    taken = {row.vmid for row in client.fetch_resources("vm")}
    taken |= set(
        Guest.objects.filter(source=submission.source, gone_at__isnull=True).values_list("vmid", flat=True)
    )
    reserved = Submission.objects.unfinished().filter(source=submission.source).exclude(pk=submission.pk)
    taken |= set(reserved.values_list("new_vmid", flat=True))
    for _ in range(MAX_COLLISIONS):
        while vmid in taken:
            vmid += 1
        if vmid > HIGHEST_VMID:
            break
        try:
            with transaction.atomic():
                mine = Submission.objects.filter(pk=submission.pk, attempts=submission.attempts)
                is_ours = mine.update(new_vmid=vmid)
        except IntegrityError:
            taken.add(vmid)
            continue
        if not is_ours:
            raise SourceUnavailable("Another job has taken this over.", kind="claim_lost")
        submission.new_vmid = vmid
        return
    raise SourceUnavailable("No free VMID could be reserved.", kind="no_vmid")
