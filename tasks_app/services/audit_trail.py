"""Looking after the audit trail: verifying it, and removing what is older than it is to be kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from tasks_app.access.policy import Verb, require
from tasks_app.audit.actions import Action
from tasks_app.audit.anchors import note, read_anchors
from tasks_app.audit.chain import Verdict, verify
from tasks_app.audit.context import Origin, current_origin, set_origin
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput
from tasks_app.models import AuditEntry, AuditHead, AuditMark
from tasks_app.queue import Job, enqueue

VERIFIED = "verified"
PURGE_STEP = 5000
"""Entries in one transaction: about half a second, which other writers do not notice."""
SHORTEST_DAYS = 30
"""Nobody purges what happened last week."""
AT_ONCE = 50_000
"""Entries that are verified or purged while somebody waits, a few seconds; more are for a job."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """What is known of the chain: its last number, how many were purged, and the marks of what follows it by name."""

    head: int
    purged_to: int
    marks: dict[str, AuditMark]


def read_integrity() -> Integrity:
    head = AuditHead.objects.filter(pk=AuditHead.KEY).first() or AuditHead()
    return Integrity(head.number, head.purged_to, {mark.name: mark for mark in AuditMark.objects.all()})


def verify_trail(*, actor: User | None = None) -> Verdict:
    """Walk the chain, compare it with its anchors, and keep the verdict for the page. Raises NotPermitted.

    Takes about 25 s for a million entries.
    """
    if actor is not None:
        require(actor, Verb.SEE_AUDIT)
    try:
        verdict = verify(read_anchors())
    except ValueError as error:
        verdict = Verdict(1, 0, 1, str(error))
    with transaction.atomic():
        note(VERIFIED, verdict.verified, verdict.problem)
        if actor is not None:
            record(
                Action.AUDIT_VERIFY,
                actor=actor,
                target_name=f"#{verdict.first} to #{verdict.verified}",
                problem=verdict.problem,
            )
    return verdict


def request_verification(*, actor: User) -> Verdict | None:
    """Verify now; None when the trail is so long that a job does it. Raises NotPermitted."""
    require(actor, Verb.SEE_AUDIT)
    integrity = read_integrity()
    if integrity.head - integrity.purged_to <= AT_ONCE:
        return verify_trail(actor=actor)
    with transaction.atomic():
        record(Action.AUDIT_VERIFY, actor=actor, target_name=f"up to #{integrity.head}", by_job=True)
        transaction.on_commit(partial(enqueue, Job.VERIFY_AUDIT))
    return None


def count_purgeable(days: int, *, at: datetime | None = None) -> int:
    """How many entries `purge_trail` would remove."""
    last = _last_before((at or now()) - timedelta(days=days))
    head = AuditHead.objects.filter(pk=AuditHead.KEY).first()
    return max(0, last.number - head.purged_to) if last and head else 0


def purge_trail(days: int, *, actor: User, reason: str = "") -> int:
    """Remove entries older than `days`; how many. Each step leaves an entry that keeps the chain verifiable.

    Killed between two steps, the rest simply stays. Raises NotPermitted, InvalidInput (days).
    """
    require(actor, Verb.MANAGE_PEOPLE)
    if days < SHORTEST_DAYS:
        raise InvalidInput(days=f"Entries are kept for at least {SHORTEST_DAYS} days.")
    before, removed = now() - timedelta(days=days), 0
    while step := _purge_step(before, actor, reason):
        removed += step
    return removed


def request_purge(days: int, *, actor: User, reason: str = "") -> int | None:
    """The same; None when there are so many that a job does it. Raises NotPermitted, InvalidInput (days)."""
    if days < SHORTEST_DAYS or count_purgeable(days) <= AT_ONCE:
        return purge_trail(days, actor=actor, reason=reason)
    require(actor, Verb.MANAGE_PEOPLE)
    click = current_origin()
    enqueue(Job.PURGE_AUDIT, days, actor.pk, reason, click.request_id, click.ip or "", click.user_agent)
    return None


def purge_by_job(
    days: int, actor_pk: int, reason: str, request_id: str = "", ip: str = "", user_agent: str = ""
) -> None:
    """What `request_purge` left to a job, noted as coming from there. Killed, the rest can be asked for again."""
    set_origin(Origin(request_id, ip or None, user_agent))
    try:
        purge_trail(days, actor=User.objects.get(pk=actor_pk), reason=reason)
    finally:
        set_origin(Origin())


@transaction.atomic
def _purge_step(before: datetime, actor: User, reason: str) -> int:
    last = _last_before(before)
    head = AuditHead.objects.select_for_update().filter(pk=AuditHead.KEY).first()
    if last is None or head is None or last.number <= head.purged_to:
        return 0
    end = AuditEntry.objects.get(number=min(last.number, head.purged_to + PURGE_STEP))
    count = end.number - head.purged_to
    record(
        Action.AUDIT_PURGE,
        actor=actor,
        target_name=f"#{head.purged_to + 1} to #{end.number}",
        to=end.number,
        hash=end.hash,
        count=count,
        before=before.isoformat(),
        reason=reason,
    )
    AuditHead.objects.filter(pk=AuditHead.KEY).update(purged_to=end.number, purged_hash=end.hash)
    AuditEntry.objects.filter(number__lte=end.number).delete()
    return count


def _last_before(before: datetime) -> AuditEntry | None:
    """The last entry of the stretch at the beginning of the chain in which all are older than `before`."""
    first_kept = AuditEntry.objects.filter(at__gte=before).order_by("number").first()
    older = AuditEntry.objects.filter(at__lt=before)
    if first_kept is not None:
        older = older.filter(number__lt=first_kept.number)
    return older.order_by("-number").first()
