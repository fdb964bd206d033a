"""People and their roles, for admins of the whole portal."""

from typing import Any

from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Prefetch
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.people import AddPersonForm, ChangePersonForm, GrantForm, PasswordForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Grant
from tasks_app.services import people as service
from tasks_app.views.requests import UserRequest, sent

_GRANTS = Prefetch("grants", Grant.objects.select_related("source").order_by("source__name", "role"))
_SWITCHES: dict[str, Any] = {
    "activate": {"is_active": True},
    "deactivate": {"is_active": False},
    "promote": {"is_superuser": True},
    "demote": {"is_superuser": False},
}


@require_GET
@login_required
def people(request: UserRequest) -> HttpResponse:
    """Everybody, who is active first."""
    require(request.user, Verb.MANAGE_PEOPLE)
    everybody = User.objects.prefetch_related(_GRANTS).order_by("-is_active", "username")
    return render(request, "people/people.html", {"people": everybody})


@require_http_methods(["GET", "POST"])
@login_required
@sensitive_post_parameters("password")
def add(request: UserRequest) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    form = AddPersonForm(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            person = service.add_person(actor=request.user, **form.cleaned_data)
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"{person} can sign in. Give them a role, else they see nothing.")
            return redirect("portal:person", person.pk)
    return render(request, "people/add.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
@login_required
def person(request: UserRequest, person_id: int) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    return _show(request, _find(person_id))


@require_POST
@login_required
def change(request: UserRequest, person_id: int) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    person = _find(person_id)
    form = ChangePersonForm(request.POST)
    if not form.is_valid():
        return _show(request, person, form=form)
    service.change_person(person, actor=request.user, email=form.cleaned_data["email"])
    messages.success(request, "Saved.")
    return redirect("portal:person", person_id)


@require_POST
@login_required
def switch(request: UserRequest, person_id: int, what: str) -> HttpResponse:
    """Switch an account on or off, or make somebody a superuser or not."""
    require(request.user, Verb.MANAGE_PEOPLE)
    if what not in _SWITCHES:
        raise Http404
    service.change_person(_find(person_id), actor=request.user, **_SWITCHES[what])
    messages.success(request, "Saved.")
    return redirect("portal:person", person_id)


@require_POST
@login_required
@sensitive_post_parameters("password")
def password(request: UserRequest, person_id: int) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    person = _find(person_id)
    form = PasswordForm(request.POST)
    if form.is_valid():
        try:
            service.set_password(person, actor=request.user, password=form.cleaned_data["password"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"{person} has a new password; their sessions have ended.")
            return redirect("portal:person", person_id)
    return _show(request, person, password_form=form)


@require_POST
@login_required
def second_factor(request: UserRequest, person_id: int) -> HttpResponse:
    """They have lost it."""
    require(request.user, Verb.MANAGE_PEOPLE)
    person = _find(person_id)
    service.remove_second_factor(person, actor=request.user)
    messages.success(request, f"{person} signs in with the password alone until they set up another factor.")
    return redirect("portal:person", person_id)


@require_POST
@login_required
def grant(request: UserRequest, person_id: int) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    person = _find(person_id)
    form = GrantForm(request.POST)
    if not form.is_valid():
        return _show(request, person, grant_form=form)
    service.grant_role(person, actor=request.user, **form.cleaned_data)
    return redirect("portal:person", person_id)


@require_POST
@login_required
def revoke(request: UserRequest, person_id: int, grant_id: int) -> HttpResponse:
    require(request.user, Verb.MANAGE_PEOPLE)
    role = get_object_or_404(Grant.objects.select_related("user", "source"), pk=grant_id, user_id=person_id)
    service.revoke_role(role, actor=request.user)
    return redirect("portal:person", person_id)


def _find(person_id: int) -> User:
    return get_object_or_404(User.objects.prefetch_related(_GRANTS), pk=person_id)


def _show(request: UserRequest, person: User, **forms_with_errors: forms.Form) -> HttpResponse:
    context: dict[str, Any] = {
        "person": person,
        "is_self": person == request.user,
        "has_second_factor": Authenticator.objects.filter(user=person).exists(),
        "may_change": request.user.is_superuser or not person.is_superuser,
        "may_promote": request.user.is_superuser,
        "form": ChangePersonForm(initial={"email": person.email}),
        "password_form": PasswordForm(),
        "grant_form": GrantForm(),
    }
    return render(
        request, "people/person.html", context | forms_with_errors, status=422 if forms_with_errors else 200
    )
