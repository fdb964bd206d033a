"""What providers tell by themselves. An event only says "look now": nothing in it is ever written to a task.

Who knows the token in the address may knock; where the source has a secret, the event must be signed with it too.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db import transaction
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, Generation, Source, WebhookCall
from tasks_app.sources.errors import SourceError
from tasks_app.sources.generation.base import WebhookEvent, WebhookRefused

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
EVENTS_PER_MINUTE = 600
"""Of one source; far above what honest providers send for the tasks that may run at once."""
AUDIT_SECONDS = 60
"""Refused events of one source leave at most one entry in that time: forging must not fill the audit trail."""
MAX_EVENT_ID = 200


def receive(source_id: int, token: str, headers: Mapping[str, str], body: bytes) -> int:
    """Take one event and return the HTTP status to answer with. Header names are lower case.

    200 taken, known already, or of no use any more; 400 not JSON; 401 not signed by the source; 404 no such token;
    413 too long; 429 too many; 503 the signature cannot be checked now. Asks nobody: it answers at once.
    """
    if len(body) > MAX_BODY_BYTES:
        return 413
    source = Source.objects.filter(pk=source_id).first()
    row = _row_of(source, token) if source is not None and source.is_generation else None
    if source is None or row is None:
        return 404
    try:
        event = _verified(source, row, headers, body)
    except WebhookRefused as refusal:
        _note_refusal(source, row, str(refusal))
        return 401
    except (SourceError, ValueError) as error:  # the secret cannot be opened, or the settings make no sense
        logger.warning("event cannot be checked source=%s error=%s", source.pk, error)
        return 503
    if event is None:
        return 400
    return _take(source, row, event)


def _row_of(source: Source, token: str) -> Generation | None:
    if not 20 <= len(token) <= 64 or not token.isascii():
        return None
    rows = Generation.objects.select_related("task").filter(task__source=source, webhook_token=token)
    return rows.first()


def _verified(
    source: Source, row: Generation, headers: Mapping[str, str], body: bytes
) -> WebhookEvent | None:
    """The event; None when it is no JSON object. Raises WebhookRefused, SourceError, ValueError."""
    if source.webhook_secret_sealed:
        return connections.generation_client_of(source).parse_event(headers, body, now=now())
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    # Without a signature the id of the provider is anybody's word, so the same bytes are the same event.
    return WebhookEvent(hashlib.sha256(body).hexdigest(), row.task.remote_id)


def _take(source: Source, row: Generation, event: WebhookEvent) -> int:
    at = now()
    minute = WebhookCall.objects.filter(source=source, at__gt=at - timedelta(minutes=1))
    if minute.count() >= EVENTS_PER_MINUTE:
        logger.warning("too many events source=%s", source.pk)
        return 429
    with transaction.atomic():
        _, is_new = WebhookCall.objects.get_or_create(
            source=source, event_id=_event_id(row, event), defaults={"at": at}
        )
        if is_new:
            _look_now(source, row, event.remote_id, at)
    return 200


def _event_id(row: Generation, event: WebhookEvent) -> str:
    """Of this task: two tasks may well get the same bytes, or one provider's ids repeat over accounts."""
    return f"{row.pk}:{event.event_id}".replace("\0", "\ufffd")[:MAX_EVENT_ID]


def _look_now(source: Source, row: Generation, remote_id: str, at: datetime) -> None:
    """Ask about the task, and visit its source for that; a paused source is visited when it goes on.

    A signed event may tell of another task than the token's; it is asked about too. What has ended is left alone.
    """
    rows = Generation.objects.askable().filter(task__source=source)
    due = rows.filter(task__remote_id=remote_id) | rows.filter(pk=row.pk)
    asked = due.exclude(ask_at__lte=at).update(ask_at=at)
    if asked and source.paused_at is None:
        Source.objects.filter(pk=source.pk, next_pass_at__gt=at).update(next_pass_at=at)
    logger.info(
        "event source=%s task=%s asked=%d paused=%s", source.pk, row.pk, asked, source.paused_at is not None
    )


def _note_refusal(source: Source, row: Generation, reason: str) -> None:
    logger.warning("event refused source=%s task=%s reason=%s", source.pk, row.pk, reason)
    if not cache.add(f"webhook-refused:{source.pk}", 1, AUDIT_SECONDS):
        return
    record(
        Action.WEBHOOK_REFUSED,
        actor=None,
        target=row.task,
        source=source,
        result=AuditEntry.Result.REFUSED,
        reason=reason,
    )
