"""What there is beside the rows of the history: counts by each filter, type × outcome, and a histogram over time.

Where only source, node, type, outcome and time are asked for, the tallies tell exact numbers. For anything else the
newest matches are counted, at most LIMIT, and what comes of that says so. The cost does not grow with the history.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks_app.kinds import kind_of
from tasks_app.services.counting import Counting
from tasks_app.services.histogram import Bucket, Histogram, read_histogram
from tasks_app.services.history_filters import UNKNOWN, HistoryFilters
from tasks_app.states import ATTENTION, OUTCOMES, State

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

__all__ = [
    "Bucket",
    "FacetValue",
    "Facets",
    "Grid",
    "GridRow",
    "Histogram",
    "Overview",
    "facets",
    "grid",
    "histogram",
    "overview",
]

MOST_VALUES = 50
"""Of nodes and people; a list of thousands helps nobody choose."""
_DIMENSIONS = ("source", "node", "type", "outcome")  # in the order of Kind


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One choice: `value` for the filter, `label` for people. `is_capped`: there are at least `count`."""

    value: str
    label: str
    count: int
    is_capped: bool = False
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facets:
    """For each filter what it could be, as if it were not set itself. Most frequent first; outcomes failures first."""

    outcome: list[FacetValue]
    type: list[FacetValue]
    source: list[FacetValue]
    node: list[FacetValue]
    person: list[FacetValue]


@dataclass(frozen=True, slots=True)
class GridRow:
    """One type; a cell for each of the grid's outcomes, whose `value` is that outcome."""

    type: str
    label: str
    cells: list[FacetValue]
    total: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Type × outcome, whatever type and outcome are chosen: what failed most comes first. Only outcomes that occur."""

    outcomes: list[tuple[str, str]]
    rows: list[GridRow]


@dataclass(frozen=True, slots=True)
class Overview:
    """All three, which costs less than one by one."""

    facets: Facets
    grid: Grid
    histogram: Histogram


def overview(user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> Overview:
    counting = Counting(user, filters)
    return Overview(_facets(counting), _grid(counting), read_histogram(counting))


def facets(user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> Facets:
    return _facets(Counting(user, filters))


def grid(user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> Grid:
    return _grid(Counting(user, filters))


def histogram(user: "AbstractBaseUser | AnonymousUser", filters: HistoryFilters) -> Histogram:
    return read_histogram(Counting(user, filters))


def _facets(counting: Counting) -> Facets:
    return Facets(
        outcome=_outcomes(counting),
        type=_values(counting, "type", lambda type: kind_of(str(type)).label),
        source=_values(counting, "source", lambda pk: counting.source_names.get(int(pk), str(pk))),
        node=_values(counting, "node", str)[:MOST_VALUES],
        person=_people(counting),
    )


def _outcomes(counting: Counting) -> list[FacetValue]:
    found = {value.value: value for value in _values(counting, "outcome", lambda word: OUTCOMES[str(word)])}
    waiting, is_capped = counting.count_attention()
    is_chosen = counting.filters.outcome == ATTENTION
    attention = FacetValue(ATTENTION, "Needs attention", waiting, is_capped, is_chosen)
    in_order = [found[outcome] for outcome in OUTCOMES if outcome in found]
    return [attention, *in_order] if waiting or is_chosen else in_order


def _values(counting: Counting, name: str, label: Callable[[str | int], str]) -> list[FacetValue]:
    """What is chosen is always among them, also when nothing is left of it."""
    counts, is_capped = counting.by_kind(ignoring=name)
    place = _DIMENSIONS.index(name)
    sums: Counter[str | int] = Counter()
    for kind, count in counts.items():
        sums[kind[place]] += count
    chosen = getattr(counting.filters, name)
    if chosen and chosen != ATTENTION:
        sums.setdefault(chosen, 0)
    values = [
        FacetValue(str(value), label(value), count, is_capped, value == chosen)
        for value, count in sums.items()
        if value != "" and (count > 0 or value == chosen)
    ]
    return _most_first(values)


def _people(counting: Counting) -> list[FacetValue]:
    counts, is_capped = counting.by_person()
    chosen = counting.filters.person
    sums = Counter({name or UNKNOWN: count for name, count in counts.items()})
    if chosen:
        sums.setdefault(chosen, 0)
    values = (
        FacetValue(name, "Unknown person" if name == UNKNOWN else name, count, is_capped, name == chosen)
        for name, count in sums.items()
    )
    return _most_first(values)[:MOST_VALUES]


def _most_first(values: Iterable[FacetValue]) -> list[FacetValue]:
    return sorted(values, key=lambda value: (-value.count, value.label))


def _grid(counting: Counting) -> Grid:
    counts, is_capped = counting.by_kind(ignoring="grid")
    cells: Counter[tuple[str, str]] = Counter()
    for (_, _, type, outcome), count in counts.items():
        cells[type, outcome] += count
    occurring = {outcome for (_, outcome), count in cells.items() if count > 0}
    outcomes = [(outcome, label) for outcome, label in OUTCOMES.items() if outcome in occurring]
    types = {type for (type, _), count in cells.items() if count > 0}
    rows = [_grid_row(counting, type, outcomes, cells, is_capped) for type in types]
    return Grid(outcomes, sorted(rows, key=_by_failures(cells)))


def _grid_row(
    counting: Counting,
    type: str,
    outcomes: list[tuple[str, str]],
    cells: Mapping[tuple[str, str], int],
    is_capped: bool,
) -> GridRow:
    chosen = (counting.filters.type, counting.filters.outcome)
    values = [
        FacetValue(outcome, label, cells.get((type, outcome), 0), is_capped, chosen == (type, outcome))
        for outcome, label in outcomes
    ]
    return GridRow(type, kind_of(type).label, values, sum(value.count for value in values))


def _by_failures(cells: Mapping[tuple[str, str], int]) -> Callable[[GridRow], tuple[int, int, str]]:
    bad = (State.FAILED, State.LOST)
    return lambda row: (-sum(cells.get((row.type, outcome), 0) for outcome in bad), -row.total, row.label)
