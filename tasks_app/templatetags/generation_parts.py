"""Filters of the pages about videos and images: where a task stands, why it failed, what became of its results."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import template
from django.utils.timezone import now

from tasks_app.ingest.sniffing import INLINE_TYPES
from tasks_app.models import Asset, Generation, Source, Task
from tasks_app.progress.estimate import format_usual, usual_duration
from tasks_app.services import generation_queue
from tasks_app.services.generation_sources import offers_of
from tasks_app.sources.generation.base import Offer
from tasks_app.sources.generation.problems import WORDS, Kind, Words
from tasks_app.states import State

register = template.Library()

_USUAL_RUNS = 30
_SHOWN_OFFERS = 4
_WORDS = {kind.value: words for kind, words in WORDS.items()}
_UNITS = ("B", "kB", "MB", "GB", "TB")
_ICONS = {Generation.Kind.VIDEO: "clapperboard", Generation.Kind.IMAGE: "image"}


def note_places(tasks: Iterable[Task]) -> None:
    """Look up the places in the portal's queue of all `tasks` at once, for `place`; no query when none waits."""
    held = [task for task in tasks if task.is_generation and task.generation.is_held]
    places = generation_queue.places([task.pk for task in held]) if held else {}
    for task in held:
        task.place_in_queue = places.get(task.pk)  # type: ignore[attr-defined]


@register.filter
def place(task: Task) -> int | None:
    """Its place in the portal's own queue, 1 is next. A few queries unless `note_places` has asked.

    On the live stream for all that were read together, `task.read_with`.
    """
    if not hasattr(task, "place_in_queue"):
        note_places(getattr(task, "read_with", [task]))
    found: int | None = getattr(task, "place_in_queue", None)
    return found


@register.filter
def standing(task: Task) -> str:
    """Where a task that has not ended stands, when there is no progress to tell: `Waiting in the portal, place 3`."""
    made = task.generation
    if made.is_held:
        number = place(task)
        words = f"Waiting in the portal, place {number}" if number else "Waiting in the portal"
        return f"{words}. {made.hold_reason}" if made.hold_reason else words
    if made.actor_name and made.answered_at is None:
        return made.hold_reason or "Being sent to the provider"
    if task.state == State.PENDING:
        number = made.queue_position
        return f"Queued at the provider, place {number}" if number else "Queued at the provider"
    return ""


@register.filter
def began_at(task: Task) -> datetime:
    """Since when the provider works on it, as far as it tells."""
    made = task.generation
    return made.processing_at or made.answered_at or made.called_at or made.asked_at


@register.filter
def usually(task: Task) -> str:
    """`usually about 2 min (last 30 runs)` of what is made there by the same offer; "" when too few are known."""
    made = task.generation
    runs = Generation.objects.filter(
        task__source_id=task.source_id,
        task__state=State.COMPLETED,
        task__ended_at__isnull=False,
        kind=made.kind,
        offer=made.offer,
    )
    times = runs.order_by("-task_id").values_list("processing_at", "called_at", "asked_at", "task__ended_at")
    seconds = [
        (ended - (began or called or asked)).total_seconds()
        for began, called, asked, ended in times[:_USUAL_RUNS]
        if ended is not None
    ]
    usual = usual_duration(seconds)
    return format_usual(usual) if usual else ""


@register.filter
def seconds_since(at: datetime) -> float:
    return max(0.0, (now() - at).total_seconds())


@register.filter
def minutes_since(at: datetime) -> str:
    """`6 min`, `1 h 12 min`; a script counts on."""
    whole = int(seconds_since(at) // 60)
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def words_of(kind: str) -> Words | None:
    """Title and advice for a kind of failure, None for a word nobody knows."""
    return _WORDS.get(kind)


@register.filter
def problem(task: Task) -> Words | None:
    """What happened and what one can do, by the kind of the failure; None when nothing failed."""
    if task.state not in (State.FAILED, State.LOST):
        return None
    kind = task.generation.problem_kind
    guess = Kind.OUTCOME_UNKNOWN if task.state == State.LOST and not kind else Kind.PROVIDER
    return words_of(kind) or WORDS[guess]


@register.filter
def provider_words(task: Task) -> str:
    """The provider's own message about the failure, "" when it gave none."""
    return task.error_line or task.exit_text


@register.filter
def kind_icon(kind: str) -> str:
    return _ICONS.get(Generation.Kind(kind), "workflow") if kind in Generation.Kind else "workflow"


@register.filter
def filesize(size: int | None) -> str:
    """`812 B`, `1.2 MB`, decimal as files are sold; a dash when it is not known."""
    if size is None:
        return "–"
    value, unit = float(size), _UNITS[0]
    for larger in _UNITS[1:]:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:.0f} {unit}"


@register.filter
def media_kind(asset: Asset) -> str:
    """`video`, `image` or `audio` when the copy can be shown in the page, by its sniffed type; else `file`."""
    return asset.media_type.partition("/")[0] if asset.media_type in INLINE_TYPES else "file"


@register.filter
def copied_percent(asset: Asset) -> int | None:
    """How much of it has been copied; None when its size is not known."""
    if not asset.declared_size:
        return None
    return min(100, asset.bytes_done * 100 // asset.declared_size)


@register.filter
def price_words(offer: Offer | None) -> str:
    """`0.50 USD`, `0.10 USD per s`; "" when nothing is known."""
    if offer is None or offer.price is None:
        return ""
    price = offer.price
    words = f"{money(price.amount)} {price.currency}"
    if not price.per:
        return words
    counted = next((one for one in offer.parameters if one.name == price.per), None)
    return f"{words} per {(counted.unit or counted.label.lower()) if counted else price.per}"


def money(amount: float) -> str:
    """Two digits after the point, more where the amount is that small."""
    return f"{amount:.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.4f}".rstrip("0").ljust(4, "0")


@register.filter
def json_words(value: Any) -> str:
    """A value of a parameter or of metadata on one line for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


@register.filter
def makes_words(source: Source) -> str:
    """The labels of what it offers, the first few of them. Asks the source nothing."""
    labels = [offer.label for offer in offers_of(source)]
    if not labels:
        return "nothing is declared"
    shown = ", ".join(labels[:_SHOWN_OFFERS])
    more = len(labels) - _SHOWN_OFFERS
    return f"{shown} and {more} more" if more > 0 else shown
