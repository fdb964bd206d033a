"""Ordering many machines: counted or pasted, looked at row by row before anything runs."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from tasks_app.errors import InvalidInput
from tasks_app.forms.orders import ManyForm
from tasks_app.forms.orders_list import ListRow
from tasks_app.models import CatalogItem
from tasks_app.services import orders as service
from tasks_app.services.orders import Plan, Wanted
from tasks_app.services.quotas import QuotaExceeded
from tasks_app.views.orders_new import facts_of, find_item, inputs_of, refuse
from tasks_app.views.requests import UserRequest, sent


@dataclass(frozen=True, slots=True)
class Totals:
    """What all rows take together. Memory and disk in GiB."""

    machines: int
    cores: int
    memory: str
    disk: int
    broken: int


@require_http_methods(["GET", "POST"])
@login_required
def order_many(request: UserRequest, item_id: int) -> HttpResponse:
    """The page; sent, it makes one order of all rows, or with `only_valid` of those without a problem."""
    item, teams = find_item(request, item_id)
    form = ManyForm(sent(request), item=item, teams=teams)
    rows = form.rows() if request.method == "POST" and form.is_valid() else []
    if rows:
        try:
            order = service.submit_order(
                request.user,
                **_inputs(form, item),
                rows=_wanted(rows),
                reason=form.cleaned_data["reason"],
                idempotency_key=str(form.cleaned_data["idempotency_key"]),
                only_valid="only_valid" in request.POST,
            )
            return redirect("portal:order", order.pk)
        except QuotaExceeded as error:
            form.add_error(None, str(error))
        except InvalidInput as error:
            refuse(form, error.fields)
    context = _preview_context(request, item, form, rows) | facts_of(request, item, teams)
    context["is_draft_kept"] = request.method == "GET"
    return render(request, "orders/many.html", context, status=422 if request.method == "POST" else 200)


@require_POST
@login_required
def order_preview(request: UserRequest, item_id: int) -> HttpResponse:
    """One line for each machine as the form stands. `drop` leaves a row out, `fix` names those with a bad name anew."""
    item, teams = find_item(request, item_id)
    form = ManyForm(request.POST, item=item, teams=teams)
    rows = form.rows() if form.is_valid() else []
    dropped = request.POST.get("drop", "")
    if dropped.isdecimal() and len(dropped) < 5:
        rows = [row for place, row in enumerate(rows, 1) if place != int(dropped)]
    context = _preview_context(request, item, form, rows)
    if "fix" in request.POST and context["plan"]:
        rows = _renamed(rows, context["plan"])
        context = _preview_context(request, item, form, rows)
    if request.htmx:
        return render(request, "orders/_preview.html", context)
    context |= facts_of(request, item, teams) | {"is_draft_kept": False}
    return render(request, "orders/many.html", context, status=422 if form.errors else 200)


def _renamed(rows: list[ListRow], plan: Plan) -> list[ListRow]:
    """Rows whose name cannot stand lose it: the plan gives them the next free one of the pattern."""
    bad = {row.position for row in plan.rows if "name" in row.problems}
    return [ListRow("", row.owner) if place in bad else row for place, row in enumerate(rows, 1)]


def _preview_context(
    request: UserRequest, item: CatalogItem, form: ManyForm, rows: list[ListRow]
) -> dict[str, Any]:
    """Form, plan and totals; what the rows were made from goes along, so that they are kept while that stands."""
    plan = None
    filled = form.origin() if form.is_bound and form.is_valid() else ""
    if rows:
        plan = service.plan(request.user, **_inputs(form, item), rows=_wanted(rows))
    return {
        "form": form,
        "item": item,
        "plan": plan,
        "totals": _totals(plan) if plan else None,
        "filled": filled,
        "is_bound": form.is_bound,
        "bad_names": plan is not None and any("name" in row.problems for row in plan.rows),
    }


def _inputs(form: ManyForm, item: CatalogItem) -> dict[str, Any]:
    given = form.cleaned_data
    return inputs_of(form, item) | {"on_failure": given["on_failure"], "stop_after": given["stop_after"] or 1}


def _wanted(rows: list[ListRow]) -> list[Wanted]:
    return [Wanted(name=row.name, owner=row.owner) for row in rows]


def _totals(plan: Plan) -> Totals:
    rows = plan.rows
    return Totals(
        machines=len(rows),
        cores=sum(row.cores for row in rows),
        memory=f"{sum(row.memory_mb for row in rows) / 1024:g}",
        disk=sum(row.disk_gb for row in rows),
        broken=sum(bool(row.problems) for row in rows),
    )
