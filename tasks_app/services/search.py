"""Pages of the history, newest first: by text and filters, in bounded work, and honest about how far was looked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from tasks_app.ingest.texts import WORDS, words_of
from tasks_app.models import Task, TaskText
from tasks_app.models.search import LAST_KEY, find_matches, is_searchable
from tasks_app.models.task import TaskQuerySet
from tasks_app.services.history_filters import HistoryFilters

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

BATCHES = (120, 400, 1000)
"""Matches of the text that are looked up for one page, one batch after the other until the page is full."""
SELECTED = 1000
"""When most matches do not pass the filters: so many tasks that do are looked at for the text instead."""
NOT_INDEXED = 200
"""Tasks whose text is not indexed yet that each page looks at, newest first."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_PK_BITS = 63
_UPID = re.compile(r"UPID:[^\s\"'<>]{1,990}")
_LONGEST_CURSOR = 40  # digits


@dataclass(frozen=True, slots=True)
class SearchPage:
    """`tasks` newest first, at most `size`. `next_below` begins the next page; None when there is nothing further.

    `searched_to` is set when the work that one page may cost ran out: tasks that began before were not looked at; the
    next page goes on there. `is_behind`: tasks have come whose words are not searched yet.
    """

    tasks: list[Task]
    next_below: int | None
    searched_to: datetime | None = None
    is_behind: bool = False


def parse_below(text: str) -> int | None:
    """`next_below` as it stands in an address; None for anything else."""
    is_ours = text.isascii() and text.isdigit() and len(text) <= _LONGEST_CURSOR
    return int(text) if is_ours else None


def time_of_place(below: int | None, terms: tuple[str, ...]) -> datetime | None:
    """When the last task began before the page that `below` begins, to the second; None for the first page."""
    if below is None:
        return None
    try:
        return TaskText.time_of(below) if terms else _EPOCH + timedelta(seconds=(below >> _PK_BITS) // 10**6)
    except (OverflowError, OSError, ValueError):
        return None


def find_task(user: "AbstractBaseUser | AnonymousUser", text: str) -> Task | None:
    """The task whose UPID stands in `text`, or whose id of our own API it is; None if `user` sees none, or several."""
    upid = _UPID.search(text)
    names = {text.strip()} if upid is None else {upid[0], f"{upid[0].rstrip(':')}:", upid[0].rstrip(".,;)")}
    found = [task for name in sorted(names) for task in Task.objects.visible_to(user).by_api_id(name)[:2]]
    return found[0] if len(found) == 1 else None


def search_page(
    tasks: TaskQuerySet,
    terms: tuple[str, ...],
    *,
    below: int | None,
    size: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> SearchPage:
    """A page of `tasks` that have all `terms` in their text; of all of them without terms.

    `tasks` are filtered already by what the person may see and asks for, and select what a row shows. `since` and
    `until` repeat a filter in time, so that the text index need not look outside.
    """
    if not terms:
        return _newest(tasks, below, size)
    if not is_searchable(terms):
        return SearchPage([], None)
    search = _Search(tasks, terms, below, since, until)
    keys, searched_to = search.find(size)
    waiting = search.not_indexed()
    # What is older than the last that was looked at waits for its own page, or it would be shown twice.
    keys |= {key: pk for key, pk in waiting.items() if searched_to is None or key >= searched_to}
    shown = sorted(keys, reverse=True)[:size]
    next_below = shown[-1] if len(keys) > size else searched_to
    rows = {task.pk: task for task in tasks.filter(pk__in=[keys[key] for key in shown])}
    return SearchPage(
        [rows[keys[key]] for key in shown if keys[key] in rows],
        next_below,
        TaskText.time_of(searched_to) if searched_to is not None and next_below == searched_to else None,
        len(search.waiting_pks) == NOT_INDEXED,
    )


def history_page(tasks: TaskQuerySet, filters: HistoryFilters, *, below: int | None, size: int) -> SearchPage:
    """The page of `tasks`, which are what the person may see, that pass `filters`."""
    if filters.terms:
        times = {"since": filters.since, "until": filters.until}
        return search_page(filters.apply(tasks), filters.terms, below=below, size=size, **times)
    pages = [_newest(part, below, size) for part in filters.parts(tasks)]
    if len(pages) == 1:
        return pages[0]
    both = sorted((task for page in pages for task in page.tasks), key=place_of, reverse=True)
    more = len(both) > size or any(page.next_below is not None for page in pages)
    return SearchPage(both[:size], place_of(both[size - 1]) if more else None)


def newest_matches(
    terms: tuple[str, ...], *, most: int, since: datetime | None = None, until: datetime | None = None
) -> tuple[list[int], datetime | None]:
    """The newest tasks with all `terms` in their text, whoever may see them; None, or how far back was looked.

    In bounded work: there can be fewer than `most` although there are more.
    """
    if not is_searchable(terms):
        return [], None
    first, last = _between(since, until)
    found = find_matches(terms, below=last, limit=most, lowest=first)
    searched_to = TaskText.time_of(found.looked_to) if found.looked_to is not None else None
    return [match.task_id for match in found.matches], searched_to


def having_words(tasks: TaskQuerySet, terms: tuple[str, ...]) -> list[Task]:
    """Those of a few tasks whose own words, without their logs, contain all `terms`; each task is read."""
    fields = tasks.order_by().select_related(None).only("pk", "started_at", *WORDS)
    return [task for task in fields if all(term in words_of(task) for term in terms)]


class _Search:
    """The work for one page."""

    def __init__(
        self,
        tasks: TaskQuerySet,
        terms: tuple[str, ...],
        below: int | None,
        since: datetime | None,
        until: datetime | None,
    ) -> None:
        self.tasks, self.terms = tasks.order_by(), terms
        self.lowest, last = _between(since, until)
        self.below = min(bound for bound in (below, last, LAST_KEY) if bound is not None)
        self.waiting_pks: list[int] = []

    def find(self, size: int) -> tuple[dict[int, int], int | None]:
        """Key → task of at least `size` + 1 hits where there are so many, and the key down to which was looked."""
        found: dict[int, int] = {}
        below = self.below
        for limit in BATCHES:
            matches, looked_to = find_matches(self.terms, below=below, limit=limit, lowest=self.lowest)
            passing = self._passing([match.task_id for match in matches])
            found |= {match.key: match.task_id for match in matches if match.task_id in passing}
            if len(found) > size or looked_to is None:
                return found, looked_to
            below = looked_to
        return self._find_among_selected(found, below)

    def _find_among_selected(
        self, found: dict[int, int], looked_to: int
    ) -> tuple[dict[int, int], int | None]:
        """Few of the matches pass the filters: perhaps these leave so few tasks that their texts can be looked at."""
        newest = self.tasks.order_by("-started_at", "-pk")
        if self.below < LAST_KEY:
            newest = newest.filter(started_at__lt=TaskText.time_of(self.below) + _SECOND)
        selected = list(newest.values_list("pk", "started_at")[:SELECTED])
        is_all = len(selected) < SELECTED
        reached = 0 if is_all else TaskText.first_key(selected[-1][1] + _SECOND)
        if reached >= looked_to:
            return found, looked_to
        texts = TaskText.objects.filter(task__in=[pk for pk, _ in selected], key__lt=self.below)
        for term in self.terms:
            texts = texts.filter(text__contains=term)
        found |= dict(texts.values_list("key", "task"))
        return found, None if is_all else reached

    def _passing(self, pks: Sequence[int]) -> set[int]:
        return set(self.tasks.filter(pk__in=pks).values_list("pk", flat=True)) if pks else set()

    def not_indexed(self) -> dict[int, int]:
        """Key → task of hits among tasks whose words have changed a moment ago."""
        due = Task.objects.filter(is_indexed=False).order_by("-pk")
        self.waiting_pks = list(due.values_list("pk", flat=True)[:NOT_INDEXED])
        if not self.waiting_pks:
            return {}
        hits = having_words(self.tasks.filter(pk__in=self.waiting_pks), self.terms)
        keys = {TaskText.key_of(task): task.pk for task in hits}
        return {key: pk for key, pk in keys.items() if key < self.below}


def _between(since: datetime | None, until: datetime | None) -> tuple[int | None, int | None]:
    """The lowest key, and the first above."""
    first = TaskText.first_key(since) if since else None
    return first, TaskText.first_key(until + _SECOND) if until else None


def _newest(tasks: TaskQuerySet, below: int | None, size: int) -> SearchPage:
    """By time and key, which an index serves whatever the filter."""
    if below is not None:
        micros, pk = divmod(below, 1 << _PK_BITS)
        try:
            at = _EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            return SearchPage([], None)
        same = Q(started_at=at, pk__lt=pk)
        tasks = tasks.filter(Q(started_at__lte=at) & (Q(started_at__lt=at) | same))
    rows = list(tasks.order_by("-started_at", "-pk")[: size + 1])
    more = len(rows) > size
    return SearchPage(rows[:size], place_of(rows[size - 1]) if more else None)


def place_of(task: Task) -> int:
    """`next_below` of a page without a text whose last task this is."""
    micros = (task.started_at - _EPOCH) // timedelta(microseconds=1)
    return (max(0, micros) << _PK_BITS) | task.pk
