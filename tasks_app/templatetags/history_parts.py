"""Tags of the history's page: counts, links that change one filter, and the bars of the histogram."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import localtime

from tasks_app.forms.audit import AuditFilterForm
from tasks_app.forms.history import HistoryFilterForm
from tasks_app.services.facets import FacetValue, GridRow
from tasks_app.services.histogram import Bucket, Histogram
from tasks_app.states import ATTENTION, OUTCOMES, WARNINGS, State
from tasks_app.templatetags.audit_parts import deed_words
from tasks_app.templatetags.portal import COUNT_LIMIT, capped

register = template.Library()

_SMALLEST = 3.0  # per cent of the height: one failure among thousands is still seen
_BAR = 0.84  # of a bucket's width
_SHORT = {WARNINGS: "Warnings"}
_SPANS = [("24h", "24 h"), ("7d", "7 days"), ("30d", "30 days")]
_SPAN_WORDS = {value: f"{words} ago" for value, words in _SPANS}


_STYLES = {
    ATTENTION: mark_safe('data-state="failed"'),
    **{outcome: format_html('data-state="{}"', str(outcome)) for outcome in OUTCOMES},
    WARNINGS: mark_safe('data-state="completed" data-sign="warnings"'),
}
_HATCHED = {State.FAILED, State.LOST, WARNINGS}


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks of one outcome in a bar; `y` and `height` in per cent of the plot, from its top."""

    outcome: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bucket; `left`, `x` and the widths in per cent of the plot. `query` is that of its own stretch of time."""

    since: str
    until: str
    query: str
    words: str
    name: str
    left: float
    width: float
    x: float
    bar_width: float
    parts: list[Part]


@register.filter
def facet_count(value: FacetValue) -> str:
    """`1 284`; `500+` when there are at least so many."""
    return capped(value.count) + ("+" if value.is_capped and value.count <= COUNT_LIMIT else "")


@register.filter
def filling(outcome: str) -> SafeString:
    """Failures and warnings have a pattern beside their colour."""
    return (
        format_html('fill="url(#hatch-{})"', str(outcome)) if outcome in _HATCHED else mark_safe("data-plain")
    )


@register.filter
def outcome_words(outcome: str) -> str:
    """The outcome where room is scarce."""
    return _SHORT.get(outcome) or OUTCOMES.get(outcome, outcome)


@register.filter
def row_count(row: GridRow) -> str:
    """All of a row of the grid, written like its cells."""
    is_capped = any(cell.is_capped for cell in row.cells)
    return facet_count(FacetValue("", "", row.total, is_capped))


@register.filter
def styled(outcome: str) -> SafeString:
    """The attributes by which CSS knows an outcome."""
    return _STYLES.get(outcome, mark_safe(""))


@register.simple_tag
def with_filter(chosen: dict[str, str], **changes: str) -> str:
    """The query of a page on which `chosen` is set, with these filters changed; an empty value takes one away."""
    return "?" + urlencode({name: value for name, value in (chosen | changes).items() if value})


@register.simple_tag
def facet_query(chosen: dict[str, str], name: str, value: FacetValue) -> str:
    """The query with this value chosen, or without it when it is chosen already."""
    return with_filter(chosen, **{name: "" if value.is_chosen else value.value})


@register.inclusion_tag("history/_histogram.html")
def histogram_of(histogram: Histogram, form: HistoryFilterForm) -> dict[str, Any]:
    """Bars over time, the choice of a stretch, and what the colours mean."""
    count = len(histogram.buckets)
    others = {name: value for name, value in form.chosen.items() if name not in ("since", "until")}
    bars = [_bar(histogram, others, number) for number in range(count)]
    sums = {
        outcome: sum(bucket.counts.get(outcome, 0) for bucket in histogram.buckets) for outcome in OUTCOMES
    }
    return {
        "bars": bars,
        "step": histogram.step,
        "is_utc": histogram.step != "hour" and bool(localtime().utcoffset()),
        "highest": histogram.highest,
        "axis": [bars[n].name.removeprefix("week of ") for n in _marks(count)],
        "legend": [(outcome, outcome_words(outcome), n) for outcome, n in sums.items() if n],
        "counted_to": histogram.counted_to,
        "base": urlencode(others),
        "form": form,
    }


@register.inclusion_tag("history/_spans.html")
def time_spans(form: HistoryFilterForm | AuditFilterForm) -> dict[str, Any]:
    """The last day, week, month, or everything."""
    span = form.chosen.get("since", "") if "until" not in form.chosen else None
    return {
        "spans": [
            (words, form.address(since=value, until=""), span == value)
            for value, words in [*_SPANS, ("", "All")]
        ]
    }


@register.inclusion_tag("history/_range.html")
def time_range(form: HistoryFilterForm | AuditFilterForm) -> dict[str, Any]:
    """The choice of a stretch of time, with all other filters as they are."""
    others = {name: value for name, value in form.chosen.items() if name not in ("since", "until")}
    return {"others": others, "range": range_of(form)}


def range_of(form: HistoryFilterForm | AuditFilterForm) -> dict[str, str]:
    """`since` and `until` as a browser's field for a time wants them, in the portal's zone; those that are set."""
    moments = {"since": form.filters.since, "until": form.filters.until}
    return {name: f"{localtime(at):%Y-%m-%dT%H:%M}" for name, at in moments.items() if at is not None}


def set_filters(form: HistoryFilterForm | AuditFilterForm) -> list[tuple[str, str]]:
    """(words, query without it) of every filter that is set."""
    times = range_of(form)
    found = []
    for name, words in zip(form.chosen, form.chosen_words, strict=True):
        label, _, value = words.partition(": ")
        if name in times and "T" in value:
            value = times[name].replace("T", " ")
        elif name in times:
            value = _SPAN_WORDS.get(value, value)
        elif name == "action":
            value = deed_words(value)
        found.append((f"{label}: {value}", form.address(**{name: ""})))
    return found


def _marks(count: int) -> list[int]:
    """Which bars are named below the plot."""
    if count > 4:
        return [0, count // 2, count - 1]
    return sorted({0, count - 1}) if count else []


def _bar(histogram: Histogram, others: dict[str, str], number: int) -> Bar:
    bucket, share = histogram.buckets[number], 100 / len(histogram.buckets)
    since, until = _moment(bucket.since), _moment(bucket.until)
    name = _name(bucket.since, histogram.step)
    told = ", ".join(f"{n} {outcome_words(outcome).lower()}" for outcome, n in bucket.counts.items())
    return Bar(
        since=since,
        until=until,
        query=with_filter(others, since=since, until=until),
        words=f"{name}: {told or 'no task'}",
        name=name,
        left=round(number * share, 3),
        width=round(share, 3),
        x=round((number + (1 - _BAR) / 2) * share, 3),
        bar_width=round(share * _BAR, 3),
        parts=_parts(bucket, histogram.highest),
    )


def _parts(bucket: Bucket, highest: int) -> list[Part]:
    """From the bottom up, failures first; what would be too low to see is raised at the cost of the largest."""
    if not bucket.total or not highest:
        return []
    heights = {outcome: max(_SMALLEST, 100 * n / highest) for outcome, n in bucket.counts.items()}
    largest = max(heights, key=lambda outcome: heights[outcome])
    heights[largest] -= max(0.0, sum(heights.values()) - 100)
    parts, top = [], 100.0
    for outcome, height in heights.items():
        top -= height
        parts.append(Part(outcome, round(max(0.0, top), 2), round(height, 2)))
    return parts


def _moment(at: datetime) -> str:
    """As it stands in an address: UTC, to the minute where that is exact."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M}Z" if not at.second else f"{at:%Y-%m-%dT%H:%M:%S}Z"


def _name(at: datetime, step: str) -> str:
    if step == "hour":
        local = localtime(at)
        return f"{local.day} {local:%b %H:%M}"
    day = at.astimezone(UTC)
    match step:
        case "week":
            return f"week of {day.day} {day:%b %Y}"
        case "month":
            return f"{day:%b %Y}"
        case "year":
            return f"{day:%Y}"
    return f"{day.day} {day:%b %Y}"
