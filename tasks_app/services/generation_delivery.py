"""Sending one generation task: note the intent, call, note the answer; find out what came of a call without an answer.

`called_at` is written before the call, under the lock with which a task is withdrawn. While it stands without
`answered_at`, nobody knows whether the provider took the order: it is looked for (`_find_out`) and sent again only when
it is proven that nothing was made. Whoever holds an older claim (`attempts`) writes nothing more, except an answer.
"""

import logging
import random
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.ingest import generations as ingest
from tasks_app.ingest.events import Events
from tasks_app.ingest.text import storable
from tasks_app.models import Generation, Source, Task, TaskEvent
from tasks_app.queue import Job, enqueue
from tasks_app.services.beginnings import note_generation_beginning
from tasks_app.services.claims import CLAIM_SECONDS, kept_alive
from tasks_app.services.generation_cancellation import lock, withdraw
from tasks_app.services.generation_orders import UploadMissing, order_of
from tasks_app.services.generation_queue import PAUSED, PLACE_SECONDS, hold_back, write_hold
from tasks_app.services.reconciliation import ABSENCE_SECONDS
from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.generation.base import (
    Accepted,
    GenerationObservation,
    GenerationSource,
    Order,
    Problem,
)
from tasks_app.sources.generation.problems import WORDS, Kind, classify
from tasks_app.states import State

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 120.0
PERSON_PAUSE_SECONDS = 300.0
"""A refused key or certificate: one order tries again after this; whoever repairs it need not wait."""
ASK_WITHIN = timedelta(days=1)
"""How long a provider that does not answer is asked what came of a call."""
MOST_LOST_CALLS = 5
"""Calls without an answer of which it was proven that nothing was made: time does not heal what is wrong then."""

# Raised by HttpClient for what was never sent, and by a refusal that tells to come again. After any other kind of
# SourceUnavailable something may have been made, whatever the adapter thinks.
_NEVER_SENT = frozenset({"dns", "refused", "timeout", "connection"})
_NOT_TAKEN = _NEVER_SENT | {"rate_limited"}

ASKS_TO_WAIT = "Waiting for the provider, which asks to come again later."
OUT_OF_REACH = "Waiting for the provider, which cannot be reached at the moment."
UNANSWERED = "The answer of the provider got lost. The portal finds out whether it took the order."
NEEDS_PERSON = {
    "unauthorized": "Waiting for an admin: the provider refuses the portal's key.",
    "certificate": "Waiting for an admin: the provider's certificate is not the known one.",
    "key_changed": "Waiting for an admin: the stored key of the source cannot be read.",
}
NEEDS_LOOK = "Waiting for an admin, who must look at the source."


def deliver_generation(task_pk: int, *, client: GenerationSource | None = None) -> None:
    """Send one task that was given a place, or find out what came of an earlier call. Running it twice is harmless."""
    row = Generation.objects.select_related("task__source").filter(pk=task_pk).first()
    if row is None or row.task.is_final or row.answered_at is not None or not row.actor_name:
        return
    if row.called_at is None:
        _send(row, client)
    else:
        _find_out(row, client)


def back_off(attempts: int) -> float:
    """Seconds after that many attempts: 5 after the first, doubled each time up to 2 minutes, give or take a fifth."""
    doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(max(attempts, 1) - 1, 10)
    return min(doubled, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311


def problem_of(error: SourceRefused) -> Problem:
    """Why an order was refused, by kind. The refusal's own word counts when it says more than that there was one."""
    text = str(error) or "The provider refused the order."
    if error.fields:
        text += " " + "; ".join(f"{name}: {words}" for name, words in error.fields.items())
    if error.kind in (Kind.CONTENT_POLICY, Kind.NO_CREDIT, Kind.TIMED_OUT):
        kind = Kind(error.kind)
    elif (kind := classify(message=text, status=error.status)) in (Kind.LOST, Kind.PROVIDER):
        # at a submit 404 means that there is no such model or path
        kind = Kind.INVALID_REQUEST if error.kind != "server_error" else Kind.PROVIDER
    return Problem(kind, storable(text), code=error.kind[:100], retryable=False, detail=storable(text))


# --- sending


def _send(row: Generation, client: GenerationSource | None) -> None:
    """Only with a place; everything that may fail without harm comes before the intent is noted."""
    if row.lease_until is None or row.lease_until < now():
        return
    try:
        order = order_of(row)
        client = client or connections.generation_client_of(row.task.source)
    except UploadMissing as error:
        _end(row, State.FAILED, Problem(Kind.INVALID_REQUEST, str(error)))
        return
    except (SourceNeedsPerson, ValueError) as error:  # the key cannot be read, or the settings make no sense
        _wait_for_person(row, error)
        return
    if _note_call(row):
        with kept_alive(partial(_renew, row.pk, row.attempts)):
            _call(row, client, order)


def _note_call(row: Generation) -> bool:
    """Write the intent. False when the row was withdrawn or its place has gone; a wish to cancel ends it here."""
    with transaction.atomic():
        fresh, at = lock(row.pk), now()
        if not fresh.is_held or fresh.lease_until is None or fresh.lease_until < at:
            return False
        if fresh.task.cancel_requested_at is not None:
            withdraw(fresh)
            return False
        if Source.objects.filter(pk=row.task.source_id, paused_at__isnull=False).exists():
            write_hold(row.task.source_id, [row.pk], at, lease_until=None, hold_reason=PAUSED)
            return False
        values: dict[str, Any] = {
            "called_at": at,
            "lease_until": at + timedelta(seconds=CLAIM_SECONDS),
            "attempts": fresh.attempts + 1,
            "hold_reason": "",
            "problem_detail": "",
        }
        Generation.objects.filter(pk=row.pk).update(**values)
    for name, value in values.items():
        setattr(row, name, value)
    return True


def _renew(pk: int, attempts: int) -> None:
    mine = Generation.objects.filter(
        pk=pk, attempts=attempts, lease_until__isnull=False, answered_at__isnull=True
    )
    mine.update(lease_until=now() + timedelta(seconds=CLAIM_SECONDS))


def _call(row: Generation, client: GenerationSource, order: Order) -> None:
    try:
        accepted = client.submit(order)
        if not accepted.remote_id:
            raise OutcomeUnknown("The order was taken, but the answer names no task.", kind="garbage")
    except OutcomeUnknown as error:
        _look_later(row, error)
    except SourceRefused as error:
        logger.info("generation refused task=%d kind=%s", row.pk, error.kind)
        _end(row, State.FAILED, problem_of(error))
    except SourceNeedsPerson as error:
        _wait_for_person(row, error)
    except SourceUnavailable as error:
        if error.kind in _NOT_TAKEN:
            _put_back(row, error)
        else:
            _look_later(row, error)
    except Exception:
        # A fault of ours may come after the provider took it: that is found out like a lost answer.
        logger.exception("sending failed task=%d", row.pk)
        _look_later(row, OutcomeUnknown("The sending failed; the log says why.", kind="garbage"))
    else:
        _record(row, accepted)


def _record(row: Generation, accepted: Accepted) -> None:
    """Written whoever holds the row by now: an answer is never thrown away."""
    with transaction.atomic():
        is_first = lock(row.pk).answered_at is None
        ingest.record_answer(row.pk, accepted, at=now())
        if is_first:
            note_generation_beginning(row)
    logger.info("generation sent task=%d source=%d", row.pk, row.task.source_id)
    if Task.objects.cancels_waiting().filter(pk=row.pk).exists():
        enqueue(Job.CANCEL, row.pk)  # asked for while nobody knew the answer


def _put_back(row: Generation, error: SourceUnavailable) -> None:
    """Certainly nothing was made: it waits here again, and with it what else waits for this source."""
    seconds = max(back_off(row.attempts), (error.retry_after or 0.0) * random.uniform(1.0, 1.2))  # noqa: S311
    _hold(row, seconds, OUT_OF_REACH if error.kind in _NEVER_SENT else ASKS_TO_WAIT, detail=str(error))


def _wait_for_person(row: Generation, error: Exception) -> None:
    """Certainly nothing was made, and time alone changes nothing. Staff read the words on the page of the source."""
    kind = error.kind if isinstance(error, SourceError) else "settings"
    logger.error("generation needs a person task=%d source=%d kind=%s", row.pk, row.task.source_id, kind)
    _hold(row, PERSON_PAUSE_SECONDS, NEEDS_PERSON.get(kind, NEEDS_LOOK), detail=str(error))


def _hold(row: Generation, seconds: float, reason: str, *, detail: str) -> None:
    until = now() + timedelta(seconds=seconds)
    with transaction.atomic():
        fresh = lock(row.pk)
        if not _is_mine(fresh, row):
            return
        Generation.objects.filter(pk=row.pk).update(called_at=None, lease_until=None)
        if fresh.task.cancel_requested_at is not None:
            fresh.called_at = None
            withdraw(fresh)
            return
        values = {"next_attempt_at": until, "hold_reason": reason, "problem_detail": storable(detail)}
        write_hold(row.task.source_id, [row.pk], now(), **values)
    logger.info("generation waits task=%d seconds=%.0f", row.pk, seconds)
    hold_back(row.task.source_id, until=until, reason=reason)


# --- finding out


def _find_out(row: Generation, client: GenerationSource | None) -> None:
    if not _claim(row):
        return
    with kept_alive(partial(_renew, row.pk, row.attempts)):
        _judge(row, client)


def _claim(row: Generation) -> bool:
    """Own columns only: PostgreSQL judges these again when it had to wait for the row."""
    at = now()
    free = Generation.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=at),
        pk=row.pk,
        called_at=row.called_at,
        attempts=row.attempts,
        answered_at__isnull=True,
        next_attempt_at__lte=at,
    )
    lease_until = at + timedelta(seconds=CLAIM_SECONDS)
    if not free.update(lease_until=lease_until, attempts=F("attempts") + 1):
        return False
    row.attempts += 1
    return True


def _judge(row: Generation, client: GenerationSource | None) -> None:
    """Look for the task that the call may have made. True when it may be sent again: nothing was made."""
    source = row.task.source
    if source.paused_at is not None:
        _look_later(row, SourceUnavailable("The source is paused.", kind="paused"))
        return
    assert row.called_at is not None
    is_early = now() < row.called_at + timedelta(seconds=ABSENCE_SECONDS)
    can_repeat = False
    try:
        client = client or connections.generation_client_of(source)
        can_repeat = client.capabilities.own_id or client.capabilities.idempotency_key
        seen = client.find(order_of(row, has_uploads=False), known=_known_ids(row))
        if seen is not None:
            if not can_repeat and _may_be_anothers(row, seen):
                raise OutcomeUnknown("It may be this order or another one whose answer got lost, too.")
            logger.info("call was carried out task=%d", row.pk)
            _record(row, Accepted(seen, client.handle_of(seen.remote_id)))
            return
    except (OutcomeUnknown, SourceRefused) as error:
        # No proof either way. Under an id of ours a repeat does no harm; else it may be listed a moment later.
        if not can_repeat:
            if is_early:
                _look_later(row, error)
            else:
                _end_unknown(row, str(error))
            return
    except (SourceUnavailable, SourceNeedsPerson, ValueError, IntegrityError) as error:
        _look_later(row, error)
        return
    if is_early and not can_repeat:
        _look_later(row, OutcomeUnknown("Nothing is to be seen of it yet.", kind="too_early"))
    else:
        _take_back(row)


def _may_be_anothers(row: Generation, seen: GenerationObservation) -> bool:
    """Whether another order of that time is just as much without an answer, and nothing tells whose task this is.

    One of two that were under way may have arrived. Taken for the wrong one, its owner would be sent again.
    """
    assert row.called_at is not None
    span = timedelta(seconds=ABSENCE_SECONDS)
    rivals = Generation.objects.filter(
        task__source=row.task.source_id,
        task__state__in=[State.PENDING, State.LOST],  # a refused one certainly made nothing
        kind=row.kind,
        actor_name__gt="",
        answered_at__isnull=True,
        called_at__range=(row.called_at - span, row.called_at + span),
    ).exclude(pk=row.pk)
    told = (seen.input or {}).get("prompt")
    if row.prompt and told == row.prompt:
        rivals = rivals.filter(prompt=row.prompt)
    return rivals.exists()


def _known_ids(row: Generation) -> Collection[str]:
    """Ids that certainly belong to something else. A task of nobody that appeared after the call may be this one."""
    assert row.called_at is not None
    others = Task.objects.filter(
        Q(generation__actor_name__gt="", generation__answered_at__isnull=False)
        | Q(generation__actor_name="", seen_at__lt=row.called_at),
        source=row.task.source_id,
        started_at__gte=row.called_at - ASK_WITHIN,
    )
    return frozenset(others.exclude(pk=row.pk).values_list("remote_id", flat=True))


def _take_back(row: Generation) -> None:
    """Nothing was made: as before the call, with the place kept for the next job. A wish to cancel ends it there."""
    at, lost_calls = now(), row.bad_answers + 1
    if lost_calls >= MOST_LOST_CALLS:
        words = f"It was sent {lost_calls} times without an answer that says what came of it, and nothing was made."
        _end(row, State.FAILED, Problem(Kind.PROVIDER, words, detail=row.problem_detail))
        return
    with transaction.atomic():
        if not _is_mine(lock(row.pk), row):
            return
        place = {
            "called_at": None,
            "lease_until": at + timedelta(seconds=PLACE_SECONDS),
            "bad_answers": lost_calls,
        }
        Generation.objects.filter(pk=row.pk).update(**place, hold_reason="")
        transaction.on_commit(partial(enqueue, Job.GENERATE, row.pk))
    logger.info("call was not carried out task=%d", row.pk)


def _look_later(row: Generation, error: Exception) -> None:
    """Nobody knows what came of the call: it is looked for again, at growing intervals, for a day."""
    at = now()
    assert row.called_at is not None
    if at - row.called_at > ASK_WITHIN:
        _end_unknown(row, f"The provider could not be asked for a day. {error}")
        return
    retry_after = getattr(error, "retry_after", None) or 0.0
    until = at + timedelta(seconds=max(back_off(row.attempts), retry_after))
    mine = Generation.objects.filter(pk=row.pk, attempts=row.attempts, answered_at__isnull=True)
    values = {"next_attempt_at": until, "problem_detail": storable(str(error)), "hold_reason": UNANSWERED}
    with transaction.atomic():
        if mine.update(lease_until=None, **values):
            _tell(row, at)
    logger.warning("answer to an order is unknown task=%d attempts=%d", row.pk, row.attempts)


def _end_unknown(row: Generation, reason: str) -> None:
    words = WORDS[Kind.OUTCOME_UNKNOWN]
    _end(
        row,
        State.LOST,
        Problem(Kind.OUTCOME_UNKNOWN, f"{words.title}. {words.advice}", detail=storable(reason)),
    )


def _end(row: Generation, state: State, problem: Problem) -> None:
    """An end without a task at the provider; what waits gets its place."""
    with transaction.atomic():
        if not _is_mine(lock(row.pk), row):
            return
        ingest.end_without_remote(row.pk, state=state, at=now(), problem=problem)
        transaction.on_commit(partial(enqueue, Job.DISPATCH))
    logger.info("generation ends without a task task=%d state=%s kind=%s", row.pk, state, problem.kind)


def _is_mine(fresh: Generation, row: Generation) -> bool:
    """Whether nobody has taken the row since. `fresh` is locked."""
    return fresh.attempts == row.attempts and fresh.answered_at is None and not fresh.task.is_final


def _tell(row: Generation, at: datetime) -> None:
    events = Events(row.task.source_id, at)
    events.add(TaskEvent.Kind.STATE, row.pk)
    events.save()
