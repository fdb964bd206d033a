"""Filters of the pages about orders."""

from datetime import datetime

from django import template
from django.utils.timezone import now

from tasks_app.models import CatalogItem
from tasks_app.services.quotas import QuotaLine

register = template.Library()


@register.filter
def mib(number: int | None) -> str:
    """MiB as `1.5 GiB`, below a GiB as `512 MiB`; a dash when it is not known."""
    if number is None:
        return "–"
    return f"{number / 1024:.4g} GiB" if number >= 1024 else f"{number} MiB"


@register.filter
def quota_words(line: QuotaLine) -> str:
    """`7 → 8 of 20`, or `7 → 8` where nothing limits it."""
    words = f"{_amount(line, line.used)} → {_amount(line, line.after)}"
    return f"{words} of {_amount(line, line.limit)}" if line.limit is not None else f"{words}, no limit"


def _amount(line: QuotaLine, number: int) -> str:
    if line.unit == "MiB":
        return mib(number) if number else "0"
    return f"{number} {line.unit}".strip()


@register.filter
def machine_word(item: CatalogItem | None, count: int = 1) -> str:
    """`VM` or `container`, `VMs` or `containers`; `machines` of an item that is gone."""
    word = "machine" if item is None else "VM" if item.guest_kind == "qemu" else "container"
    return word if count == 1 else f"{word}s"


@register.filter
def since(at: datetime) -> float:
    """Seconds from `at` until now; a script counts on."""
    return max(0.0, (now() - at).total_seconds())
