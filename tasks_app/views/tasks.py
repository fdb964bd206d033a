"""The list of tasks."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Max, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.http import require_GET

from tasks_app.access.policy import Verb, can
from tasks_app.forms.filters import TaskFilterForm
from tasks_app.live.events import newest_event_id
from tasks_app.models import Source, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.services.counting import TEXT_LIMIT
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.services.search import find_task, having_words, newest_matches
from tasks_app.services.sight import blind_sources
from tasks_app.states import ATTENTION, WARNINGS, State
from tasks_app.templatetags.generation_parts import note_places
from tasks_app.views.paging import count_capped, open_among, read_filtered
from tasks_app.views.requests import UserRequest

_DAY = timedelta(hours=24)
_NEW_WITH_TEXT = 200  # the words of new tasks are looked at one by one
# Parts of the list page, by the element that asks for them.
_PARTS = {
    "task-list": "tasks/_list.html",
    "task-more": "tasks/_rows.html",
    "task-summary": "tasks/_summary.html",
}


@require_GET
@login_required
def tasks(request: UserRequest) -> HttpResponse:
    """The list, or the part of it that htmx asks for. A UPID in the search opens its task."""
    text = request.GET.get("q", "")
    if text and not request.htmx and (task := find_task(request.user, text)) is not None:
        return redirect("portal:task", task.pk)
    template = _PARTS.get(request.htmx.target or "", "tasks/list.html")
    context = {"live_after": newest_event_id(), "keys": "list"}
    form = _filters(request)
    context["form"] = form
    if template != "tasks/_summary.html":
        context |= _rows(request, form)
    if template in ("tasks/list.html", "tasks/_summary.html"):
        context |= _summary(request, form)
    return render(request, template, context)


@require_GET
@login_required
def new_count(request: UserRequest) -> HttpResponse:
    """The pill that says how many tasks have come since the list was drawn."""
    form = _filters(request)
    newest = request.GET.get("newest", "")
    visible = Task.objects.visible_to(request.user)
    count = 0
    if newest.isdigit() and len(newest) < 19:
        count = _count_new(form.filters, visible.filter(pk__gt=int(newest)))
    return render(request, "tasks/_new.html", {"count": count, "newest": newest, "form": form})


def _count_new(filters: HistoryFilters, new: TaskQuerySet) -> int:
    if not filters.terms:
        return count_capped(filters.apply(new))
    newest = filters.apply(new).order_by("-pk").values("pk")[:_NEW_WITH_TEXT]
    return len(having_words(Task.objects.filter(pk__in=newest), filters.terms))


def _filters(request: UserRequest) -> TaskFilterForm:
    sources = Source.objects.visible_to(request.user)
    return TaskFilterForm(
        request.GET,
        sources=sources.only("id", "name", "is_demo", "failing_since", "paused_at", "last_pass_at"),
        today=now(),
    )


def _rows(request: UserRequest, form: TaskFilterForm) -> dict[str, Any]:
    """The rows of one page, and what an empty list says about itself."""
    visible = Task.objects.visible_to(request.user)
    newest = Task.objects.aggregate(newest=Max("pk"))["newest"] or 0
    before = request.GET.get("before", "")
    page = read_filtered(visible, form.filters, before)
    note_places(page.tasks)
    empty = ""
    if not page.tasks and page.next is None:
        empty = "filtered" if form.chosen or before else "none"
        if not form.sources:
            empty = "no_source"
    context: dict[str, Any] = {
        "page": page,
        "newest": newest,
        "is_first_page": not before,
        "empty": empty,
    }
    if empty == "no_source":
        context["may_add_source"] = can(request.user, Verb.ADD_SOURCE)
    elif empty:
        context["blind"] = blind_sources(request.user, source_id=form.filters.source)
    return context


def _summary(request: UserRequest, form: TaskFilterForm) -> dict[str, Any]:
    """Chips with their counts, and the sources that do not answer."""
    stale = [source for source in form.sources if source.failing_since or source.paused_at]
    return {"chips": _chips(request, form, now()), "stale_sources": stale}


def _chips(request: UserRequest, form: TaskFilterForm, today: datetime) -> list[dict[str, Any]]:
    """The quick filters. Three cheap counts: what is open, what a day brought, and all up to a limit.

    Of a text its newest matches are counted.
    """
    filters = form.filters.without("outcome", "since")
    counted = filters.apply(Task.objects.visible_to(request.user))
    searched_to = None
    if filters.terms:
        pks, searched_to = newest_matches(filters.terms, most=TEXT_LIMIT)
        counted = counted.filter(pk__in=pks)
    open_counts = open_among(counted).aggregate(
        running=Count("pk", filter=Q(state=State.PROCESSING)),
        queued=Count("pk", filter=Q(state=State.PENDING)),
    )
    is_attention = Q(state__in=[State.FAILED, State.LOST], acknowledged_at__isnull=True)
    day = counted.filter(started_at__gte=today - _DAY).aggregate(
        failed=Count("pk", filter=Q(state=State.FAILED)),
        warnings=Count("pk", filter=Q(state=State.COMPLETED, warnings__gt=0)),
        attention=Count("pk", filter=is_attention),
    )
    chips = [
        ("All", "", "", count_capped(counted), ""),
        ("Running", State.PROCESSING, "", open_counts["running"], "processing"),
        ("Queued", State.PENDING, "", open_counts["queued"], "pending"),
        ("Failed", State.FAILED, "24h", day["failed"], "failed"),
        ("Warnings", WARNINGS, "24h", day["warnings"], "warnings"),
        ("Needs attention", ATTENTION, "24h", day["attention"], "failed"),
    ]
    chosen = (form.chosen.get("state", ""), form.chosen.get("since", ""))
    return [
        {
            "words": words,
            "hint": since and "24 h",
            "count": count,
            "is_capped": searched_to is not None and not since,
            "sign": sign if count else "",
            "query": form.address(state=str(state), since=since),
            "is_current": chosen == (str(state), since),
        }
        for words, state, since, count, sign in chips
    ]
