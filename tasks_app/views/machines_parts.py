"""What the pages about machines show: rows with the guest as last seen, offers, what is under way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Prefetch, Q
from django.utils.timezone import now

from tasks_app.access.policy import Verb, can, machines_used_by
from tasks_app.forms.machines import MachineFilterForm
from tasks_app.models import Guest, Machine, Stage, Submission, Task
from tasks_app.services import machines as service
from tasks_app.services.machine_calls import guest_of
from tasks_app.services.removal import removal_steps

SHOWN = 200
"""Rows of the list; the search narrows it."""
DEEDS_SHOWN = 15
Deed = Submission.Action


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be done with a machine; `obstacle` says why not, "" when it can."""

    action: Submission.Action
    icon: str
    words: str
    obstacle: str = ""

    @property
    def address(self) -> str:
        """Name of the page that asks for it."""
        return "portal:machine-delete" if self.action is Deed.DELETE else "portal:machine-action"


OFFERS = (
    Offer(Deed.START, "play", "Switch it on."),
    Offer(Deed.SHUTDOWN, "power", "Ask the system inside to end; it may take minutes or refuse."),
    Offer(Deed.REBOOT, "rotate-cw", "Shut down, then start again."),
    Offer(Deed.STOP, "square", "Pull the plug. What the system inside has not written is lost."),
    Offer(Deed.SNAPSHOT, "camera", "Keep the state of its disks, to return to."),
    Offer(Deed.ROLLBACK, "history", "Return to a snapshot. What came after it is lost."),
    Offer(Deed.BACKUP, "archive", "Save all of it on a storage for backups."),
    Offer(Deed.DELETE, "trash-2", "Remove it with its disks, for ever."),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list. `moving` is what is under way on it, in a word."""

    machine: Machine
    guest: Guest | None
    moving: Submission | None
    may_use: bool


def table_parts(person: User, form: MachineFilterForm) -> dict[str, Any]:
    """The list as filtered. A fixed number of queries for any number of rows."""
    visible = Machine.objects.visible_to(person)
    show = form.cleaned_data["show"] if form.is_valid() else "mine"
    found = visible.filter(ended_at__isnull=show != "gone")
    if show == "mine":
        found = found.filter(owner=person)
    found = _search(found, form)
    machines = list(found.select_related("source", "team__group", "owner").order_by("-pk")[: SHOWN + 1])
    rows = _rows(person, machines[:SHOWN])
    return {
        "form": form,
        "show": show,
        "rows": rows,
        "is_cut": len(machines) > SHOWN,
        "limit": SHOWN,
        "is_filtered": not form.is_valid() or bool(form.cleaned_data["q"]),
        "others": 0 if rows or show != "mine" else visible.filter(ended_at__isnull=True).count(),
        "is_moving": any(row.moving or row.machine.is_in_the_making for row in rows),
    }


def machine_parts(person: User, machine: Machine) -> dict[str, Any]:
    """All of one machine's page."""
    guest = guest_of(machine)
    guest.source = machine.source
    may_use = can(person, Verb.USE_MACHINE, machine=machine)
    submissions = _submissions(machine)
    steps = removal_steps(machine)
    return {
        "machine": machine,
        "guest": guest,
        "may_use": may_use,
        "sees_source": can(person, Verb.SEE, machine.source),
        "offers": _offers(machine, guest) if may_use and machine.is_standing else [],
        "submissions": submissions,
        "is_being_deleted": bool(steps),
        "lease_has_ended": machine.expires_at is not None and machine.expires_at <= now(),
        "is_moving": machine.is_in_the_making or bool(steps) or any(not row.is_final for row in submissions),
    }


def _offers(machine: Machine, guest: Guest) -> list[Offer]:
    return [
        replace(offer, obstacle=service.machine_obstacle(machine, guest, offer.action)) for offer in OFFERS
    ]


def _submissions(machine: Machine) -> list[Submission]:
    tasks = Task.objects.select_related("source").defer("raw", "tracker_state", "search_text")
    rows = machine.submissions.prefetch_related(Prefetch("tasks", tasks))
    return list(rows.order_by("-pk")[:DEEDS_SHOWN])


def _search(found: Any, form: MachineFilterForm) -> Any:
    if not form.is_valid():
        return found.none()
    for word in form.cleaned_data["q"].split():
        fits = Q(name__icontains=word) | Q(owner_name__icontains=word) | Q(node__iexact=word)
        fits |= Q(team__group__name__icontains=word)
        if _is_address(word):  # PostgreSQL compares addresses with nothing else
            fits |= Q(static_ip=word)
        if word.isdecimal() and len(word) < 10:
            fits |= Q(vmid=int(word))
        found = found.filter(fits)
    return found


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


def _rows(person: User, machines: Sequence[Machine]) -> list[Row]:
    keys = [machine.pk for machine in machines]
    guests = {
        (guest.source_id, guest.vmid): guest
        for guest in Guest.objects.filter(
            source__in={machine.source_id for machine in machines},
            vmid__in=[machine.vmid for machine in machines if machine.vmid],
        )
    }
    moving = {
        submission.machine_id: submission
        for submission in Submission.objects.unfinished().filter(machine__in=keys).order_by("-pk")
    }
    used = set(machines_used_by(person).filter(pk__in=keys).values_list("pk", flat=True))
    return [
        Row(
            machine,
            guests.get((machine.source_id, machine.vmid or 0)) if machine.stage != Stage.GONE else None,
            moving.get(machine.pk),
            machine.pk in used,
        )
        for machine in machines
    ]
