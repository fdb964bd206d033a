"""Tags and filters of the portal's templates."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime, now

from tasks_app.access.policy import Verb, can

register = template.Library()


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the navigation."""

    address: str
    words: str
    icon: str
    is_current: bool


_SECTIONS = (
    ("dashboard", "Dashboard", "layout-dashboard", ""),
    ("tasks", "Tasks", "list-checks", ""),
    ("guests", "Guests", "monitor", ""),
    ("sources", "Sources", "server", ""),
    ("people", "People", "users", Verb.MANAGE_PEOPLE),
)


def _address(name: str) -> str:
    try:
        return reverse(f"portal:{name}")
    except NoReverseMatch:
        return ""


@register.inclusion_tag("shared/_nav.html", takes_context=True)
def navigation(context: dict[str, Any]) -> dict[str, Any]:
    """The sections this person may open; the one they are in is marked."""
    request = context["request"]
    items = []
    for name, words, icon, verb in _SECTIONS:
        address = _address(name)
        if address and (not verb or can(request.user, Verb(verb))):
            is_current = request.path == address if address == "/" else request.path.startswith(address)
            items.append(Section(address, words, icon, is_current))
    return {"items": items}


def ago(at: datetime, *, today: datetime) -> str:
    """`8 s ago`, `12 min ago`, `3 h ago`, then the date. Times ahead of us (clock skew) read `just now`."""
    seconds = (today - at).total_seconds()
    if seconds < 1:
        return "just now"
    if seconds < 60:
        return f"{int(seconds)} s ago"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 24 * 3600:
        return f"{int(seconds // 3600)} h ago"
    local = localtime(at)
    return f"{local:%d %b %H:%M}" if local.year == localtime(today).year else f"{local:%d %b %Y}"


@register.simple_tag
def moment(at: datetime | None) -> SafeString | str:
    """A time: relative for reading, absolute with its zone on hover. A script keeps the words current."""
    if at is None:
        return "–"
    local = localtime(at)
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        at.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        ago(at, today=now()),
    )


@register.filter
def duration(seconds: float | None) -> str:
    """`0:42`, `41:09`, `2:03:11`, `3 d 4 h`; a dash when it is not known."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    if whole >= 48 * 3600:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
