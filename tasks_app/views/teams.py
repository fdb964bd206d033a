"""Teams: lists and pages for their members and readers, and what admins of the portal or of a team change."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput, Refused
from tasks_app.forms.refusals import show_refusal
from tasks_app.forms.teams import GrantItemForm, MemberForm, QuotaForm, TeamForm
from tasks_app.models import CatalogItem, Machine, Team
from tasks_app.services import generation_quotas, quotas
from tasks_app.services import teams as service
from tasks_app.views.requests import UserRequest, sent


@require_GET
@login_required
def teams(request: UserRequest) -> HttpResponse:
    """Teams that this person is in, or all of them for who reads or sets them up."""
    require(request.user, Verb.SEE_TEAM)
    rows = Team.objects.visible_to(request.user).select_related("group")
    counted = rows.annotate(
        member_count=Count("group__user", distinct=True),
        item_count=Count("items", distinct=True),
        machine_count=Count("machines", filter=Q(machines__ended_at__isnull=True), distinct=True),
    )
    context = {"teams": counted.order_by("group__name"), "can_add": can(request.user, Verb.SET_UP_TEAM)}
    return render(request, "teams/teams.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def add(request: UserRequest) -> HttpResponse:
    require(request.user, Verb.SET_UP_TEAM)
    form = TeamForm(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            made = _save(request, None, form)
        except InvalidInput as error:
            _show_refusal(form, error)
        else:
            messages.success(request, f"{made} is there. Put its members in, and give it items to order.")
            return redirect("portal:team", made.pk)
    return render(request, "teams/add.html", {"form": form}, status=422 if form.errors else 200)


@require_GET
@login_required
def team(request: UserRequest, team_id: int) -> HttpResponse:
    return _show(request, _find(request, team_id))


@require_POST
@login_required
def change(request: UserRequest, team_id: int) -> HttpResponse:
    """Name, ceilings and the rest that only admins of the portal decide."""
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    form = TeamForm(request.POST)
    return _try(request, row, "form", form, lambda: _save(request, row, form))


@require_POST
@login_required
def quota(request: UserRequest, team_id: int) -> HttpResponse:
    """The quota within its ceiling: also for admins of the team."""
    row = _find(request, team_id)
    require(request.user, Verb.MANAGE_TEAM, team=row)
    form = QuotaForm(request.POST)
    return _try(
        request, row, "quota_form", form, lambda: service.set_quota(row, actor=request.user, quota=form.quota)
    )


@require_POST
@login_required
def add_member(request: UserRequest, team_id: int) -> HttpResponse:
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    form = MemberForm(request.POST, people=User.objects.filter(is_active=True))
    return _try(
        request,
        row,
        "member_form",
        form,
        lambda: service.add_member(row, actor=request.user, person=form.cleaned_data["person"]),
    )


@require_POST
@login_required
def change_member(request: UserRequest, team_id: int, person_id: int, what: str) -> HttpResponse:
    """Take somebody out, or make them an admin of the team or not: `remove`, `promote`, `demote`."""
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    if what not in ("remove", "promote", "demote"):
        raise Http404
    person = get_object_or_404(row.group.user_set, pk=person_id)
    if what == "remove":
        service.remove_member(row, actor=request.user, person=person)
    else:
        service.set_admin(row, actor=request.user, person=person, is_admin=what == "promote")
    return redirect("portal:team", team_id)


@require_POST
@login_required
def grant(request: UserRequest, team_id: int) -> HttpResponse:
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    form = GrantItemForm(request.POST, items=CatalogItem.objects.all())
    return _try(
        request,
        row,
        "item_form",
        form,
        lambda: service.grant_item(row, actor=request.user, item=form.cleaned_data["item"]),
    )


@require_POST
@login_required
def revoke(request: UserRequest, team_id: int, item_id: int) -> HttpResponse:
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    service.revoke_item(row, actor=request.user, item=get_object_or_404(row.items, pk=item_id))
    return redirect("portal:team", team_id)


@require_POST
@login_required
def remove(request: UserRequest, team_id: int) -> HttpResponse:
    row = _find(request, team_id)
    require(request.user, Verb.SET_UP_TEAM)
    try:
        service.remove_team(row, actor=request.user)
    except Refused as error:
        messages.error(request, str(error))
        return redirect("portal:team", team_id)
    messages.success(request, f"{row} is removed.")
    return redirect("portal:teams")


def _find(request: UserRequest, team_id: int) -> Team:
    return get_object_or_404(Team.objects.visible_to(request.user).select_related("group"), pk=team_id)


def _save(request: UserRequest, row: Team | None, form: TeamForm) -> Team:
    return service.save_team(
        row,
        actor=request.user,
        name=form.cleaned_data["name"],
        slug=form.cleaned_data["slug"],
        quota=form.quota,
        ceiling=form.ceiling,
        max_parallel_clones=form.cleaned_data["max_parallel_clones"],
        generations=form.generations,
    )


def _try(
    request: UserRequest, row: Team, name: str, form: forms.Form, deed: Callable[[], object]
) -> HttpResponse:
    """Do it when the form is right, and show the page again with what is wrong otherwise."""
    if form.is_valid():
        try:
            deed()
        except InvalidInput as error:
            _show_refusal(form, error)
        else:
            messages.success(request, "Saved.")
            return redirect("portal:team", row.pk)
    return _show(request, row, **{name: form})


def _show_refusal(form: forms.Form, error: InvalidInput) -> None:
    """Memory stands in GiB on the page."""
    fields = {name.replace("_memory_mb", "_memory_gib"): text for name, text in error.fields.items()}
    show_refusal(form, InvalidInput(**fields))


def _show(request: UserRequest, row: Team, **forms_with_errors: forms.Form) -> HttpResponse:
    may_set_up = can(request.user, Verb.SET_UP_TEAM)
    members = row.group.user_set.order_by("username")
    context: dict[str, Any] = {
        "team": row,
        "members": members,
        "admin_ids": set(row.admins.values_list("pk", flat=True)),
        "items": row.items.select_related("source"),
        "lines": quotas.lines(row, quotas.usage(row), quotas.Usage()),
        "generation_lines": generation_quotas.lines(row),
        "machine_count": Machine.objects.filter(team=row).holding_quota().count(),
        "may_set_up": may_set_up,
        "may_manage": can(request.user, Verb.MANAGE_TEAM, team=row),
        "quota_form": QuotaForm(initial=QuotaForm.of(row)),
        "ceilings": service.ceiling_of(row),
    }
    if may_set_up:
        context |= {
            "form": TeamForm(initial=TeamForm.of(row)),
            "member_form": MemberForm(
                people=User.objects.filter(is_active=True).exclude(pk__in=members).order_by("username")
            ),
            "item_form": GrantItemForm(
                items=CatalogItem.objects.exclude(pk__in=row.items.all()).select_related("source")
            ),
            "removal_obstacle": service.removal_obstacle(row),
        }
    status = 422 if forms_with_errors else 200
    return render(request, "teams/team.html", context | forms_with_errors, status=status)
