"""One task: its page, and what a person may do with it."""

import json
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET, require_http_methods

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import PrivilegeMissing, TaskAlreadyFinished
from tasks_app.forms.tasks import LOG_PAGE_LINES, AcknowledgeForm, CancelForm
from tasks_app.live.events import newest_event_id
from tasks_app.models import AuditEntry, Generation, Task
from tasks_app.progress.upid import InvalidUpid, parse_upid
from tasks_app.services.acknowledgements import acknowledge_task
from tasks_app.services.cancellation import cancel_obstacle, cancel_task
from tasks_app.services.watching import watch_task
from tasks_app.templatetags.portal import is_stale
from tasks_app.views.generation_task import generation_context
from tasks_app.views.generation_task import happened as generation_happened
from tasks_app.views.logs import log_note, shown_lines
from tasks_app.views.requests import UserRequest

_AUDIT_ROWS = 50
_JOINED = (
    "source",
    "submission__machine",
    "cancel_requested_by",
    "acknowledged_by",
    "generation__team__group",
)


def _find(request: UserRequest, task_id: int) -> Task:
    tasks = Task.objects.visible_to(request.user).select_related(*_JOINED)
    return get_object_or_404(tasks.defer("tracker_state", "search_text"), pk=task_id)


@require_GET
@login_required
def task(request: UserRequest, task_id: int) -> HttpResponse:
    """The page. Looking at it makes the poller read this task's log first."""
    live_after = newest_event_id()
    row = _find(request, task_id)
    if not row.is_final:
        watch_task(row)
    beside = {"parts": _upid_parts(row), "happened": _happened(row), "audit": _audit(request, row)}
    beside |= generation_context(request, row)
    if request.htmx.target == "task-side":
        return render(request, "tasks/_side.html", {"task": row, **beside})
    if request.htmx:  # a page without stream asks for its head
        return render(request, "tasks/_status.html", {"task": row})
    return render(
        request,
        "tasks/task.html",
        {
            "live_after": live_after,
            "keys": "task",
            "task": row,
            "lines": shown_lines(row, max(0, row.log_total - LOG_PAGE_LINES), LOG_PAGE_LINES),
            "log_note": log_note(row),
            "stale_sources": [row.source] if is_stale(row) else [],
            **beside,
            **_may(request, row),
        },
    )


@require_GET
@login_required
def raw(request: UserRequest, task_id: int) -> HttpResponse:
    """The remote's last row about it, readable. A provider's may hold tracebacks and signed addresses: for staff."""
    row = _find(request, task_id)
    if row.is_generation:
        require(request.user, Verb.MANAGE_SOURCE, row.source)
    text = json.dumps(row.raw, indent=2, ensure_ascii=True, sort_keys=True)
    return HttpResponse(text, content_type="application/json")


@require_GET
@login_required
def actions(request: UserRequest, task_id: int) -> HttpResponse:
    """What this person may do with it now."""
    row = _find(request, task_id)
    return render(request, "tasks/_actions.html", {"task": row, **_may(request, row)})


@require_http_methods(["GET", "POST"])
@login_required
def cancel(request: UserRequest, task_id: int) -> HttpResponse:
    """GET asks in words, POST asks the source."""
    row = _find(request, task_id)
    if request.method == "GET":
        return _ask(request, row, CancelForm())
    form = CancelForm(request.POST)
    if not form.is_valid():
        return _ask(request, row, form, status=422)
    cancel_task(row, actor=request.user, reason=form.cleaned_data["reason"])
    return _changed(request, row)


@require_http_methods(["GET", "POST"])
@login_required
def acknowledge(request: UserRequest, task_id: int) -> HttpResponse:
    """GET asks for a note, POST says that the failure was seen."""
    row = _find(request, task_id)
    form = AcknowledgeForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        require(request.user, Verb.ACKNOWLEDGE, row.source)
        template = "tasks/_acknowledge.html" if request.htmx else "tasks/acknowledge.html"
        status = 422 if form.is_bound else 200
        return render(request, template, {"task": row, "form": form}, status=status)
    acknowledge_task(row, actor=request.user, note=form.cleaned_data["note"])
    return _changed(request, row)


def _ask(request: UserRequest, row: Task, form: CancelForm, status: int = 200) -> HttpResponse:
    """The dialog. Who may not, or comes too late, is told so instead."""
    require(request.user, Verb.CANCEL, row.source, machine=row.machine, generation=_made(row))
    if row.is_final:
        raise TaskAlreadyFinished(f"{row} has already ended.")
    template = "tasks/_cancel.html" if request.htmx else "tasks/cancel.html"
    context = {"task": row, "form": form, "obstacle": _obstacle(row)}
    return render(request, template, context, status=status)


def _changed(request: UserRequest, row: Task) -> HttpResponse:
    """The parts that show the task, wherever the deed was done; without a script its page."""
    if not request.htmx:
        return redirect("portal:task", row.pk)
    row = _find(request, row.pk)
    context = {"task": row, "oob": True}
    # A row outside of a table would be taken apart by the parser.
    parts = f"<template>{render_to_string('tasks/_row.html', context)}</template>"
    answer = HttpResponse(render_to_string("tasks/_status.html", context) + parts)
    answer["HX-Reswap"] = "none"
    # After the swap, and the dialog last: it takes away the form that asked, without which htmx swaps nothing.
    answer["HX-Trigger-After-Swap"] = json.dumps({"task-changed": {"id": row.pk}, "close-dialog": {}})
    return answer


def _may(request: UserRequest, row: Task) -> dict[str, Any]:
    """What this person may do with the task as it stands; `obstacle` says which privilege the token lacks."""
    is_open = not row.is_final and not row.is_cancelling
    may_cancel = is_open and can(
        request.user, Verb.CANCEL, row.source, machine=row.machine, generation=_made(row)
    )
    obstacle = _obstacle(row) if may_cancel else None
    needs_seen = row.state in ("failed", "lost") and row.acknowledged_at is None
    return {
        "may_cancel": may_cancel,
        "obstacle": obstacle,
        "may_acknowledge": needs_seen and can(request.user, Verb.ACKNOWLEDGE, row.source),
    }


def _made(row: Task) -> Generation | None:
    return row.generation if row.is_generation else None


def _obstacle(row: Task) -> PrivilegeMissing | None:
    """The privilege that the cluster's token lacks; a generation source has no such."""
    return None if row.is_generation else cancel_obstacle(row, row.source)


def _upid_parts(row: Task) -> list[tuple[str, str]]:
    """The parts of the UPID for people; none when it is not one."""
    try:
        upid = parse_upid(row.remote_id)
    except InvalidUpid:
        return []
    return [
        ("Process", f"{upid.pid} (0x{upid.pid:X})"),
        ("Process start", f"0x{upid.pstart:X}"),
        ("Type", upid.type),
        ("Object", upid.object_id or "–"),
        ("User", upid.user),
        ("Token", upid.token or "–"),
    ]


def _happened(row: Task) -> list[tuple[datetime, str]]:
    """What is known to have happened to it, oldest first."""
    asker = row.cancel_requested_by.get_username() if row.cancel_requested_by else "somebody"
    seer = row.acknowledged_by.get_username() if row.acknowledged_by else "somebody"
    note = f": {row.acknowledged_note}" if row.acknowledged_note else ""
    begun = [
        (row.submission.created_at if row.submission else None, f"{_submitter(row)} asked for it"),
        (row.started_at, f"Started on {row.node} by {row.remote_user}"),
    ]
    known = [
        *(generation_happened(row) if row.is_generation else begun),
        (None if row.is_generation else row.seen_at, "First seen by the portal"),
        (row.cancel_requested_at, f"{asker} asked to cancel it"),
        (row.cancel_delivered_at, "The source was told to stop it"),
        (row.missing_since, "The source did not know it"),
        (row.overdue_since, "Took longer than tasks of its kind may"),
        (_end_of(row), f"Ended: {row.state_word}"),
        (row.acknowledged_at, f"Acknowledged by {seer}{note}"),
    ]
    return sorted(((at, words) for at, words in known if at is not None), key=lambda item: item[0])


def _end_of(row: Task) -> datetime | None:
    """As the source tells it, but not before the source took the order: a refusal comes within the same moment."""
    if row.ended_at is None or not row.is_generation:
        return row.ended_at
    made = row.generation
    return max(at for at in (row.ended_at, made.called_at, made.answered_at, made.processing_at) if at)


def _submitter(row: Task) -> str:
    return row.submission.actor_name if row.submission else ""


def _audit(request: UserRequest, row: Task) -> list[AuditEntry] | None:
    """Audit entries about it, newest first; None for who may not read them.

    No entry about it is older than itself: the index on the time keeps this short.
    """
    if not can(request.user, Verb.SEE_AUDIT, row.source):
        return None
    since = min(row.seen_at, row.started_at)
    entries = AuditEntry.objects.filter(at__gte=since, target_kind="task", target_id=str(row.pk))
    return list(entries.order_by("-at", "-pk")[:_AUDIT_ROWS])
