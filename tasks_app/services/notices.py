"""Notices: a line in a person's inbox, and the same by mail where the portal may send any."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from smtplib import SMTPException, SMTPRecipientsRefused

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.utils.timezone import now

from tasks_app.models import Notice
from tasks_app.queue import Job, enqueue

logger = logging.getLogger(__name__)

KEY_CHARACTERS = 120
MAILS_PER_JOB = 50
"""A job may live 60 s, and a slow mail server takes a second for each."""
MAIL_WITHIN = timedelta(days=1)
"""A reminder that is a day late says something wrong; the inbox still has it."""
SUBJECT_CHARACTERS = 120


def notify(users: Iterable[User | None], *, key: str, text: str, path: str = "") -> None:
    """Tell `users` once for each `key`. Rows are written now, mails are sent after the commit and hold up nobody.

    `path` is a page of the portal. Nobody (None) and who cannot sign in any more are left out.
    """
    rows = [
        Notice(user=user, key=key[:KEY_CHARACTERS], text=text, path=path)
        for user in users
        if user is not None and user.is_active
    ]
    if not rows:
        return
    Notice.objects.bulk_create(rows, ignore_conflicts=True)
    if settings.SENDS_MAIL:
        transaction.on_commit(partial(enqueue, Job.SEND_MAILS))


def mark_read(person: User, *, pk: int | None = None) -> None:
    """One notice of `person`, or all of them. Needs no permission: it is their own inbox."""
    unread = Notice.objects.filter(user=person, read_at__isnull=True)
    (unread if pk is None else unread.filter(pk=pk)).update(read_at=now())


def send_mails(*, at: datetime | None = None) -> None:
    """Mail what is not mailed yet. A mail server that is down is asked again by the next run; running twice mails once.

    A worker killed between its claim and the sending leaves one mail out; the inbox has the notice.
    """
    if not settings.SENDS_MAIL:
        return
    at = at or now()
    due = Notice.objects.filter(mailed_at__isnull=True, created_at__gt=at - MAIL_WITHIN, user__is_active=True)
    waiting = list(due.exclude(user__email="").select_related("user").order_by("pk")[:MAILS_PER_JOB])
    if not waiting:
        return
    connection = get_connection()
    for notice in waiting:
        if not Notice.objects.filter(pk=notice.pk, mailed_at__isnull=True).update(mailed_at=at):
            continue
        try:
            _mail_of(notice, connection).send()
        except SMTPRecipientsRefused:
            logger.warning("mail address was refused notice=%d", notice.pk)
        except (SMTPException, OSError) as error:
            Notice.objects.filter(pk=notice.pk).update(mailed_at=None)
            # not the error's text: a server's greeting may repeat what was sent to it
            logger.warning(
                "mail was not sent and is tried again notice=%d error=%s", notice.pk, type(error).__name__
            )
            break
    connection.close()


def _mail_of(notice: Notice, connection: BaseEmailBackend) -> EmailMessage:
    line = " ".join(notice.text.split())
    subject = line if len(line) <= SUBJECT_CHARACTERS else line[: SUBJECT_CHARACTERS - 1] + "…"
    link = f"\n\n{settings.BASE_URL}{notice.path}" if settings.BASE_URL and notice.path else ""
    return EmailMessage(
        f"[Task portal] {subject}", f"{notice.text}{link}\n", to=[notice.user.email], connection=connection
    )
