"""Catalogue items for admins of sources: the list, picking what an item is made from, and its one form."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from tasks_app.access.policy import Verb, can, require
from tasks_app.errors import InvalidInput, Refused
from tasks_app.forms.items import ItemForm
from tasks_app.models import CatalogItem, Guest, Source
from tasks_app.services import catalog_items as service
from tasks_app.services.expectations import usual
from tasks_app.services.item_input import example_name
from tasks_app.services.source_offers import Offer, Template, fetch_template, pick_of, read_offer
from tasks_app.sources.errors import SourceError
from tasks_app.views.requests import UserRequest, sent

MAX_GUESTS = 60
"""Shown to pick from; a search finds the others."""


@require_GET
@login_required
def items(request: UserRequest) -> HttpResponse:
    """Items of the sources whose items this person may read, those with trouble named."""
    require(request.user, Verb.SEE_ITEM)
    readable = _sources(request, Verb.SEE_ITEM)
    rows = (
        CatalogItem.objects.filter(source__in=readable)
        .select_related("source")
        .annotate(
            team_count=Count("teams", distinct=True),
            machine_count=Count("machines", filter=Q(machines__ended_at__isnull=True), distinct=True),
        )
    )
    shown = [(row, service.missing_privileges(row)) for row in rows]
    return render(
        request, "items/items.html", {"items": shown, "can_add": can(request.user, Verb.MANAGE_ITEM)}
    )


@require_http_methods(["GET", "POST"])
@login_required
def add(request: UserRequest) -> HttpResponse:
    """First what it is made from, then the form."""
    require(request.user, Verb.MANAGE_ITEM)
    managed = _sources(request, Verb.MANAGE_ITEM)
    source = _chosen_source(request, managed)
    pick = request.GET.get("pick", "")
    if source is None or not pick:
        return _show_picks(request, managed, source, "")
    template, problem = _read_template(source, pick)
    if template is None:
        return _show_picks(request, managed, source, problem or "This is not on the cluster any more.")
    offer = _read_offer(source)
    form = ItemForm(sent(request), template=template, offer=offer)
    if request.method == "POST" and (made := _save(request, None, form, source, template)):
        messages.success(request, f"“{made}” is there. Give it to teams, which order it from the catalogue.")
        return redirect("portal:item", made.pk)
    draft = CatalogItem(source=source, kind=template.kind, vmid=template.vmid, ostemplate=template.ostemplate)
    return _show_form(request, form, draft, template, offer)


@require_http_methods(["GET", "POST"])
@login_required
def item(request: UserRequest, item_id: int) -> HttpResponse:
    """The item's form; for auditors to read."""
    row = _find(request, item_id)
    require(request.user, Verb.MANAGE_ITEM if request.method == "POST" else Verb.SEE_ITEM, item=row)
    may_manage = can(request.user, Verb.MANAGE_ITEM, item=row)
    pick = request.GET.get("pick", "") if may_manage else ""
    template, problem = _read_template(row.source, pick or pick_of(row))
    if template is None and pick:
        return _show_picks(
            request, [row.source], row.source, problem or "This is not on the cluster any more.", row
        )
    if may_manage and "repick" in request.GET:
        return _show_picks(request, [row.source], row.source, "", row)
    offer = _read_offer(row.source)
    known = template or service.template_of_row(row)
    form = ItemForm(sent(request), template=known, offer=offer, item=row)
    if request.method == "POST" and _save(request, row, form, row.source, template):
        messages.success(request, "Saved. Machines that were ordered before stay as they are.")
        return redirect("portal:item", row.pk)
    return _show_form(request, form, row, known, offer, problem=problem, may_manage=may_manage)


@require_POST
@login_required
def switch(request: UserRequest, item_id: int) -> HttpResponse:
    """Let it be ordered, or not for now."""
    row = _find(request, item_id)
    service.set_item_enabled(row, actor=request.user, is_enabled=request.POST.get("enabled") == "1")
    messages.success(request, f"“{row}” can be ordered." if row.is_enabled else f"“{row}” is switched off.")
    return redirect("portal:item", row.pk)


@require_POST
@login_required
def remove(request: UserRequest, item_id: int) -> HttpResponse:
    row = _find(request, item_id)
    require(request.user, Verb.MANAGE_ITEM, item=row)
    try:
        service.remove_item(row, actor=request.user)
    except Refused as error:
        messages.error(request, str(error))
        return redirect("portal:item", item_id)
    messages.success(request, f"“{row}” is removed. Machines made from it stay.")
    return redirect("portal:items")


def _find(request: UserRequest, item_id: int) -> CatalogItem:
    visible = CatalogItem.objects.visible_to(request.user).select_related("source")
    return get_object_or_404(visible, pk=item_id)


def _sources(request: UserRequest, verb: Verb) -> list[Source]:
    """Sources on which this person holds the verb; there are few."""
    visible = Source.objects.visible_to(request.user)
    return [source for source in visible if can(request.user, verb, source)]


def _chosen_source(request: UserRequest, managed: list[Source]) -> Source | None:
    wanted = request.GET.get("source", "")
    if not wanted:
        return managed[0] if len(managed) == 1 else None
    found = next((source for source in managed if str(source.pk) == wanted), None)
    if found is None:
        raise Http404
    return found


def _read_offer(source: Source) -> Offer:
    if source.paused_at is not None:
        return Offer(problem=f"{source.name} is paused: it is not asked what it has.")
    return read_offer(source)


def _read_template(source: Source, pick: str) -> tuple[Template | None, str]:
    """What is picked, as it is now; else None with the reason, "" when it is simply not there."""
    if source.paused_at is not None:
        return None, f"{source.name} is paused: nothing is asked of it. Resume it first."
    try:
        return fetch_template(source, pick), ""
    except SourceError as error:
        return None, f"Its configuration could not be read: {error}"


def _save(
    request: UserRequest, row: CatalogItem | None, form: ItemForm, source: Source, template: Template | None
) -> CatalogItem | None:
    """The saved item; None when something is wrong, which stands on the form then."""
    if not form.is_valid():
        return None
    try:
        return service.save_item(
            row, actor=request.user, settings=form.settings, source=source, template=template
        )
    except InvalidInput as error:
        form.show_refusal(error)
        return None


def _show_picks(
    request: UserRequest,
    sources: list[Source],
    source: Source | None,
    problem: str,
    row: CatalogItem | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {"sources": sources, "source": source, "problem": problem, "item": row}
    if source is not None:
        query = request.GET.get("q", "").strip()[:100]
        found = _guests(source, query)
        offer = _read_offer(source)
        context |= {
            "q": query,
            "templates": [guest for guest in found if guest.is_template],
            "guests": [guest for guest in found if not guest.is_template],
            "os_templates": [t for t in offer.os_templates if query.lower() in t.volid.lower()],
            "offer": offer,
            "is_cut": len(found) == MAX_GUESTS,
        }
    return render(request, "items/pick.html", context, status=409 if problem else 200)


def _guests(source: Source, query: str) -> list[Guest]:
    """Templates first, then by VMID; machines that the portal made are nobody's template."""
    own = source.machines.holding_quota().exclude(vmid=None).values("vmid")
    guests: QuerySet[Guest] = source.guests.filter(gone_at__isnull=True).exclude(vmid__in=own)
    if query:
        by_name = Q(name__icontains=query)
        is_number = query.isascii() and query.isdigit() and len(query) <= 9
        guests = guests.filter(by_name | Q(vmid=int(query)) if is_number else by_name)
    return list(guests.order_by("-is_template", "vmid")[:MAX_GUESTS])


def _show_form(
    request: UserRequest,
    form: ItemForm,
    row: CatalogItem,
    template: Template,
    offer: Offer,
    *,
    problem: str = "",
    may_manage: bool = True,
) -> HttpResponse:
    is_new = row.pk is None
    pattern = form["name_pattern"].value() or ""
    context = {
        "form": form,
        "item": row,
        "is_new": is_new,
        "template": template,
        "offer": offer,
        "problem": problem,
        "may_manage": may_manage,
        "missing": service.missing_privileges(row, template),
        "example": example_name(str(pattern), str(form["slug"].value() or "")),
        "usual": "" if is_new else usual(row),
        "teams": [] if is_new else row.teams.select_related("group"),
        "removal_obstacle": "" if is_new else service.removal_obstacle(row),
    }
    return render(request, "items/item.html", context, status=422 if form.is_bound else 200)
