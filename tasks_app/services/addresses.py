"""The last stage: asking the new guest for its addresses, a few seconds apart, and saying why when there are none."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db import transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.models import Machine, Stage
from tasks_app.services.machine_ends import make_ready
from tasks_app.sources.errors import SourceError, SourceRefused
from tasks_app.sources.proxmox import ProxmoxSource
from tasks_app.sources.proxmox.guests import AddressGap, GuestAddresses
from tasks_app.sources.proxmox.inventory import GuestKind

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
PATIENCE = timedelta(minutes=2)
"""A cloud image boots and starts its agent within one; a person can look at the machine anyway."""
AT_ONCE = 8
"""A silent agent holds its question for 3 s."""
PER_JOB = 64
MAX_NOTE_CHARACTERS = 200


def look_for_addresses(*, client: ProxmoxSource | None = None) -> None:
    """Ask every machine whose turn it is. Each question belongs to one job: it moves the next look before it asks."""
    at = now()
    due = Machine.objects.without_address(at)
    mine = []
    for machine in due.select_related("source", "order")[:PER_JOB]:
        row = Machine.objects.filter(pk=machine.pk, stage=Stage.ADDRESS, next_look_at=machine.next_look_at)
        if row.update(next_look_at=at + timedelta(seconds=AGAIN_SECONDS)):
            mine.append((machine, client or connections.client_of(machine.source)))
    if not mine:
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(mine))) as threads:  # these touch no tables
        answers = threads.map(lambda pair: _ask(*pair), mine)
        for (machine, _), answer in zip(mine, answers, strict=True):
            _note(machine, answer)


def _ask(machine: Machine, client: ProxmoxSource) -> GuestAddresses | SourceError:
    assert machine.vmid is not None
    kind: GuestKind = "qemu" if machine.kind == "qemu" else "lxc"
    try:
        return client.fetch_addresses(kind, machine.node, machine.vmid)
    except SourceError as error:
        return error


def _note(machine: Machine, answer: GuestAddresses | SourceError) -> None:
    is_late = now() - machine.stage_at >= PATIENCE
    if isinstance(answer, GuestAddresses) and answer.addresses:
        _finish(machine, list(answer.addresses), "")
    elif isinstance(answer, GuestAddresses):
        gap = answer.gap or AddressGap.NONE_YET
        if is_late or not gap.may_pass:
            _finish(machine, [], gap.sentence)
    elif is_late or isinstance(answer, SourceRefused):
        logger.info("addresses cannot be read machine=%d kind=%s", machine.pk, answer.kind)
        _finish(machine, [], f"The portal could not ask for it: {answer}")


def _finish(machine: Machine, addresses: list[str], note: str) -> None:
    if not addresses and machine.static_ip:
        addresses, note = [machine.static_ip], f"As ordered; the guest has not confirmed it. {note}"
    with transaction.atomic():
        make_ready(machine, addresses=addresses, note=note[:MAX_NOTE_CHARACTERS])
