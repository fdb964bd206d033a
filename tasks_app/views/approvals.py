"""Orders that wait for somebody's word."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Sum
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.orders import DecisionForm, RejectionForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Order, Team
from tasks_app.models.order import OrderQuerySet
from tasks_app.services import approvals as service
from tasks_app.services import quotas
from tasks_app.services.quotas import QuotaLine, Usage
from tasks_app.views.requests import UserRequest, sent

DECIDED_SHOWN = 10
"""Of the last decisions, below those that wait."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that waits, and what it takes of its team's quota."""

    order: Order
    quota: list[QuotaLine]


@require_GET
@login_required
def approvals(request: UserRequest) -> HttpResponse:
    """What waits for this person, and what was decided last."""
    theirs = _decidable(request)
    waiting = list(
        theirs.filter(decision=Order.Decision.WAITING, cancel_requested_at__isnull=True)
        .annotate(
            count=Count("machines"),
            cores=Sum("machines__cores"),
            memory_mb=Sum("machines__memory_mb"),
            disk_gb=Sum("machines__disk_gb"),
        )
        .order_by("pk")
    )
    decided = theirs.filter(decision__in=[Order.Decision.APPROVED, Order.Decision.REJECTED])
    usage = {team.pk: quotas.usage(team) for team in {order.team for order in waiting}}
    context = {
        "waiting": [Waiting(order, _quota(order, usage[order.team_id])) for order in waiting],
        "decided": decided.order_by("-decided_at")[:DECIDED_SHOWN],
        "is_approver": can(request.user, Verb.APPROVE),
    }
    return render(request, "approvals/approvals.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def approve(request: UserRequest, order_id: int) -> HttpResponse:
    return _decide(request, order_id, is_yes=True)


@require_http_methods(["GET", "POST"])
@login_required
def reject(request: UserRequest, order_id: int) -> HttpResponse:
    return _decide(request, order_id, is_yes=False)


def _decide(request: UserRequest, order_id: int, *, is_yes: bool) -> HttpResponse:
    """Ask, then say yes, or no with a reason. The service lets only the first decision count."""
    order = get_object_or_404(
        Order.objects.visible_to(request.user).select_related("team__group", "item", "source"), pk=order_id
    )
    require(request.user, Verb.APPROVE, team=order.team)
    form = (DecisionForm if is_yes else RejectionForm)(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            deed = service.approve if is_yes else service.reject
            deed(order, actor=request.user, reason=form.cleaned_data["reason"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            answer = redirect("portal:approvals")
            return HttpResponseClientRedirect(answer["Location"]) if request.htmx else answer
    context = {"order": order, "form": form, "is_yes": is_yes, "count": order.machines.count()}
    template = "approvals/_decide.html" if request.htmx else "approvals/decide.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _quota(order: Any, used: Usage) -> list[QuotaLine]:
    """The quota without and with the order, which holds its part already. `order` is annotated with its sums."""
    wanted = Usage(order.count, order.cores, order.memory_mb, order.disk_gb)
    before = Usage(
        used.machines - wanted.machines,
        used.cores - wanted.cores,
        used.memory_mb - wanted.memory_mb,
        used.disk_gb - wanted.disk_gb,
    )
    return quotas.lines(order.team, before, wanted)


def _decidable(request: UserRequest) -> OrderQuerySet:
    """Orders this person may decide about."""
    orders = Order.objects.select_related("team__group", "item", "source", "actor")
    if can(request.user, Verb.SET_UP_TEAM):  # an admin of the portal approves in every team
        return orders
    return orders.filter(team__in=Team.objects.led_by(request.user))
