"""What a person asks of the audit trail, as values: pages, saved views and exports make it from an address."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce

from tasks_app.models import AuditEntry, AuditHead
from tasks_app.models.search import parse_terms

WINDOW = 20_000
"""Numbers that one query looks at when the filters leave little of them: about 20 ms."""
CHUNK = 500
"""Entries in memory at a time."""
LATE = timedelta(hours=1)
"""An entry takes its time before it takes its number; nothing waits longer in between for the end of the chain."""

_TARGET = re.compile(r"([a-z]+):(.+)", re.ASCII | re.DOTALL)
_TEXTS = ("actor_name", "action", "target_id", "target_name", "source_name", "request_id", "user_agent", "ip")


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What is set; everything else is empty. `since` is included, `until` is not.

    `text`: words that all stand somewhere in the entry, in any case. `target`: `kind:id` as entries have it, or a part
    of the name. The others are as the entry has them, in whole.
    """

    text: str = ""
    actor: str = ""
    action: str = ""
    result: str = ""
    source: str = ""
    target: str = ""
    request: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """The entries that pass every filter; for reading newest first (-at, -id), which indexes serve."""
        return self._apply(entries, is_walk=False)

    def walk(self, entries: QuerySet[AuditEntry]) -> Iterator[list[AuditEntry]]:
        """The same entries by number, oldest first, in chunks of at most CHUNK; up to the end as it is now.

        Every chunk is a short query of its own over a bounded stretch of numbers, so that any number of entries needs
        neither memory nor an open transaction. What is purged meanwhile is left out.
        """
        entries = self._apply(entries, is_walk=True).order_by("number")
        last, end = self._stretch()
        while last < end:
            top = min(last + WINDOW, end)
            chunk = list(entries.filter(number__gt=last, number__lte=top)[:CHUNK])
            last = chunk[-1].number if len(chunk) == CHUNK else top
            if chunk:
                yield chunk

    def walk_back(
        self, entries: QuerySet[AuditEntry], *, below: int | None, most: int
    ) -> Iterator[tuple[int, list[AuditEntry]]]:
        """The same by number, newest first, from under `below` on: how far was looked, and what was found on the way.

        Each look is a short query over a bounded stretch of numbers and finds at most `most`.
        """
        entries = self._apply(entries, is_walk=True).order_by("-number")
        first, last = self._stretch()
        last = last if below is None else min(last, below - 1)
        while last > first:
            bottom = max(first, last - WINDOW)
            chunk = list(entries.filter(number__gt=bottom, number__lte=last)[:most])
            last = chunk[-1].number - 1 if len(chunk) == most else bottom
            yield last + 1, chunk

    @property
    def is_in_order(self) -> bool:
        """Whether an index has what passes in the order of time, with nothing in between that does not pass."""
        with_index = (self.actor, self.action, self.request, self.target)
        beside = (self.text, self.result, self.source, self.target and not _TARGET.fullmatch(self.target))
        return len([value for value in with_index if value]) <= 1 and not any(beside)

    def _apply(self, entries: QuerySet[AuditEntry], *, is_walk: bool) -> QuerySet[AuditEntry]:
        wanted: dict[str, Any] = {
            "actor_name": self.actor,
            "action": self.action,
            "result": self.result,
            "source_name": self.source,
            "request_id": self.request,
            "at__gte": self.since,
            "at__lt": self.until,
        }
        target = _TARGET.fullmatch(self.target)
        if target:
            wanted |= {"target_kind": target[1], "target_id": target[2]}
        elif self.target:
            entries = entries.filter(target_name__icontains=self.target)
        for lookup, value in wanted.items():
            if value:
                entries = (
                    _beside_index(entries, lookup, value) if is_walk else entries.filter(**{lookup: value})
                )
        if self.text:
            entries = entries.alias(data_text=Cast("data", TextField()))
        for term in parse_terms(self.text):
            entries = entries.filter(_contains(term))
        return entries

    def _stretch(self) -> tuple[int, int]:
        """The number before the first that is to be looked at, and the last."""
        head = AuditHead.objects.filter(pk=AuditHead.KEY).first()
        if head is None:
            return 0, 0
        first, last = head.purged_to, head.number
        if self.since is not None:
            before = AuditEntry.objects.filter(at__lt=self.since - LATE).order_by("-at", "-id")
            first = max(first, before.values_list("number", flat=True).first() or 0)
        if self.until is not None:
            after = AuditEntry.objects.filter(at__gte=self.until + LATE).order_by("at", "id")
            last = min(last, after.values_list("number", flat=True).first() or last)
        return first, last


def _beside_index(entries: QuerySet[AuditEntry], lookup: str, value: Any) -> QuerySet[AuditEntry]:
    """Filtered by a column in a way that no index serves.

    With the index, SQLite reads and sorts all entries of a person for each stretch of numbers, instead of the stretch.
    """
    column, _, comparison = lookup.partition("__")
    name = f"walked_{column}"
    return entries.alias(**{name: Coalesce(column, column)}).filter(
        **{f"{name}__{comparison}" if comparison else name: value}
    )


def _contains(term: str) -> Q:
    found = Q()
    for name in _TEXTS:
        found |= Q(**{f"{name}__icontains": term})
    # SQLite keeps JSON as it was written, PostgreSQL as it reads it
    for written in {json.dumps(term)[1:-1], json.dumps(term, ensure_ascii=False)[1:-1]}:
        found |= Q(data_text__icontains=written)
    return found
