"""The first page: what runs, what failed, how the week went, how the sources are."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.timezone import now
from django.views.decorators.http import require_GET

from tasks_app.access.policy import Verb, can
from tasks_app.kinds import kind_of
from tasks_app.live.events import newest_event_id
from tasks_app.models import Source, Submission, Task
from tasks_app.models.task import TaskQuerySet
from tasks_app.states import LABELS, OPEN_STATES, State
from tasks_app.templatetags.generation_parts import note_places
from tasks_app.views.paging import rows_of
from tasks_app.views.requests import UserRequest

_ROWS = 10
_DAY, _WEEK = timedelta(hours=24), timedelta(days=7)
_COLUMNS = [
    ("completed", "Completed"),
    ("warnings", "Warnings"),
    *((state.value, LABELS[state]) for state in (State.FAILED, State.CANCELLED, State.LOST)),
    ("open", "Open"),
]


@require_GET
@login_required
def dashboard(request: UserRequest) -> HttpResponse:
    """The page; htmx gets the part that changes."""
    live_after = newest_event_id()
    tasks = Task.objects.visible_to(request.user)
    sources = list(
        Source.objects.visible_to(request.user).defer("permissions", "ca_pem", "token_secret_sealed")
    )
    running, failures = (
        tasks.unfinished(),
        tasks.unacknowledged_failures().filter(started_at__gte=now() - _DAY),
    )
    running_rows = list(rows_of(running).order_by("-started_at", "-pk")[:_ROWS])
    note_places(running_rows)
    context = {
        "live_after": live_after,
        "sources": sources,
        "running": running_rows,
        "running_count": running.count(),
        "failures": rows_of(failures).order_by("-started_at", "-pk")[:_ROWS],
        "failure_count": failures.count(),
        "may_acknowledge": can(request.user, Verb.ACKNOWLEDGE),
        "columns": _COLUMNS,
        "grid": _grid(tasks),
        "steps": _first_steps(request, sources),
    }
    return render(request, "dashboard/_parts.html" if request.htmx else "dashboard/dashboard.html", context)


def _grid(tasks: TaskQuerySet) -> list[dict[str, Any]]:
    """Type by outcome over seven days, the busiest type first. One query over the index on the time."""
    counts = (
        tasks.filter(started_at__gte=now() - _WEEK)
        .order_by()
        .values("type", "state")
        .annotate(count=Count("pk"), warned=Count("pk", filter=Q(warnings__gt=0)))
    )
    by_type: dict[str, dict[str, int]] = {}
    for row in counts:
        cells = by_type.setdefault(row["type"], dict.fromkeys((name for name, _ in _COLUMNS), 0))
        state = row["state"]
        if state == State.COMPLETED:
            cells["completed"] += row["count"] - row["warned"]
            cells["warnings"] += row["warned"]
        else:
            cells["open" if State(state) in OPEN_STATES else state] += row["count"]
    ordered = sorted(by_type.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return [
        {
            "type": type,
            "label": kind_of(type).label,
            "total": sum(cells.values()),
            "cells": list(cells.items()),
        }
        for type, cells in ordered
    ]


def _first_steps(request: UserRequest, sources: list[Source]) -> list[dict[str, Any]]:
    """The way to a useful portal, for who may walk it; nothing once it has been walked or hidden."""
    if request.COOKIES.get("steps") == "hidden" or not can(request.user, Verb.ADD_SOURCE):
        return []
    real = [source for source in sources if not source.is_demo]
    steps = [
        (
            "Connect a cluster",
            "A wizard checks the address, the certificate and the token.",
            "source-add",
            bool(real),
        ),
        (
            "See its tasks",
            "They come by themselves.",
            "tasks",
            any(source.first_synced_at for source in real),
        ),
        (
            "Start something",
            "A snapshot or a clone of a guest, followed live.",
            "guests",
            Submission.objects.exists(),
        ),
        ("Let others in", "Give people a role on a cluster.", "people", _has_company(request)),
    ]
    if all(done for *_, done in steps):
        return []
    return [
        {"words": words, "hint": hint, "name": name, "is_done": done} for words, hint, name, done in steps
    ]


def _has_company(request: UserRequest) -> bool:
    return User.objects.exclude(pk=request.user.pk).exists()
