"""Keeping a search of the history or the audit trail under a name."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.forms.refusals import show_refusal
from tasks_app.forms.saved_views import SaveViewForm, ViewNameForm
from tasks_app.models import SavedView
from tasks_app.services import saved_views as service
from tasks_app.views.requests import UserRequest, sent


def address_of(view: SavedView) -> str:
    """Where the search is done."""
    page, query = service.page_and_query(view)
    address = reverse("portal:audit" if page == service.AUDIT else "portal:history")
    return f"{address}?{query}" if query else address


@require_http_methods(["GET", "POST"])
@login_required
def add(request: UserRequest) -> HttpResponse:
    """GET asks for a name, POST keeps the search."""
    given = {name: request.GET.get(name, "") for name in ("on", "query")}
    form = SaveViewForm(sent(request), user=request.user, initial=given)
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            view = service.save_view(
                owner=request.user,
                name=chosen["name"],
                page=chosen["on"],
                query=chosen["query"],
                team=chosen["team"],
            )
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"Saved as “{view.name}”.")
            return _to(request, view)
    return _ask(request, "save", {"form": form})


@require_http_methods(["GET", "POST"])
@login_required
def rename(request: UserRequest, view_id: int) -> HttpResponse:
    """GET asks for another name."""
    view = _find(request, view_id)
    form = ViewNameForm(sent(request), initial={"name": view.name})
    if request.method == "POST" and form.is_valid():
        try:
            service.rename_view(view, actor=request.user, name=form.cleaned_data["name"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, f"Renamed to “{view.name}”.")
            return _to(request, view)
    return _ask(request, "rename", {"form": form, "view": view})


@require_http_methods(["GET", "POST"])
@login_required
def remove(request: UserRequest, view_id: int) -> HttpResponse:
    """GET asks in words."""
    view = _find(request, view_id)
    if request.method == "GET":
        return _ask(request, "remove", {"view": view})
    service.remove_view(view, actor=request.user)
    messages.success(request, f"“{view.name}” was removed from the saved views.")
    return _to(request, view)


def _find(request: UserRequest, view_id: int) -> SavedView:
    view = get_object_or_404(service.views_for(request.user), pk=view_id)
    if not service.may_change(view, request.user):
        raise NotPermitted("Only who saved this view, or an admin of its team, may change it.")
    return view


def _ask(request: UserRequest, deed: str, context: dict[str, object]) -> HttpResponse:
    """The dialog; without a script a page."""
    form = context.get("form")
    status = 422 if isinstance(form, ViewNameForm) and form.errors else 200
    template = "history/_view_dialog.html" if request.htmx else "history/view.html"
    return render(request, template, {"deed": deed, **context}, status=status)


def _to(request: UserRequest, view: SavedView) -> HttpResponse:
    if not request.htmx:
        return redirect(address_of(view))
    answer = HttpResponse(status=204)
    answer["HX-Redirect"] = address_of(view)
    return answer
