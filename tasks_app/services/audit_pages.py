"""Pages of the audit trail, newest first, in bounded work, and honest about how far was looked."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from tasks_app.audit.filters import AuditFilters
from tasks_app.models import AuditEntry

MOST_LOOKS = 8
"""Stretches of the trail that one page looks at when little of them passes the filters; see AuditFilters.walk_back."""
_LONGEST_NUMBER = 18  # digits


@dataclass(frozen=True, slots=True)
class EntryPage:
    """`entries` newest first. `next_below` is the number that begins the next page; None when there is nothing further.

    `searched_to` is set when the work that one page may cost ran out: older entries were not looked at.
    """

    entries: list[AuditEntry]
    next_below: int | None = None
    searched_to: datetime | None = None


def parse_below(text: str) -> int | None:
    """`next_below` as it stands in an address; None for anything else."""
    is_ours = text.isascii() and text.isdigit() and 0 < len(text) <= _LONGEST_NUMBER
    return int(text) if is_ours else None


def entry_page(
    entries: QuerySet[AuditEntry], filters: AuditFilters, *, below: int | None, size: int
) -> EntryPage:
    """The page of `entries`, which are those that the person may see, that pass `filters`.

    Where an index has them in order it is read. Anything else (a text, a result, the sources of one's own) is
    looked for in one stretch of the trail after the other.
    """
    is_restricted = entries.query.has_filters()
    if not is_restricted and filters.is_in_order:
        return _by_index(filters.apply(entries), below, size)
    found: list[AuditEntry] = []
    looks = 0
    for lowest, chunk in filters.walk_back(entries, below=below, most=size + 1):
        found, looks = found + chunk, looks + 1
        if len(found) > size:
            return EntryPage(found[:size], found[size - 1].number)
        if looks == MOST_LOOKS:
            return EntryPage(found, lowest, _time_of(lowest))
    return EntryPage(found)


def _by_index(entries: QuerySet[AuditEntry], below: int | None, size: int) -> EntryPage:
    if below is not None:
        last = AuditEntry.objects.filter(number=below).values_list("at", "pk").first()
        if last is None:
            return EntryPage([])
        at, pk = last
        entries = entries.filter(Q(at__lte=at) & (Q(at__lt=at) | Q(at=at, pk__lt=pk)))
    found = list(entries.order_by("-at", "-pk")[: size + 1])
    more = len(found) > size
    return EntryPage(found[:size], found[size - 1].number if more else None)


def _time_of(number: int) -> datetime | None:
    return AuditEntry.objects.filter(number=number).values_list("at", flat=True).first()
