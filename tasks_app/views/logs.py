"""The log of a task: lines by number, search over all of it, download."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.forms.tasks import LogForm
from tasks_app.ingest.logs import read_lines
from tasks_app.models import Task, TaskLog
from tasks_app.progress.logtext import printable, shown_kind, shown_text
from tasks_app.views.requests import UserRequest

READ_LINES = 2000  # of a long log at a time
MAX_HITS = 2000  # more cannot be stepped through
_FINAL_ERRORS_SECONDS = 3600


def shown_lines(task: Task, after: int, limit: int) -> list[dict[str, Any]]:
    """Lines as the page shows them: `n` number, `text` printable and bounded, `kind` for tint and folding."""
    return [
        {"n": number, "text": shown_text(text), "kind": shown_kind(text)}
        for number, text in read_lines(task, after, limit)
    ]


def _log_task(request: UserRequest, task_id: int) -> Task:
    tasks = Task.objects.visible_to(request.user).select_related("source")
    return get_object_or_404(tasks.defer("raw", "tracker_state", "search_text"), pk=task_id)


@require_GET
@login_required
def log(request: UserRequest, task_id: int) -> HttpResponse:
    """Lines, or line numbers of hits, as JSON for the page's script; a plain page for a browser without one."""
    task = _log_task(request, task_id)
    form = LogForm(request.GET)
    if not form.is_valid():
        return JsonResponse(
            {"error": {"message": "The address asks for no lines that can exist."}}, status=422
        )
    if form.cleaned_data["find"]:
        return JsonResponse(_hits(task, form.cleaned_data["find"].casefold()))
    if form.cleaned_data["only_errors"]:
        return JsonResponse(_errors(task))
    after, limit = form.span(task.log_total)
    lines = shown_lines(task, after, limit)
    if request.headers.get("Accept", "").startswith("application/json"):
        return JsonResponse({"total": task.log_total, "lines": lines})
    return render(request, "tasks/log.html", {"task": task, "lines": lines, "log_note": log_note(task)})


@require_GET
@login_required
def download(request: UserRequest, task_id: int) -> StreamingHttpResponse:
    """The whole log as it was received, line by line; what must be said of a copy that is not whole comes last."""
    task = _log_task(request, task_id)
    record(Action.TASK_LOG_DOWNLOAD, actor=request.user, target=task, upid=task.remote_id)
    note = log_note(task)
    said = [f"[task portal: {note}]"] if note else []
    answer = StreamingHttpResponse(
        (
            f"{text}\n".encode(errors="replace")
            for text in chain((text for _, text in _all_lines(task)), said)
        ),
        content_type="text/plain; charset=utf-8",
    )
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"task-{task.pk}-{task.node}-{task.type}-{task.object_id}")[:120]
    answer["Content-Disposition"] = f'attachment; filename="{name.strip("-")}.log"'
    return answer


def _all_lines(task: Task) -> Iterator[tuple[int, str]]:
    after = 0
    while lines := read_lines(task, after, READ_LINES):
        yield from lines
        after = lines[-1][0]


def _hits(task: Task, wanted: str) -> dict[str, Any]:
    """Numbers of the lines that hold `wanted`, in any case. `count` counts beyond the numbers that are given."""
    numbers, count = [], 0
    for number, text in _all_lines(task):
        if wanted in printable(text).casefold():
            count += 1
            if count <= MAX_HITS:
                numbers.append(number)
    return {"count": count, "lines": numbers}


def _errors(task: Task) -> dict[str, Any]:
    """The same for lines that tell of an error. Kept for an ended task: its log does not change any more."""
    key = f"log-errors-{task.pk}-{task.log_total}"
    known: dict[str, Any] | None = cache.get(key)
    if known is None:
        numbers = [number for number, text in _all_lines(task) if shown_kind(text) == "error"]
        known = {"count": len(numbers), "lines": numbers[:MAX_HITS]}
        cache.set(key, known, _FINAL_ERRORS_SECONDS)
    return known


def log_note(task: Task) -> str:
    """What must be said about the stored log: cut, partial, or kept here only. "" when there is nothing to say."""
    kept = TaskLog.objects.filter(task=task).values_list("is_complete", "note").first()
    if kept is None or (kept[0] and not kept[1]):
        return ""
    return kept[1] or "The portal is still fetching the rest of this log."
