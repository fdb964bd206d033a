"""The audit trail: who did what, provably complete; what came of one request; verifying and purging."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, can, entries_seen_by, require
from tasks_app.errors import InvalidInput
from tasks_app.forms.audit import AuditFilterForm
from tasks_app.forms.audit_purge import PurgeForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.services import audit_trail
from tasks_app.services.audit_pages import entry_page, parse_below
from tasks_app.services.requests import of_request
from tasks_app.services.search import find_task
from tasks_app.templatetags.generation_parts import note_places
from tasks_app.templatetags.history_parts import set_filters
from tasks_app.views.audit_links import links_of
from tasks_app.views.requests import UserRequest, sent
from tasks_app.views.search_head import head_of

PAGE_ENTRIES = 50


@require_GET
@login_required
def audit(request: UserRequest) -> HttpResponse:
    """Entries newest first; htmx gets the list alone."""
    require(request.user, Verb.SEE_AUDIT)
    form = AuditFilterForm(request.GET)
    context: dict[str, Any] = {"form": form, "keys": "audit"} | _list(request, form)
    if request.htmx.target == "audit-list":
        return render(request, "audit/_list.html", context)
    context |= head_of(request, form) | {
        "integrity": audit_trail.read_integrity(),
        "named": find_task(request.user, form.chosen.get("q", "")) if "q" in form.chosen else None,
        "may_purge": can(request.user, Verb.MANAGE_PEOPLE),
        "set_filters": set_filters(form),
        "export_words": "What passes the filters, oldest first.",
    }
    return render(request, "audit/audit.html", context)


def _list(request: UserRequest, form: AuditFilterForm) -> dict[str, Any]:
    below = parse_below(request.GET.get("below", ""))
    entries = entries_seen_by(request.user)
    page = entry_page(entries, form.filters, below=below, size=PAGE_ENTRIES)
    return {
        "page": page,
        "links": links_of(page.entries, request.user),
        "older": form.address(below=str(page.next_below)) if page.next_below is not None else "",
        "is_first_page": below is None,
        "oldest": None if page.entries else entries.order_by("at", "pk").values_list("at", flat=True).first(),
    }


@require_GET
@login_required
def request_page(request: UserRequest, request_id: str) -> HttpResponse:
    """Everything that carries one request id, as far as the person may see it."""
    trace = of_request(request.user, request_id)
    if not trace:
        raise Http404
    note_places(list(trace.tasks))
    context = {
        "trace": trace,
        "links": links_of(trace.entries, request.user),
        "may_see_audit": can(request.user, Verb.SEE_AUDIT),
    }
    return render(request, "audit/request.html", context)


@require_POST
@login_required
def verify(request: UserRequest) -> HttpResponse:
    """Walk the chain now; a long one by a job."""
    verdict = audit_trail.request_verification(actor=request.user)
    if verdict is None:
        messages.info(request, "The trail is long: it is being verified. Reload this page in a minute.")
    elif verdict.is_intact:
        messages.success(request, f"Verified up to #{verdict.verified}: nothing was touched.")
    else:
        messages.error(request, f"The trail is broken. {verdict.problem}")
    return redirect("portal:audit")


@require_http_methods(["GET", "POST"])
@login_required
def purge(request: UserRequest) -> HttpResponse:
    """GET with a number of days tells what would go, POST removes it."""
    require(request.user, Verb.MANAGE_PEOPLE)
    form = PurgeForm(sent(request) or request.GET or None)
    context: dict[str, Any] = {"form": form, "shortest": audit_trail.SHORTEST_DAYS}
    if form.is_valid():
        days, reason = form.cleaned_data["days"], form.cleaned_data["reason"]
        if request.method == "POST" and form.cleaned_data["confirmed"]:
            try:
                purged = audit_trail.request_purge(days, actor=request.user, reason=reason)
            except InvalidInput as error:
                show_refusal(form, error)
            else:
                if purged is None:
                    messages.info(
                        request, "There are many: they are being removed. Reload this page in a minute."
                    )
                else:
                    messages.success(request, f"{purged} entries were removed. The chain still verifies.")
                return redirect("portal:audit")
        context |= {
            "days": days,
            "count": audit_trail.count_purgeable(days),
            "before": now() - timedelta(days=days),
        }
    return render(request, "audit/purge.html", context, status=422 if form.errors else 200)
