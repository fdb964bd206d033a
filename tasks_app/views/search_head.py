"""What the two pages of the search have on top: the way to the other page, saved views, exports."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from tasks_app.access.policy import Verb, can
from tasks_app.audit.formats import Format
from tasks_app.forms.audit import AuditFilterForm
from tasks_app.forms.history import HistoryFilterForm
from tasks_app.models import SavedView, Source
from tasks_app.services import saved_views
from tasks_app.services.history_filters import UNKNOWN
from tasks_app.services.saved_views import AUDIT, TASKS
from tasks_app.views.requests import UserRequest
from tasks_app.views.saved_views import address_of

_PAGES = {TASKS: ("portal:history", "portal:history-export"), AUDIT: ("portal:audit", "portal:audit-export")}
_SAME = ("q", "since", "until", "request")  # mean the same on both pages


@dataclass(frozen=True, slots=True)
class Tab:
    words: str
    icon: str
    address: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class SavedLink:
    view: SavedView
    address: str
    is_audit: bool
    is_current: bool
    may_change: bool


def head_of(request: UserRequest, form: HistoryFilterForm | AuditFilterForm) -> dict[str, Any]:
    """The context of `history/_head.html`."""
    on = AUDIT if isinstance(form, AuditFilterForm) else TASKS
    may_see_audit = on == AUDIT or can(request.user, Verb.SEE_AUDIT)
    page, export = _PAGES[on]
    here = _with_query(reverse(page), form.query)
    save = _with_query(reverse("portal:saved-view-add"), urlencode({"on": on, "query": form.query}))
    return {
        "on": on,
        "tabs": _tabs(request, form, on) if may_see_audit else [],
        "saved": _saved(request, here, may_see_audit),
        "save_url": save,
        "exports": [
            *((format.label, _with_query(reverse(export), form.address(format=format))) for format in Format),
            (
                "CSV for spreadsheets that need a mark of UTF-8",
                _with_query(reverse(export), form.address(format=Format.CSV, bom="on")),
            ),
        ],
    }


def _tabs(request: UserRequest, form: HistoryFilterForm | AuditFilterForm, on: str) -> list[Tab]:
    if isinstance(form, AuditFilterForm):
        tasks, audit = _for_tasks(request, form), form.query
    else:
        tasks, audit = form.query, _for_audit(form)
    return [
        Tab("Tasks", "list-checks", _with_query(reverse("portal:history"), tasks), on == TASKS),
        Tab("Audit", "shield-check", _with_query(reverse("portal:audit"), audit), on == AUDIT),
    ]


def _for_audit(form: HistoryFilterForm) -> str:
    """What of a search for tasks means something among audit entries, which keep names."""
    chosen = form.chosen
    kept = {name: chosen[name] for name in _SAME if name in chosen}
    names = {str(source.pk): source.name for source in form.sources}
    if "source" in chosen:
        kept["source"] = names[chosen["source"]]
    if chosen.get("person", UNKNOWN) != UNKNOWN:
        kept["actor"] = chosen["person"]
    return urlencode(kept)


def _for_tasks(request: UserRequest, form: AuditFilterForm) -> str:
    chosen = form.chosen
    kept = {name: chosen[name] for name in _SAME if name in chosen}
    if "actor" in chosen:
        kept["person"] = chosen["actor"]
    if "source" in chosen:
        source = Source.objects.visible_to(request.user).filter(name=chosen["source"]).first()
        kept |= {"source": str(source.pk)} if source else {}
    return urlencode(kept)


def _saved(request: UserRequest, here: str, may_see_audit: bool) -> list[SavedLink]:
    views = list(saved_views.views_for(request.user))
    changeable = saved_views.changeable(views, request.user)
    found = []
    for view in views:
        is_audit = saved_views.page_and_query(view)[0] == AUDIT
        address = address_of(view)
        if may_see_audit or not is_audit:
            found.append(SavedLink(view, address, is_audit, address == here, view.pk in changeable))
    return found


def _with_query(address: str, query: str) -> str:
    return f"{address}?{query}" if query else address
