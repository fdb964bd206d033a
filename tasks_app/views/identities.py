"""Whose Proxmox users and tokens are, for admins of the portal."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.identities import IdentityForm, PersonForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import KnownIdentity
from tasks_app.services import identities as service
from tasks_app.views.requests import UserRequest, sent

SAVED = "Saved. Tasks that are known already follow within a minute or two."


@require_GET
@login_required
def identities(request: UserRequest) -> HttpResponse:
    """Who is known, and which identities nobody has named."""
    require(request.user, Verb.MANAGE_PEOPLE)
    known = KnownIdentity.objects.select_related("source", "person")
    context = {"known": known, "unknown": service.find_unknown(), "looked_at": service.LOOKED_AT}
    return render(request, "identities/identities.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def add(request: UserRequest) -> HttpResponse:
    """One more; the address may bring the identity along."""
    require(request.user, Verb.MANAGE_PEOPLE)
    given = {name: request.GET.get(name, "") for name in ("source", "remote_user", "remote_token")}
    form = IdentityForm(sent(request), initial=given)
    if request.method == "POST" and form.is_valid():
        try:
            service.add_identity(actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, SAVED)
            return redirect("portal:identities")
    return _form(request, form)


@require_http_methods(["GET", "POST"])
@login_required
def change(request: UserRequest, identity_id: int) -> HttpResponse:
    """It is somebody else."""
    require(request.user, Verb.MANAGE_PEOPLE)
    identity = get_object_or_404(KnownIdentity.objects.select_related("source"), pk=identity_id)
    form = PersonForm(sent(request), initial={"person_name": identity.person_name})
    if request.method == "POST" and form.is_valid():
        try:
            service.change_identity(identity, actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, SAVED)
            return redirect("portal:identities")
    return _form(request, form, identity)


@require_POST
@login_required
def remove(request: UserRequest, identity_id: int) -> HttpResponse:
    """Nobody knows any more."""
    require(request.user, Verb.MANAGE_PEOPLE)
    identity = get_object_or_404(KnownIdentity.objects.select_related("source"), pk=identity_id)
    service.remove_identity(identity, actor=request.user)
    messages.success(request, SAVED)
    return redirect("portal:identities")


def _form(request: UserRequest, form: forms.Form, identity: KnownIdentity | None = None) -> HttpResponse:
    people = User.objects.filter(is_active=True).order_by("username").values_list("username", flat=True)
    context = {"form": form, "identity": identity, "people": people[:500]}
    return render(request, "identities/form.html", context, status=422 if form.errors else 200)
