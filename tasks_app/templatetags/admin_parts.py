"""Tags of the pages about sources, guests, people and sign-in."""

from collections.abc import Sequence
from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField
from django.utils.timezone import localtime

from tasks_app.models import Guest, Source
from tasks_app.sources.proxmox import FunctionCheck, check_functions
from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.permissions import parse_permissions

register = template.Library()

_GIB = 1 << 30


@register.inclusion_tag("shared/_field.html")
def form_field(field: BoundField) -> dict[str, Any]:
    """One field with its label, help and errors."""
    widget = field.field.widget
    return {
        "field": field,
        "is_check": isinstance(widget, forms.CheckboxInput),
        # a list to choose from says by its first entry what nothing means
        "is_optional": not field.field.required and not isinstance(widget, forms.Select),
        "is_group": isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple),
    }


@register.inclusion_tag("shared/_form_errors.html")
def form_errors(form: forms.BaseForm) -> dict[str, Any]:
    """What is wrong with the form as a whole, in front of its fields."""
    return {"errors": form.non_field_errors()}


@register.filter
def fingerprint_groups(fingerprint: str) -> list[str]:
    """`AA:BB:…` in four groups of eight pairs, which the eye can compare."""
    pairs = fingerprint.split(":")
    return [":".join(pairs[i : i + 8]) for i in range(0, len(pairs), 8)]


@register.filter
def gib(size: int | None) -> str:
    """Bytes as `8 GiB` or `0.5 GiB`; a dash when it is not known."""
    if not size:
        return "–"
    return f"{size / _GIB:.1f}".removesuffix(".0") + " GiB"


@register.filter
def host(url: str) -> str:
    """`pve1:8006` of `https://pve1:8006`."""
    return url.partition("://")[2] or url


@register.filter
def hosts(urls: Sequence[str]) -> str:
    return ", ".join(host(url) for url in urls)


@register.filter
def health_words(source: Source) -> str:
    """How a source is, in words: `Unreachable since 14:02, showing last known`."""
    if source.paused_at:
        return f"Paused since {_clock(source.paused_at)}, showing last known"
    if source.failing_since:
        return f"Unreachable since {_clock(source.failing_since)}, showing last known"
    return "Reachable" if source.last_pass_at else "Waiting for its first answer"


def _clock(at: Any) -> str:
    """`14:02`, with the date when it was another day."""
    local = localtime(at)
    return f"{local:%H:%M}" if local.date() == localtime().date() else f"{local:%d %b %H:%M}"


def functions_of(source: Source) -> list[FunctionCheck]:
    """What the source's token may do, by the permissions that were last read."""
    major = source.version.partition(".")[0]
    version = Version(source.version, source.version, int(major) if major.isdecimal() else 9)
    return check_functions(parse_permissions(source.permissions), version, token_id=source.token_id)


@register.filter
def missing_count(source: Source) -> int:
    """How many functions of the portal the token does not allow; 0 before the permissions have been read."""
    return sum(not check.allowed for check in functions_of(source)) if source.permissions_at else 0


@register.filter
def tag_list(guest: Guest) -> list[str]:
    """The guest's tags; Proxmox separates them by semicolons."""
    return [tag for tag in guest.tags.replace(",", ";").split(";") if tag]
