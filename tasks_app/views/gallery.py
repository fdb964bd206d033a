"""The gallery: results one may see, newest first, with a search over their prompts."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from tasks_app.access.policy import Verb, can
from tasks_app.forms.gallery import GalleryForm
from tasks_app.models import Asset, Generation, Source, Team
from tasks_app.states import State
from tasks_app.views.requests import UserRequest

PAGE_TILES = 24
_SHOWN = (Asset.State.COPIED, Asset.State.WAITING)
_LONGEST_KEY = 18


@require_GET
@login_required
def gallery(request: UserRequest) -> HttpResponse:
    """A page of tiles, or with htmx the tiles that follow."""
    user = request.user
    visible = Generation.objects.visible_to(user)
    teams: QuerySet[Team] = Team.objects.all() if user.is_superuser else Team.objects.of(user)
    sources = Source.objects.exclude(kind=Source.PROXMOX).filter(
        Exists(visible.filter(task__source=OuterRef("pk")))
    )
    form = GalleryForm(request.GET, user=user, sources=sources, teams=teams.select_related("group"))
    before = _key(request.GET.get("before", ""))
    tiles, following = _page(form, visible, before)
    context: dict[str, Any] = {
        "form": form,
        "tiles": tiles,
        "next_query": form.address(before=str(following)) if following else "",
        "is_first_page": before is None,
        "may_clean_up": can(user, Verb.CLEAN_UP),
    }
    if not tiles:
        context["empty"] = "filtered" if form.chosen or before else "none"
        context["may_generate"] = can(user, Verb.GENERATE)
    template = "gallery/_tiles.html" if request.htmx.target == "gallery-more" else "gallery/gallery.html"
    return render(request, template, context)


def _page(
    form: GalleryForm, visible: QuerySet[Generation], before: int | None
) -> tuple[list[Generation], int | None]:
    """Completed tasks with a file that is there or on its way, and the key after which the next page begins."""
    files = Asset.objects.filter(generation=OuterRef("pk"), state__in=_SHOWN)
    rows = form.apply(visible.filter(Exists(files), task__state=State.COMPLETED))  # type: ignore[arg-type]
    if before is not None:
        rows = rows.filter(task_id__lt=before)
    shown = Asset.objects.filter(state__in=_SHOWN).order_by("number")
    found = list(
        rows.select_related("task__source", "team__group")
        .prefetch_related(Prefetch("assets", shown, to_attr="shown_assets"))
        .order_by("-task_id")[: PAGE_TILES + 1]
    )
    more = len(found) > PAGE_TILES
    found = found[:PAGE_TILES]
    return found, found[-1].pk if more else None


def _key(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_KEY else None
