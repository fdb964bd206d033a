"""Tags of the pages about catalogue items and teams."""

from django import template

from tasks_app.services.quotas import QuotaLine
from tasks_app.services.teams import Limits

register = template.Library()


@register.filter
def mib_words(size: int | None) -> str:
    """MiB as `512 MiB`, `8 GiB` or `1.5 GiB`."""
    if size is None:
        return "no limit"
    return f"{size} MiB" if size < 1024 else f"{size / 1024:.1f}".removesuffix(".0") + " GiB"


@register.filter
def quota_words(line: QuotaLine) -> str:
    """`3 of 10`, `6 GiB of 32 GiB`, `3, no limit`."""
    used, limit = (_amount(line.key, number) for number in (line.used, line.limit))
    return f"{used} of {limit}" if line.limit is not None else f"{used}, no limit"


@register.filter
def ceiling_words(ceiling: Limits) -> str:
    """Up to where admins of a team may go."""
    parts = [
        f"{ceiling.machines} machine{'' if ceiling.machines == 1 else 's'}"
        if ceiling.machines is not None
        else "",
        f"{ceiling.cores} core{'' if ceiling.cores == 1 else 's'}" if ceiling.cores is not None else "",
        f"{mib_words(ceiling.memory_mb)} of memory" if ceiling.memory_mb is not None else "",
        f"{ceiling.disk_gb} GiB of disk" if ceiling.disk_gb is not None else "",
    ]
    named = [part for part in parts if part]
    return f"The ceiling: {', '.join(named)}." if named else "There is no ceiling."


def _amount(key: str, number: int | None) -> str:
    if key == "memory_mb":
        return mib_words(number)
    return f"{number} GiB" if key == "disk_gb" else f"{number}"
