"""The catalogue, and ordering one machine from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from tasks_app.access.policy import Verb, can
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.forms.orders import OneForm, OrderForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import CatalogItem, Guest, Profile, Team
from tasks_app.services import orders as service
from tasks_app.services.expectations import usual
from tasks_app.services.orders import Plan, Size, Wanted
from tasks_app.services.quotas import QuotaExceeded
from tasks_app.views.requests import UserRequest, sent

# Services speak of MiB, the form asks in GiB.
_FIELD_OF = {"memory_mb": "memory_gib"}


@dataclass(frozen=True, slots=True)
class Card:
    """One item of the catalogue. `obstacle` says why this person cannot order it now, "" when they can."""

    item: CatalogItem
    teams: tuple[str, ...]
    usual: str
    obstacle: str


@require_GET
@login_required
def catalogue(request: UserRequest) -> HttpResponse:
    """Items of one's teams, and those of the sources one may see."""
    user = request.user
    mine = Team.objects.all() if user.is_superuser else Team.objects.of(user)
    items = (
        CatalogItem.objects.visible_to(user)
        .select_related("source")
        .prefetch_related(Prefetch("teams", mine.select_related("group"), to_attr="own_teams"))
    )
    context = {
        "cards": [_card(item, usual(item)) for item in items],
        "can_manage": can(user, Verb.MANAGE_ITEM),
        "has_team": mine.exists(),
    }
    return render(request, "catalogue/catalogue.html", context)


def _card(item: CatalogItem, takes: str) -> Card:
    teams = tuple(str(team) for team in item.own_teams)  # type: ignore[attr-defined]
    obstacle = item.obstacle or ("" if teams else "None of your teams has been given it.")
    return Card(item, teams, takes, obstacle)


@require_http_methods(["GET", "POST"])
@login_required
def order_new(request: UserRequest, item_id: int) -> HttpResponse:
    """One machine: everything is asked on one page. A double click makes one order."""
    item, teams = find_item(request, item_id)
    form = OneForm(sent(request), item=item, teams=teams)
    if request.method == "POST" and form.is_valid():
        try:
            order = service.submit_order(
                request.user,
                **inputs_of(form, item),
                rows=_rows(form),
                reason=form.cleaned_data["reason"],
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
            )
            return redirect("portal:order", order.pk)
        except QuotaExceeded as error:
            form.add_error(None, str(error))
        except InvalidInput as error:
            own = {name.removeprefix("row-1-"): text for name, text in error.fields.items()}
            refuse(form, own)
    context = {"form": form, "is_draft_kept": request.method == "GET"} | facts_of(request, item, teams)
    looked_at = form if form.is_bound else first_form(OneForm, item, teams)
    plan = _plan(request, item, looked_at)
    suggested = plan.rows[0].name if plan else ""
    context |= {
        "plan": plan,
        "suggested": form["suggested"].value() or suggested,
        "shown_name": form["name"].value() if form.is_bound else suggested,
    }
    return render(request, "orders/new.html", context, status=422 if request.method == "POST" else 200)


@require_GET
@login_required
def order_check(request: UserRequest, item_id: int) -> HttpResponse:
    """What the order would be as the form stands: the summary, the name's check, the button's words."""
    item, teams = find_item(request, item_id)
    form = OneForm(request.GET, item=item, teams=teams)
    plan = _plan(request, item, form)
    context = {"form": form, "item": item, "plan": plan, "oob": True, "new_name": _new_name(form, plan)}
    return render(request, "orders/_check.html", context)


def _new_name(form: OneForm, plan: Plan | None) -> str:
    """The suggestion that takes the place of one nobody has touched; "" when it stays."""
    name = form.cleaned_data.get("name")
    if plan is None or not name or name != form.cleaned_data["suggested"]:
        return ""
    return plan.rows[0].name if plan.rows[0].name != name else ""


def find_item(request: UserRequest, item_id: int) -> tuple[CatalogItem, QuerySet[Team]]:
    """The item, and the teams this person may order it for. 404 for a stranger; raises NotPermitted without a team."""
    item = get_object_or_404(
        CatalogItem.objects.visible_to(request.user).select_related("source"), pk=item_id
    )
    teams = Team.objects.all() if request.user.is_superuser else Team.objects.of(request.user)
    teams = teams.filter(items=item).select_related("group")
    if not teams:
        raise NotPermitted(f"None of your teams has been given “{item}”.")
    return item, teams


def inputs_of(form: OrderForm, item: CatalogItem) -> dict[str, Any]:
    """What `plan` and `submit_order` take besides the rows; only for a valid form."""
    return {
        "item": item,
        "team": form.cleaned_data["team"],
        "size": Size(**form.chosen_size()),
        "lease_days": form.cleaned_data["lease_days"],
    }


def facts_of(request: UserRequest, item: CatalogItem, teams: Iterable[Team]) -> dict[str, Any]:
    """What both pages of an order show besides their form."""
    template = Guest.objects.filter(source=item.source, vmid=item.vmid or 0, gone_at__isnull=True).first()
    profile = Profile.objects.filter(user=request.user).first()
    keys = profile.ssh_keys.split("\n") if profile else []
    return {
        "item": item,
        "teams": teams,
        "template": template,
        "ssh_keys": [key_name(key) for key in keys if key.strip()],
    }


def key_name(key: str) -> str:
    """What tells a public key from another: its comment, else its kind."""
    words = key.split(maxsplit=2)
    return (words[2] if len(words) > 2 else words[0])[:60]


def refuse(form: OrderForm, problems: dict[str, str]) -> None:
    """Put what a plan or a service refuses onto the fields of the form; rows of the preview show their own."""
    named = {
        _FIELD_OF.get(name, name): text for name, text in problems.items() if not name.startswith("row-")
    }
    show_refusal(form, InvalidInput(**named))


def first_form(form: type[OneForm], item: CatalogItem, teams: QuerySet[Team]) -> OneForm:
    """The form as it would be sent untouched."""
    fresh = form(item=item, teams=teams)
    first = {name: fresh.get_initial_for_field(field, name) for name, field in fresh.fields.items()}
    return form(first | {"team": teams[0].pk}, item=item, teams=teams)


def _rows(form: OneForm, *, is_check: bool = False) -> list[Wanted]:
    """While it is only looked at, a suggestion nobody has touched is made anew."""
    name, suggested = form.cleaned_data["name"], form.cleaned_data["suggested"]
    return [Wanted(name="" if is_check and name == suggested else name)]


def _plan(request: UserRequest, item: CatalogItem, form: OneForm) -> Plan | None:
    """None while what was given makes no plan; the form says why."""
    if not form.is_valid():
        return None
    plan = service.plan(request.user, **inputs_of(form, item), rows=_rows(form, is_check=True))
    refuse(form, plan.problems)
    return plan
