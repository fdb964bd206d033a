"""How long tasks are kept, for admins of the portal. Nothing is saved before its preview was seen."""

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from tasks_app.access.policy import Verb, require
from tasks_app.forms.retention import RetentionForm, as_words
from tasks_app.services import retention as service
from tasks_app.views.requests import UserRequest, sent


@require_http_methods(["GET", "POST"])
@login_required
def retention(request: UserRequest) -> HttpResponse:
    """The periods and what they remove; POST shows what others would, and saves them when that was seen."""
    require(request.user, Verb.CLEAN_UP)
    current = service.current_periods()
    form = RetentionForm(sent(request), current=current)
    if request.method != "POST":
        return _page(request, form, current)
    if not form.is_valid():
        return _page(request, form, current, status=422)
    if "save" in request.POST and form.is_previewed:
        service.change_periods(form.periods(), actor=request.user)
        messages.success(request, "Saved. The next purge goes by these periods.")
        return redirect("portal:retention")
    return _page(request, form, form.periods(), is_preview=form.periods() != current)


@require_POST
@login_required
def purge(request: UserRequest) -> HttpResponse:
    """Remove now what has outlived its period."""
    service.request_purge(actor=request.user)
    messages.success(request, "The purge has been started. It takes a moment.")
    return redirect("portal:retention")


def _page(
    request: UserRequest,
    form: RetentionForm,
    periods: Mapping[str, int],
    *,
    is_preview: bool = False,
    status: int = 200,
) -> HttpResponse:
    rows = service.preview_periods(periods)
    context = {
        "form": form,
        "rows": [(row, form[row.family]) for row in rows],
        "removes": sum(row.removes for row in rows),
        "previewed": as_words(periods),
        "is_preview": is_preview,
        "has_periods": bool(service.current_periods()),
        "runs_at": service.next_purge_at(),
    }
    return render(request, "retention/retention.html", context, status=status)
