"""Time limits: how long a family of tasks may take before it is overdue. A sign, never an end."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.ingest.limits import forget_limits, limit_seconds
from tasks_app.kinds import FAMILIES, HOUR, MINUTE
from tasks_app.models import Submission, TimeLimit
from tasks_app.services.guest_actions import main_type
from tasks_app.services.notices import notify

__all__ = [
    "LONGEST_SECONDS",
    "SHORTEST_SECONDS",
    "current_limits",
    "limit_seconds",
    "note_overdue",
    "set_time_limits",
]

SHORTEST_SECONDS = MINUTE
LONGEST_SECONDS = 7 * 24 * HOUR


def current_limits() -> dict[str, int]:
    """Seconds by family, all families."""
    changed = dict(TimeLimit.objects.values_list("family", "seconds"))
    return {family: changed.get(family, FAMILIES[family].seconds) for family in FAMILIES}


@transaction.atomic
def set_time_limits(*, actor: User, seconds: Mapping[str, int]) -> None:
    """Set the limits given by family; what equals the default is kept as the default. Nothing changed, nothing noted.

    Raises NotPermitted, InvalidInput (a family).
    """
    require(actor, Verb.SET_LIMITS)
    for family, limit in seconds.items():
        if family not in FAMILIES:
            raise InvalidInput(**{family: f"There is no kind of tasks “{family}”."})
        if not SHORTEST_SECONDS <= limit <= LONGEST_SECONDS:
            raise InvalidInput(**{family: "A limit lies between one minute and seven days."})
    before = current_limits()
    changed = {family: limit for family, limit in seconds.items() if before[family] != limit}
    if not changed:
        return
    for family, limit in changed.items():
        if limit == FAMILIES[family].seconds:
            TimeLimit.objects.filter(family=family).delete()
        else:
            TimeLimit.objects.update_or_create(family=family, defaults={"seconds": limit})
    record(
        Action.LIMITS_CHANGE,
        actor=actor,
        target_name="time limits",
        before={family: before[family] for family in changed},
        after=changed,
    )
    transaction.on_commit(forget_limits)


def note_overdue(*, at: datetime | None = None) -> None:
    """Mark open submissions past the limit of their family, counted from the click, and tell who asked.

    A sign, never an end: what became of the task is its source's to say.
    """
    at = at or now()
    waiting = Submission.objects.unfinished().filter(overdue_since__isnull=True)
    for submission in waiting.select_related("actor", "machine"):
        limit = limit_seconds(main_type(submission))
        if at - submission.created_at > timedelta(seconds=limit):
            _mark_overdue(submission, limit, at)


@transaction.atomic
def _mark_overdue(submission: Submission, limit: int, at: datetime) -> None:
    mine = Submission.objects.unfinished().filter(pk=submission.pk, overdue_since__isnull=True)
    if not mine.update(overdue_since=at):
        return
    machine, key, path = submission.machine, f"overdue-{submission.pk}", f"/submissions/{submission.pk}/"
    if machine is not None:
        path = f"/machines/{machine.pk}/"
        if submission.step and machine.is_in_the_making:
            # one line for a step of an order, not two hundred
            key, path = f"overdue-order-{machine.order_id}-{submission.step}", f"/orders/{machine.order_id}/"
    text = f"{submission} takes longer than {_words(limit)}. It may still end well; look at it."
    notify([submission.actor], key=key, text=text, path=path)


def _words(seconds: int) -> str:
    hours, minutes = divmod(seconds // MINUTE, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours))
