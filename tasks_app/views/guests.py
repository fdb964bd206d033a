"""Guests, what can be started on them, and what became of it."""

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.guests import GuestFilterForm, action_form
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Guest, Source, Submission, Task
from tasks_app.services import submissions as service
from tasks_app.views.requests import UserRequest, sent

SHOWN = 200
"""Rows of the list; the search narrows it. A page of 200 rows is about 150 KB."""
Action = Submission.Action


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be started on a guest; `obstacle` says why not, "" when it can."""

    action: Submission.Action
    icon: str
    words: str
    obstacle: str = ""


_OFFERS = (
    Offer(Action.START, "play", "Switch it on."),
    Offer(Action.SHUTDOWN, "power", "Ask the system inside to end; it may take minutes or refuse."),
    Offer(Action.REBOOT, "rotate-cw", "Shut down, then start again."),
    Offer(Action.STOP, "square", "Pull the plug. What the system inside has not written is lost."),
    Offer(Action.SNAPSHOT, "camera", "Keep the state of its disks, to return to."),
    Offer(Action.CLONE, "copy", "Make a new guest like this one."),
)


@require_GET
@login_required
def guests(request: UserRequest) -> HttpResponse:
    """Guests of the visible sources; filters stand in the address."""
    visible = Source.objects.visible_to(request.user)
    form = GuestFilterForm(request.GET, sources=visible)
    found = _filtered(Guest.objects.visible_to(request.user).filter(gone_at__isnull=True), form)
    rows = list(found.select_related("source").order_by("source__name", "vmid")[: SHOWN + 1])
    context = {
        "form": form,
        "guests": rows[:SHOWN],
        "is_cut": len(rows) > SHOWN,
        "limit": SHOWN,
        "is_filtered": any(form.cleaned_data.values()) if form.is_valid() else True,
        "has_sources": visible.exists(),
        "can_add": can(request.user, Verb.ADD_SOURCE),
    }
    return render(request, "guests/_table.html" if request.htmx else "guests/guests.html", context)


@require_GET
@login_required
def guest(request: UserRequest, guest_id: int) -> HttpResponse:
    """What can be started on one guest, and why something cannot."""
    found = _find(request, guest_id)
    may_start = can(request.user, Verb.START, found.source)
    offers = [
        Offer(offer.action, offer.icon, offer.words, _obstacle(found, offer.action, may_start))
        for offer in _OFFERS
    ]
    tasks = Task.objects.filter(source=found.source, vmid=found.vmid).order_by("-started_at")[:5]
    context = {"guest": found, "offers": offers, "tasks": tasks}
    return render(request, "guests/_guest.html" if request.htmx else "guests/guest.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def action(request: UserRequest, guest_id: int, action: str) -> HttpResponse:
    """Ask before something is started; then start it once, however often the button is pressed."""
    if action not in {offer.action for offer in _OFFERS}:
        raise Http404
    found = _find(request, guest_id)
    require(request.user, Verb.START, found.source)
    deed = Action(action)
    form = action_form(deed, found, sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            submission = service.submit_guest_action(
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
    offer = next(offer for offer in _OFFERS if offer.action is deed)
    context = {
        "guest": found,
        "offer": offer,
        "form": form,
        "obstacle": _obstacle(found, deed, may_start=True),
    }
    template = "guests/_action.html" if request.htmx else "guests/action.html"
    return render(request, template, context, status=422 if form.errors else 200)


@require_GET
@login_required
def submission(request: UserRequest, submission_id: int) -> HttpResponse:
    """What became of it; leads on to its task as soon as that is known."""
    found = get_object_or_404(
        Submission.objects.visible_to(request.user).select_related("source"), pk=submission_id
    )
    task = (
        Task.objects.filter(source=found.source, remote_id=found.remote_id).first()
        if found.remote_id
        else None
    )
    if task is not None:
        return _redirect(request, "portal:task", task.pk)
    context = {"submission": found}
    template = "submissions/_submission.html" if request.htmx else "submissions/submission.html"
    return render(request, template, context)


def _filtered(found: QuerySet[Guest], form: GuestFilterForm) -> QuerySet[Guest]:
    if not form.is_valid():
        return found.none()
    for word in form.cleaned_data["q"].split():
        fits = Q(name__icontains=word) | Q(tags__icontains=word) | Q(node__iexact=word) | Q(pool__iexact=word)
        found = found.filter(fits | Q(vmid=int(word)) if word.isdecimal() and len(word) < 10 else fits)
    if form.cleaned_data["source"]:
        found = found.filter(source=form.cleaned_data["source"])
    state = form.cleaned_data["state"]
    if state == "template":
        return found.filter(is_template=True)
    return found.filter(status=state, is_template=False) if state else found


def _obstacle(guest: Guest, action: Submission.Action, may_start: bool) -> str:
    """Why `action` is not possible now, in a sentence; "" when it is."""
    if not may_start:
        return f"Your role on {guest.source} does not allow it."
    return service.obstacle(guest, action)


def _find(request: UserRequest, guest_id: int) -> Guest:
    return get_object_or_404(Guest.objects.visible_to(request.user).select_related("source"), pk=guest_id)


def _redirect(request: UserRequest, name: str, pk: int) -> HttpResponse:
    """To another page, also out of a dialog or a part that asks again and again."""
    answer = redirect(name, pk)
    return HttpResponseClientRedirect(answer["Location"]) if request.htmx else answer
