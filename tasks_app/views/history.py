"""The history: every task ever seen, searched, counted and drilled into; the address says all of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from tasks_app.access.policy import Verb, can
from tasks_app.forms.history import HistoryFilterForm
from tasks_app.forms.tasks import AcknowledgeManyForm
from tasks_app.live.events import newest_event_id
from tasks_app.models import HistoryGap, Task
from tasks_app.services.acknowledgements import acknowledge_tasks
from tasks_app.services.facets import FacetValue, Overview, overview
from tasks_app.services.gaps import gaps_for
from tasks_app.services.search import SearchPage, find_task, history_page, parse_below, time_of_place
from tasks_app.services.sight import blind_sources
from tasks_app.states import ATTENTION
from tasks_app.templatetags.generation_parts import note_places
from tasks_app.templatetags.history_parts import set_filters
from tasks_app.views.paging import PAGE_ROWS, rows_of
from tasks_app.views.requests import UserRequest
from tasks_app.views.search_head import head_of

_MOST_GAPS = 20
_SHORT_FACET = 7
"""Values that are shown at once; the rest waits in a fold."""


@dataclass(slots=True)
class Line:
    """One row of the list, with the gaps in the history that lie just above it. `task` is None after the last."""

    task: Task | None
    gaps: list[HistoryGap] = field(default_factory=list)


@require_GET
@login_required
def history(request: UserRequest) -> HttpResponse:
    """The page; htmx gets the list alone. A UPID in the search opens its task."""
    form = HistoryFilterForm(request.GET, user=request.user)
    text = form.chosen.get("q", "")
    if text and not request.htmx and (task := find_task(request.user, text)) is not None:
        return redirect("portal:task", task.pk)
    context: dict[str, Any] = {"form": form, "keys": "history", "live_after": newest_event_id()}
    context |= _list(request, form)
    if request.htmx.target == "history-list":
        return render(request, "history/_list.html", context)
    seen = overview(request.user, form.filters)
    context |= head_of(request, form) | _overview(form, seen)
    return render(request, "history/history.html", context)


@require_POST
@login_required
def acknowledge(request: UserRequest) -> HttpResponse:
    """Say of several failures at once that they were seen; back to the list they stood in."""
    form = AcknowledgeManyForm(request.POST)
    if form.is_valid():
        chosen = Task.objects.visible_to(request.user).filter(pk__in=form.cleaned_data["task"])
        done = acknowledge_tasks(
            chosen.select_related("source"), actor=request.user, note=form.cleaned_data["note"]
        )
        messages.success(request, f"{done} failure{'' if done == 1 else 's'} acknowledged.")
    else:
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
    here = HistoryFilterForm(QueryDict(form.data.get("query", "")), user=request.user).query
    address = reverse("portal:history")
    return redirect(f"{address}?{here}" if here else address)


def _list(request: UserRequest, form: HistoryFilterForm) -> dict[str, Any]:
    """The rows of one page, and what an empty list says about itself."""
    filters = form.filters
    below = parse_below(request.GET.get("below", ""))
    visible = rows_of(Task.objects.visible_to(request.user))
    page = history_page(visible, filters, below=below, size=PAGE_ROWS)
    note_places(page.tasks)
    gaps = _gaps(request, form, page, time_of_place(below, filters.terms))
    empty = ""
    if not page.tasks and page.next_below is None:
        empty = "filtered" if form.chosen or below is not None else "none" if form.sources else "no_source"
    return {
        "page": page,
        "lines": _lines(page, gaps),
        "older": form.address(below=str(page.next_below)) if page.next_below is not None else "",
        "is_first_page": below is None,
        "empty": empty,
        "blind": blind_sources(request.user, source_id=filters.source),
        "may_acknowledge": can(request.user, Verb.ACKNOWLEDGE),
        "may_add_source": empty == "no_source" and can(request.user, Verb.ADD_SOURCE),
    }


def _gaps(
    request: UserRequest, form: HistoryFilterForm, page: SearchPage, above: datetime | None
) -> list[HistoryGap]:
    """Those that lie between the rows of this page, to the second: each is on one page only."""
    filters = form.filters
    source = next((each for each in form.sources if each.pk == filters.source), None)
    gaps = gaps_for(request.user, source=source, node=filters.node, since=filters.since, until=filters.until)
    if above is not None:
        gaps = gaps.filter(until__lt=above)
    if page.next_below is not None and page.tasks:
        gaps = gaps.filter(until__gte=page.tasks[-1].started_at.replace(microsecond=0))
    return list(gaps[:_MOST_GAPS])


def _lines(page: SearchPage, gaps: Iterable[HistoryGap]) -> list[Line]:
    lines, waiting = [], list(gaps)
    for task in page.tasks:
        line = Line(task)
        while waiting and waiting[0].until >= task.started_at:
            line.gaps.append(waiting.pop(0))
        lines.append(line)
    return [*lines, Line(None, waiting)] if waiting else lines


def _overview(form: HistoryFilterForm, seen: Overview) -> dict[str, Any]:
    """Chips of what is set, quick filters by outcome, the rail of facets, grid and histogram."""
    outcomes = seen.facets.outcome
    every = [value for value in outcomes if value.value != ATTENTION]
    total = sum(value.count for value in every)
    is_capped = any(value.is_capped for value in every)
    rail = [
        ("source", "Source", seen.facets.source),
        ("node", "Node", seen.facets.node),
        ("type", "Type", seen.facets.type),
        ("person", "Person", seen.facets.person),
    ]
    return {
        "chosen": form.chosen,
        "set_filters": set_filters(form),
        "outcomes": [FacetValue("", "All", total, is_capped, not form.filters.outcome), *outcomes],
        "rail": [
            (name, words, values[:_SHORT_FACET], values[_SHORT_FACET:])
            for name, words, values in rail
            if len(values) > 1 or any(value.is_chosen for value in values)
        ],
        "grid": seen.grid,
        "histogram": seen.histogram,
        "export_words": "What passes the filters, newest first.",
    }
