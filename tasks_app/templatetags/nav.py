"""The sections of the portal as one person sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse

from tasks_app.access.overview import Overview, overview_of
from tasks_app.access.policy import Verb

register = template.Library()


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the navigation; `count` is what waits there."""

    address: str
    words: str
    icon: str
    is_current: bool
    count: int = 0


def _holds(*verbs: Verb) -> Callable[[Overview], bool]:
    return lambda seen: not seen.verbs.isdisjoint(verbs)


def _everybody(_: Overview) -> bool:
    return True


def _has_role(seen: Overview) -> bool:
    return seen.has_role


def _is_concerned(seen: Overview) -> bool:
    return seen.has_role or seen.is_member


def _makes(seen: Overview) -> bool:
    return seen.makes


def _looks_on(seen: Overview) -> bool:
    """Results of others can be seen; who makes some finds the gallery beside the forms."""
    return seen.sees_results and not seen.makes


Entry = tuple[str, str, str, Callable[[Overview], bool]]
_PARTS = {"generate": ("/gallery/",)}
"""Pages that belong to a section without lying below it."""
_MAIN: tuple[Entry, ...] = (
    ("dashboard", "Dashboard", "layout-dashboard", _everybody),
    ("tasks", "Tasks", "list-checks", _everybody),
    ("history", "History", "history", _is_concerned),
    ("generate", "Generate", "clapperboard", _makes),
    ("gallery", "Gallery", "images", _looks_on),
    ("catalogue", "Catalogue", "shopping-bag", _holds(Verb.ORDER, Verb.SEE_ITEM)),
    ("machines", "Machines", "monitor", _is_concerned),
    ("approvals", "Approvals", "stamp", _holds(Verb.APPROVE)),
    ("guests", "Guests", "boxes", _has_role),
)
# side by side while there is one of them, else in a menu: the bar stays below eight entries
_MORE: tuple[Entry, ...] = (
    ("audit", "Audit", "shield-check", _holds(Verb.SEE_AUDIT)),
    ("sources", "Sources", "server", _has_role),
    ("items", "Catalogue items", "package", _holds(Verb.SEE_ITEM)),
    ("teams", "Teams", "users-round", _holds(Verb.SEE_TEAM)),
    ("people", "People", "users", _holds(Verb.MANAGE_PEOPLE)),
    ("identities", "Identities", "contact-round", _holds(Verb.MANAGE_PEOPLE)),
    ("limits", "Time limits", "hourglass", _holds(Verb.SET_LIMITS)),
    ("results-retention", "Result retention", "archive", _holds(Verb.CLEAN_UP)),
    ("retention", "Task retention", "archive-x", _holds(Verb.CLEAN_UP)),
)


@register.inclusion_tag("shared/_nav.html", takes_context=True)
def navigation(context: dict[str, Any]) -> dict[str, Any]:
    """The sections this person may open, the one they are in is marked; and how many notices they have not read."""
    request = context["request"]
    seen = overview_of(request.user)
    main = _sections(_MAIN, seen, request.path)
    more = _sections(_MORE, seen, request.path)
    if len(more) == 1:
        main, more = main + more, []
    return {
        "items": main,
        "more": more,
        "more_words": "Admin" if Verb.MANAGE_ITEM in seen.verbs else "More",
        "more_is_current": any(item.is_current for item in more),
        "unread": seen.unread,
        "inbox_is_current": request.path.startswith("/inbox/"),
    }


def _sections(entries: tuple[Entry, ...], seen: Overview, path: str) -> list[Section]:
    found = []
    for name, words, icon, fits in entries:
        address = _address(name)
        if address and fits(seen):
            places = (address, *_PARTS.get(name, ()))
            is_current = path == address if address == "/" else path.startswith(places)
            found.append(
                Section(address, words, icon, is_current, seen.waiting if name == "approvals" else 0)
            )
    return found


def _address(name: str) -> str:
    try:
        return reverse(f"portal:{name}")
    except NoReverseMatch:
        return ""
