"""Orders: the list, one order's page, and what may be done with it."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from tasks_app.access.policy import Verb, can
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.forms.orders import DeedForm, OrderFilterForm, RollBackForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Machine, Order, Stage
from tasks_app.models.machine import WAITING
from tasks_app.services import orders as service
from tasks_app.services.order_deeds import may_steer
from tasks_app.views.orders_rows import GROUP_OF, GROUPS, QUEUED, read_rows
from tasks_app.views.requests import UserRequest, sent

SHOWN = 100
"""Orders of the list; the search narrows it."""
_STOPPABLE = (*WAITING, Stage.CLONE)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@require_GET
@login_required
def orders(request: UserRequest) -> HttpResponse:
    """Orders of one's teams and sources, newest first."""
    form = OrderFilterForm(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    found = Order.objects.visible_to(request.user).select_related("team__group", "item", "source")
    found = found.order_by("-pk")
    for word in chosen.get("q", "").split():
        found = found.filter(Q(title__icontains=word) | Q(actor_name__icontains=word) | Q(team__slug=word))
    if chosen.get("whose") == "mine":
        found = found.filter(actor=request.user)
    if chosen.get("whose") == "waiting":
        found = found.filter(decision=Order.Decision.WAITING, cancel_requested_at__isnull=True)
    rows = list(found[: SHOWN + 1])
    context = {
        "form": form,
        "orders": _with_counts(rows[:SHOWN]),
        "is_cut": len(rows) > SHOWN,
        "limit": SHOWN,
        "is_filtered": any(chosen.values()),
        "can_approve": can(request.user, Verb.APPROVE),
    }
    return render(request, "orders/_list.html" if request.htmx else "orders/list.html", context)


@dataclass(frozen=True, slots=True)
class Listed:
    """One order of the list; `counts` are machines by group, in the order of GROUPS."""

    order: Order
    counts: tuple[tuple[str, int], ...]
    total: int


def _with_counts(orders: list[Order]) -> list[Listed]:
    """With how many machines are where: one query for all."""
    stages = Machine.objects.filter(order__in=[order.pk for order in orders]).order_by()
    counted: dict[int, Counter[str]] = {}
    for pk, stage, number in stages.values_list("order", "stage").annotate(number=Count("pk")):
        counted.setdefault(pk, Counter())[GROUP_OF[Stage(stage)]] += number
    listed = []
    for order in orders:
        count = counted.get(order.pk, Counter())
        listed.append(Listed(order, tuple((group, count[group]) for group in GROUPS), count.total()))
    return listed


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the segmented bar, in machines from the left."""

    group: str
    start: int
    count: int


@require_GET
@login_required
def order(request: UserRequest, order_id: int) -> HttpResponse:
    """The page, or for htmx the part that changes: 304 while nothing in it has."""
    found = _find(request, order_id)
    group = request.GET.get("state", "")
    context = _context(request, found, group if group in GROUPS else "")
    if not request.htmx:
        return render(request, "orders/order.html", context)
    tag = f'"{context["digest"]}"'
    unchanged: HttpResponse | None = get_conditional_response(request, etag=tag)
    if unchanged is not None:
        return unchanged
    part = render(request, "orders/_order.html", context)
    part["ETag"] = tag
    part["Cache-Control"] = "no-store"  # the browser's own store would answer in our place
    return part


def _context(request: UserRequest, order: Order, group: str) -> dict[str, Any]:
    rows = read_rows(order, group=group)
    progress = service.progress(order)
    user = request.user
    standing = order.machines.standing().count() if progress.total > 1 else 0
    is_rolling_back = order.rollback_requested_at is not None and standing > 0
    is_waiting = order.decision == Order.Decision.WAITING and progress.waiting > 0
    context = {
        "rows": rows,
        "group": group,
        "progress": progress,
        "segments": _segments(progress),
        "total": progress.total,
        "queued": progress.queued,
        "is_batch": progress.total > 1,
        "is_unfinished": not progress.is_final,
        "is_moving": is_rolling_back or not progress.is_final,
        "is_rolling_back": is_rolling_back,
        "is_waiting": is_waiting,
        "ahead": _ahead(order, progress),
        "may_change": may_steer(user, order),
        "can_cancel": order.machines.filter(stage__in=_STOPPABLE, cancel_requested_at=None).exists(),
        "may_roll_back": standing > 0 and order.rollback_requested_at is None,
        "may_approve": is_waiting and can(user, Verb.APPROVE, team=order.team),
    }
    words = repr(context) + repr(_facts(order))
    return context | {"order": order, "digest": hashlib.sha256(words.encode()).hexdigest()[:20]}


def _segments(progress: service.OrderProgress) -> list[Segment]:
    """What waits for approval is queued to the eye; a banner says why."""
    counts = {group: getattr(progress, group) for group in GROUPS} | {
        QUEUED: progress.queued + progress.waiting
    }
    segments, start = [], 0
    for group in GROUPS:
        segments.append(Segment(group, start, counts[group]))
        start += counts[group]
    return segments


def _facts(order: Order) -> list[Any]:
    """What the part shows of the order itself."""
    return [
        order.decision,
        order.decision_reason,
        order.paused_at,
        order.stopped_reason,
        order.cancel_requested_at,
        order.source.failing_since,
        order.source.paused_at,
    ]


def _ahead(order: Order, progress: service.OrderProgress) -> int:
    """How many clones stand before the one machine of this order."""
    machine = order.machines.first() if progress.queued and progress.total == 1 else None
    return service.ahead_of(machine) if machine else 0


# Deeds on an order: what the service is called, whether it takes a key.
_DEEDS: dict[str, Callable[..., Any]] = {
    "pause": service.pause_order,
    "resume": service.resume_order,
    "cancel": service.cancel_order,
    "retry": service.retry_failed,
}


@require_http_methods(["GET", "POST"])
@login_required
def deed(request: UserRequest, order_id: int, deed: str) -> HttpResponse:
    """Ask in words, then pause, resume, cancel what is left, or retry what failed."""
    if deed not in _DEEDS:
        raise Http404
    found = _find(request, order_id)
    _require_steering(request, found)
    form = DeedForm(sent(request))
    if request.method == "POST" and form.is_valid():
        key = {"idempotency_key": str(form.cleaned_data["idempotency_key"])} if deed == "retry" else {}
        _DEEDS[deed](found, actor=request.user, **key)
        return _to_order(request, found)
    context = {"order": found, "deed": deed, "form": form, "progress": service.progress(found)}
    context["waiting"] = found.machines.filter(stage__in=WAITING).count()
    context["cloning"] = found.machines.filter(stage=Stage.CLONE).count()
    context["standing"] = found.machines.filter(exists=True, ended_at__isnull=True).count()
    return _dialog(request, "deed", context, form)


@require_http_methods(["GET", "POST"])
@login_required
def roll_back(request: UserRequest, order_id: int) -> HttpResponse:
    """Remove every machine of the order; its name must be typed."""
    found = _find(request, order_id)
    _require_steering(request, found)
    form = RollBackForm(sent(request))
    if request.method == "POST" and form.is_valid():
        try:
            service.roll_back(found, actor=request.user, typed=form.cleaned_data["typed"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            return _to_order(request, found)
    there = list(found.machines.standing())
    context = {"order": found, "form": form, "there": there, "progress": service.progress(found)}
    return _dialog(request, "rollback", context, form)


@require_http_methods(["GET", "POST"])
@login_required
def cancel_machine(request: UserRequest, order_id: int, machine_id: int) -> HttpResponse:
    """Cancel one machine of an order that is still being made."""
    found = _find(request, order_id)
    machine = get_object_or_404(Machine, pk=machine_id, order=found)
    _require_steering(request, found)
    form = DeedForm(sent(request))
    if request.method == "POST" and form.is_valid():
        service.cancel_machine(machine, actor=request.user)
        return _to_order(request, found)
    return _dialog(request, "cancel_machine", {"order": found, "machine": machine, "form": form}, form)


@require_GET
@login_required
def export(request: UserRequest, order_id: int) -> StreamingHttpResponse:
    """Name, VMID, addresses and owner of each machine as CSV; a cell that a spreadsheet would run gets a quote."""
    found = _find(request, order_id)
    record(Action.ORDER_EXPORT, actor=request.user, target=found)
    answer = StreamingHttpResponse(_lines(found), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="order-{found.pk}.csv"'
    return answer


class _Line:
    """What `csv.writer` writes to; keeps nothing."""

    def write(self, text: str) -> str:
        return text


def _lines(order: Order) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(["name", "vmid", "ip", "owner", "state"])
    for machine in order.machines.order_by("position", "pk").iterator(chunk_size=200):
        cells = [
            machine.name,
            str(machine.vmid or ""),
            " ".join(map(str, machine.addresses)),
            machine.owner_name,
            machine.get_stage_display(),
        ]
        yield writer.writerow([_safe(cell) for cell in cells])


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _require_steering(request: UserRequest, order: Order) -> None:
    """Raise NotPermitted before anything is asked of somebody who may not."""
    if not may_steer(request.user, order):
        raise NotPermitted("Your role does not allow you to change this order.")


def _find(request: UserRequest, order_id: int) -> Order:
    found = Order.objects.visible_to(request.user).select_related("source", "item", "team__group", "actor")
    return get_object_or_404(found, pk=order_id)


def _dialog(request: UserRequest, name: str, context: dict[str, Any], form: Any) -> HttpResponse:
    """A question, in the dialog or as a page of its own."""
    context["part"] = f"orders/_{name}.html"
    template = context["part"] if request.htmx else "orders/ask.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _to_order(request: UserRequest, order: Order) -> HttpResponse:
    answer = redirect("portal:order", order.pk)
    return HttpResponseClientRedirect(answer["Location"]) if request.htmx else answer
