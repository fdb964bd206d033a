"""Exports of the audit trail and of the history: the same address as their pages, as a file."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from tasks_app.audit.formats import Format
from tasks_app.errors import InvalidInput
from tasks_app.forms.audit import AuditFilterForm, ExportForm
from tasks_app.forms.history import HistoryFilterForm
from tasks_app.services.exports import RETRY_SECONDS, Export, TooManyExports, export_entries, export_tasks
from tasks_app.views.requests import UserRequest


@require_GET
@login_required
def audit(request: UserRequest) -> HttpResponseBase:
    """Entries of the audit trail."""
    filters = AuditFilterForm(request.GET).filters
    return _answer(request, lambda **options: export_entries(filters, actor=request.user, **options))


@require_GET
@login_required
def history(request: UserRequest) -> HttpResponseBase:
    """Tasks."""
    filters = HistoryFilterForm(request.GET, user=request.user).filters
    return _answer(request, lambda **options: export_tasks(filters, actor=request.user, **options))


def _answer(request: UserRequest, export: Callable[..., Export]) -> HttpResponseBase:
    form = ExportForm(request.GET)
    if form.errors:
        raise InvalidInput(format="Choose a format: " + ", ".join(format.value for format in Format) + ".")
    chosen: dict[str, Any] = form.cleaned_data
    try:
        begun = export(format=Format(chosen["format"]), bom=chosen["bom"], has_left=_watch(request))
    except TooManyExports as error:
        answer: HttpResponse = render(
            request, "shared/refused.html", {"message": str(error)}, status=error.status
        )
        answer["Retry-After"] = str(RETRY_SECONDS)
        return answer
    stream = StreamingHttpResponse(begun.stream, content_type=begun.content_type)
    stream["Content-Disposition"] = f'attachment; filename="{begun.name}"'
    stream["Cache-Control"] = "no-store"
    return stream


def _watch(request: UserRequest) -> Callable[[], bool]:
    """Whether the reader has gone; see `portal/readers.py`. Without that server nobody can tell."""
    watch = request.META.get("asgi.scope", {}).get("portal.watch_reader")
    return watch() if watch is not None else lambda: False
