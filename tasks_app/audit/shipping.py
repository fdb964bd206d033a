"""Shipping the audit trail to a syslog server: every entry at least once, in order, without holding up any deed.

`AuditMark` "shipped" says up to where the server has taken the trail; it moves after a batch was taken, never before.
What is killed or cut off in between is sent again. One shipper at a time: it holds the mark "shipper" until `at`,
which is also how it waits after a failure.
"""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils.timezone import now

from tasks_app.audit.export import portal_host
from tasks_app.audit.formats import LONGEST_SHIPPED, syslog_message
from tasks_app.audit.records import ENTRIES, record_of_entry
from tasks_app.models import AuditEntry, AuditHead, AuditMark
from tasks_app.sources.errors import SourceError
from tasks_app.sources.syslog import parse_server, send_batch
from tasks_app.sources.tls import Trust

logger = logging.getLogger(__name__)

SHIPPED, SHIPPER = "shipped", "shipper"

BATCH = 1000
"""Entries in one connection: about a megabyte."""
PROBE = 50
"""After a failure: little to send again in vain, and it fits through a slow line."""
BATCH_SECONDS = 10.0
"""For a batch, with its connection and its end."""
RUN_SECONDS = 10.0
"""No batch begins later than this in a job: cancels wait for the same workers."""
HOLD = timedelta(seconds=BATCH_SECONDS + 20)
"""A shipper that was killed is replaced after this."""
PAUSE = timedelta(seconds=3)
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""After failures: half of how long they last already, within these."""


def is_due(at: datetime) -> bool:
    """Whether there is something to ship and nobody is at it. Two short queries where a server is set, else none."""
    if not settings.AUDIT_SYSLOG_URL or AuditMark.objects.filter(name=SHIPPER, at__gt=at).exists():
        return False
    shipped = AuditMark.objects.filter(name=SHIPPED).values_list("number", flat=True).first() or 0
    return AuditHead.objects.filter(pk=AuditHead.KEY, number__gt=shipped).exists()


def ship() -> int:
    """Ship what there is, for RUN_SECONDS at most; how many entries. What goes wrong is said in the mark."""
    if not settings.AUDIT_SYSLOG_URL:
        return 0
    hold = _take_hold()
    if hold is None:
        return 0
    mark, _ = AuditMark.objects.get_or_create(name=SHIPPED)
    began, first, pause = time.monotonic(), mark.number, PAUSE
    try:
        while time.monotonic() - began < RUN_SECONDS and _renew(hold):
            entries = _next_after(mark)
            if not entries:
                break
            _send(entries)
            if not _move(mark, entries[-1].number):
                break  # somebody else holds on since; it goes on from its own place
    except SourceError as error:
        pause = _note_problem(mark, str(error))
    _let_go(hold, pause)
    return mark.number - first


def _next_after(mark: AuditMark) -> Sequence[AuditEntry]:
    entries = AuditEntry.objects.filter(number__gt=mark.number).order_by("number")
    return list(entries[: PROBE if mark.problem else BATCH])


def _send(entries: Sequence[AuditEntry]) -> None:
    host = portal_host()
    messages = [
        syslog_message(ENTRIES, record_of_entry(entry), host=host, longest=LONGEST_SHIPPED)
        for entry in entries
    ]
    trust = Trust(ca_pem=settings.AUDIT_SYSLOG_CA)
    send_batch(parse_server(settings.AUDIT_SYSLOG_URL), trust, messages, seconds=BATCH_SECONDS)


def _move(mark: AuditMark, number: int) -> bool:
    """Forward from where this shipper knows it, or not at all."""
    at = now()
    ours = AuditMark.objects.filter(name=SHIPPED, number=mark.number)
    if not ours.update(number=number, problem="", at=at):
        return False
    if mark.problem:
        logger.info("audit shipping goes on number=%s", number)
    mark.number, mark.problem, mark.at = number, "", at
    return True


def _note_problem(mark: AuditMark, problem: str) -> timedelta:
    """Say why it stands; how long to wait. The time of the mark stays that of the first failure."""
    if not mark.problem:
        logger.warning("audit shipping stands number=%s problem=%s", mark.number, problem)
        mark.at = now()
    AuditMark.objects.filter(name=SHIPPED, number=mark.number).update(problem=problem, at=mark.at)
    return min(max((now() - mark.at) / 2, SHORTEST_PAUSE), LONGEST_PAUSE)


def _take_hold() -> int | None:
    """The number of this hold; None when somebody else is at it, or it is to wait."""
    at = now()
    AuditMark.objects.get_or_create(name=SHIPPER, defaults={"at": at})
    free = AuditMark.objects.filter(name=SHIPPER, at__lte=at)
    if not free.update(number=F("number") + 1, at=at + HOLD):
        return None
    return AuditMark.objects.get(name=SHIPPER).number


def _renew(hold: int) -> bool:
    return bool(AuditMark.objects.filter(name=SHIPPER, number=hold).update(at=now() + HOLD))


def _let_go(hold: int, pause: timedelta) -> None:
    AuditMark.objects.filter(name=SHIPPER, number=hold).update(at=now() + pause)
