"""Notices: once for each key, mails after the commit, a mail server that is down."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.utils.timezone import now

from tasks_app.models import Notice
from tasks_app.services.notices import mark_read, notify, send_mails
from tests.factories import make_user

pytestmark = pytest.mark.django_db


class Broken(EmailBackend):
    """A mail server that refuses the connection."""

    def send_messages(self, messages):
        raise ConnectionRefusedError("user:secret@host")


BROKEN = f"{__name__}.Broken"


@pytest.fixture
def mails(settings):
    settings.SENDS_MAIL = True
    settings.BASE_URL = "https://portal.example"
    return mail.outbox


def tell(*users, key="key", text="The lease ends.", path="/machines/1/"):
    notify(users, key=key, text=text, path=path)


def test_a_key_tells_each_person_once():
    one, two = make_user(), make_user()
    tell(one)
    tell(one, two)
    tell(one, key="other")
    assert sorted(Notice.objects.values_list("user", "key")) == sorted(
        [(one.pk, "key"), (two.pk, "key"), (one.pk, "other")]
    )


def test_nobody_and_who_is_switched_off_is_left_out():
    tell(None, make_user(is_active=False))
    assert not Notice.objects.exists()


def test_without_a_mail_server_nothing_is_enqueued_or_sent(queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        tell(make_user(email="a@example.com"))
    send_mails()
    assert queued() == []
    assert mail.outbox == []


def test_mails_are_enqueued_after_the_commit(mails, queued, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        tell(make_user(email="a@example.com"))
        assert queued() == []
    assert queued() == [("send_mails", ())]


def test_a_notice_is_mailed_once_with_its_link(mails):
    tell(make_user(email="a@example.com"), make_user(email=""))
    send_mails()
    send_mails()
    (letter,) = mails
    assert letter.to == ["a@example.com"]
    assert letter.subject == "[Task portal] The lease ends."
    assert "https://portal.example/machines/1/" in letter.body


def test_a_mail_server_that_is_down_is_asked_again(mails, settings, caplog):
    settings.EMAIL_BACKEND = BROKEN
    tell(make_user(email="a@example.com"))
    send_mails()
    assert Notice.objects.get().mailed_at is None
    assert "secret" not in caplog.text
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    send_mails()
    assert len(mails) == 1


def test_an_old_notice_is_not_mailed_any_more(mails):
    tell(make_user(email="a@example.com"))
    send_mails(at=now() + timedelta(days=2))
    assert mails == []


def test_a_text_with_line_breaks_makes_no_headers(mails):
    tell(make_user(email="a@example.com"), text="One\r\nBcc: b@example.com\n" + "x" * 500)
    send_mails()
    (letter,) = mails
    assert "\n" not in letter.subject
    assert letter.recipients() == ["a@example.com"]


def test_reading_is_about_ones_own_inbox():
    one, two = make_user(), make_user()
    tell(one, two)
    tell(one, key="other")
    first = Notice.objects.filter(user=one).last()
    mark_read(one, pk=Notice.objects.get(user=two).pk)
    assert not Notice.objects.filter(read_at__isnull=False).exists()
    mark_read(one, pk=first.pk)
    assert Notice.objects.filter(user=one, read_at__isnull=True).count() == 1
    mark_read(one)
    assert Notice.objects.filter(read_at__isnull=True).get().user == two
