"""Machines the portal has made: the list, one of them, and what is done with it."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.machines import (
    BackupForm,
    DeleteForm,
    ExtendForm,
    MachineFilterForm,
    RollbackForm,
    TransferForm,
    machine_form,
)
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Machine, Submission
from tasks_app.services import machines as service
from tasks_app.services.machine_calls import guest_of
from tasks_app.sources.errors import SourceError
from tasks_app.views.machines_parts import OFFERS, machine_parts, table_parts
from tasks_app.views.requests import UserRequest, sent

Deed = Submission.Action


@require_GET
@login_required
def machines(request: UserRequest) -> HttpResponse:
    """Machines one may see; filters stand in the address."""
    context = table_parts(request.user, MachineFilterForm(request.GET))
    return render(request, "machines/_table.html" if request.htmx else "machines/machines.html", context)


@require_GET
@login_required
def machine(request: UserRequest, machine_id: int) -> HttpResponse:
    """One machine; htmx gets the part that changes."""
    context = machine_parts(request.user, _find(request, machine_id))
    return render(request, "machines/_machine.html" if request.htmx else "machines/machine.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def action(request: UserRequest, machine_id: int, action: str) -> HttpResponse:
    """Ask before something is started; then start it once, however often the button is pressed."""
    if action not in service.MACHINE_ACTIONS:
        raise Http404
    found, deed = _find_used(request, machine_id), Deed(action)
    form = machine_form(deed, sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            submission = service.submit_machine_action(
                found,
                actor=request.user,
                action=deed,
                parameters=form.parameters(),
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
            )
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            return _redirect(request, "portal:submission", submission.pk)
    return _ask(request, found, deed, form, trouble=_offer_choices(form, found))


@require_http_methods(["GET", "POST"])
@login_required
def delete(request: UserRequest, machine_id: int) -> HttpResponse:
    """Ask for the name, say what goes; then delete, followed on the machine's page."""
    found = _find_used(request, machine_id)
    form = DeleteForm(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            service.delete_machine(
                found,
                actor=request.user,
                typed_name=form.cleaned_data["typed_name"],
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
            )
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            return _redirect(request, "portal:machine", found.pk)
    return _ask(request, found, Deed.DELETE, form)


@require_http_methods(["GET", "POST"])
@login_required
def extend(request: UserRequest, machine_id: int) -> HttpResponse:
    found = _find_used(request, machine_id)
    most = service.most_days(found)
    form = ExtendForm(sent(request), most=most, initial={"days": _usual_days(found, most)})
    if request.method == "POST" and form.is_valid():
        try:
            service.extend_lease(found, actor=request.user, days=form.cleaned_data["days"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"The lease of {found.name} was extended.")
            return _redirect(request, "portal:machine", found.pk)
    return _ask(request, found, None, form, deed="extend")


@require_http_methods(["GET", "POST"])
@login_required
def transfer(request: UserRequest, machine_id: int) -> HttpResponse:
    found = _find_used(request, machine_id)
    members = User.objects.filter(groups=found.team.group_id, is_active=True).order_by("username")
    form = TransferForm(sent(request), members=members, initial={"to": found.owner_id})
    if request.method == "POST" and form.is_valid():
        to = form.cleaned_data["to"]
        try:
            service.transfer_machine(found, actor=request.user, to=to)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"{found.name} belongs to {to.get_username()} now.")
            return _redirect(request, "portal:machine", found.pk)
    return _ask(request, found, None, form, deed="transfer")


def _offer_choices(form: forms.Form, machine: Machine) -> str:
    """Put what can be chosen into the form, asked of the source within the client's time limits; why not, or ""."""
    try:
        if isinstance(form, RollbackForm):
            snapshots = service.fetch_snapshots(machine)
            form.offer(snapshots)
            return "" if snapshots else f"{machine.name} has no snapshots."
        if isinstance(form, BackupForm):
            storages = service.fetch_backup_storages(machine)
            form.offer(storages)
            return "" if storages else f"No storage of node {machine.node} takes backups of the portal."
    except SourceError as error:
        return f"{machine.source.name} could not be asked: {error}"
    return ""


def _ask(
    request: UserRequest,
    machine: Machine,
    action: Submission.Action | None,
    form: forms.Form,
    *,
    trouble: str = "",
    deed: str = "",
) -> HttpResponse:
    """The dialog, or the same as a page. `deed` names what is no call on the guest."""
    guest = guest_of(machine)
    guest.source = machine.source
    context = {
        "machine": machine,
        "guest": guest,
        "form": form,
        "deed": deed or action,
        "offer": next((offer for offer in OFFERS if offer.action == action), None),
        "obstacle": trouble or (service.machine_obstacle(machine, guest, action) if action else ""),
    }
    template = "machines/_deed.html" if request.htmx else "machines/deed.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _usual_days(machine: Machine, most: int) -> int:
    return min((machine.item.lease_days if machine.item else None) or 30, most)


def _find(request: UserRequest, machine_id: int) -> Machine:
    rows = Machine.objects.visible_to(request.user)
    return get_object_or_404(
        rows.select_related("source", "item", "team__group", "owner", "order"), pk=machine_id
    )


def _find_used(request: UserRequest, machine_id: int) -> Machine:
    found = _find(request, machine_id)
    require(request.user, Verb.USE_MACHINE, machine=found)
    return found


def _redirect(request: UserRequest, name: str, pk: int) -> HttpResponse:
    """To another page, also out of a dialog."""
    answer = redirect(name, pk)
    return HttpResponseClientRedirect(answer["Location"]) if request.htmx else answer
