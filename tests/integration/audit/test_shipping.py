"""The audit trail reaches a syslog server over TLS: in order, at least once, whatever is killed or down meanwhile."""

import re
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils.timezone import now

from tasks_app.audit import shipping
from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.audit.shipping import SHIPPED, SHIPPER, is_due, ship
from tasks_app.models import AuditEntry, AuditHead, AuditMark, triggers
from tests.integration.audit.receiver import Receiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_receiver(tmp_path, settings):
    made = []

    def make(*options, is_tls=True):
        receiver = Receiver(tmp_path / f"receiver-{len(made)}", *options, is_tls=is_tls)
        made.append(receiver)
        settings.AUDIT_SYSLOG_URL = receiver.url
        settings.AUDIT_SYSLOG_CA = receiver.ca_pem
        return receiver

    yield make
    for receiver in made:
        receiver.kill()


def write(count):
    for number in range(count):
        record(Action.LOGIN, actor=None, number=number)


def number_of(text):
    return int(re.search(r' number="(\d+)"', text)[1])


def numbers(receiver):
    return [number_of(text) for _, text in receiver.received]


def mark():
    return AuditMark.objects.get(name=SHIPPED)


def let_time_pass():
    """The pause after a run is over."""
    AuditMark.objects.filter(name=SHIPPER).update(at=now())


@pytest.mark.parametrize("options", [(), ("--leaves-without-farewell",)], ids=["farewell", "no farewell"])
def test_every_entry_arrives_once_and_in_order(make_receiver, monkeypatch, options):
    monkeypatch.setattr(shipping, "BATCH", 40)
    receiver = make_receiver(*options)
    receiver.start()
    write(100)
    assert ship() == 100
    assert numbers(receiver) == list(range(1, 101))
    assert [which for which, _ in receiver.received] == [1] * 40 + [2] * 40 + [3] * 20
    assert (mark().number, mark().problem) == (100, "")


def test_what_comes_later_follows(make_receiver):
    receiver = make_receiver()
    receiver.start()
    write(3)
    assert ship() == 3
    assert not is_due(now() + timedelta(hours=1))
    write(2)
    assert not is_due(now())  # at most every few seconds
    assert ship() == 0
    assert is_due(now() + timedelta(seconds=5))
    let_time_pass()
    assert ship() == 2
    assert numbers(receiver) == [1, 2, 3, 4, 5]


def test_a_server_killed_in_the_middle_of_a_batch_misses_nothing(make_receiver):
    """What it had taken before is sent again: at least once."""
    receiver = make_receiver("--pause", "0.005")
    receiver.start()
    write(200)

    def kill():
        receiver.wait_for(100)
        receiver.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert ship() == 0
    killer.join(10)
    before = len(receiver.received)
    assert 100 <= before < 200
    assert "before it had taken everything" in mark().problem
    assert mark().number == 0
    receiver.start()
    let_time_pass()
    assert ship() == 200
    assert numbers(receiver) == [*range(1, before + 1), *range(1, 201)]
    assert (mark().number, mark().problem) == (200, "")


def test_deeds_go_on_while_the_server_is_down_and_follow_when_it_is_back(make_receiver):
    receiver = make_receiver()
    write(2)
    assert ship() == 0
    assert "refuses connections" in mark().problem
    assert mark().number == 0
    assert not is_due(now())
    assert is_due(now() + timedelta(seconds=6))
    write(3)
    assert ship() == 0  # it waits
    receiver.start()
    let_time_pass()
    assert ship() == 5
    assert numbers(receiver) == [1, 2, 3, 4, 5]
    assert mark().problem == ""


def test_it_asks_less_often_the_longer_the_server_is_down(make_receiver):
    make_receiver()
    write(1)
    pauses = []
    for minutes in (0, 2, 60):
        AuditMark.objects.filter(name=SHIPPED).update(at=now() - timedelta(minutes=minutes))
        let_time_pass()
        ship()
        pauses.append(AuditMark.objects.get(name=SHIPPER).at - now())
    assert [round(pause.total_seconds()) for pause in pauses] == [5, 60, 300]
    down_for = now() - mark().at
    assert down_for > timedelta(minutes=59)  # since when is told, not the last attempt


def test_after_a_failure_a_small_batch_goes_first(make_receiver, monkeypatch):
    monkeypatch.setattr(shipping, "PROBE", 3)
    receiver = make_receiver()
    write(10)
    ship()
    receiver.start()
    let_time_pass()
    assert ship() == 10
    assert [which for which, _ in receiver.received] == [1] * 3 + [2] * 7


def test_a_server_with_another_certificate_gets_nothing(make_receiver, tmp_path):
    receiver = make_receiver()
    receiver.use_certificate_of(tmp_path / "stranger")
    receiver.start()
    write(1)
    assert ship() == 0
    assert "is not trusted" in mark().problem
    assert receiver.received == []


def test_without_a_ca_of_ones_own_the_systems_decide(make_receiver, settings):
    receiver = make_receiver()
    settings.AUDIT_SYSLOG_CA = ""
    receiver.start()
    write(1)
    assert ship() == 0
    assert "is not trusted" in mark().problem


def test_a_server_that_does_not_read_is_left_and_told(make_receiver, monkeypatch):
    monkeypatch.setattr(shipping, "BATCH_SECONDS", 1.0)
    make_receiver("--deaf").start()
    write(1)
    began = time.monotonic()
    assert ship() == 0
    assert time.monotonic() - began < 5
    assert "no connection in time" in mark().problem


def test_a_relay_on_the_same_host_gets_plain_text(make_receiver):
    receiver = make_receiver(is_tls=False)
    receiver.start()
    write(5)
    assert ship() == 5
    assert numbers(receiver) == [1, 2, 3, 4, 5]


def test_a_huge_entry_is_cut_and_does_not_stop_the_others(make_receiver):
    receiver = make_receiver()
    receiver.start()
    write(1)
    record(Action.LOGIN, actor=None, words="x" * 1_000_000)
    record(Action.LOGIN, actor=None, target_name="ü" * 500_000)
    write(1)
    assert ship() == 4
    texts = [text for _, text in receiver.received]
    assert [number_of(text) for text in texts] == [1, 2, 3, 4]
    assert max(len(text.encode()) for text in texts) <= 8192
    assert ' cut="data"' in texts[1]
    assert ' cut="values"' in texts[2]
    assert " cut=" not in texts[0] + texts[3]
    for text, entry in zip(texts, AuditEntry.objects.order_by("number"), strict=True):
        assert f' hash="{entry.hash}"' in text  # whoever has the hashes can hold the portal to them


def test_what_is_not_ascii_arrives_as_it_is(make_receiver):
    receiver = make_receiver()
    receiver.start()
    record(Action.LOGIN, actor=None, target_name='Jörg "der Große"] \n <13>1')
    ship()
    ((_, text),) = receiver.received
    assert text.startswith("<110>1 ")
    assert 'target_name="Jörg \\"der Große\\"\\] #012 <13>1"' in text
    assert text.endswith('\ufeffportal: person.login Jörg "der Große"] #012 <13>1 (done)')


def test_entries_that_were_purged_before_do_not_stop_the_rest(make_receiver):
    receiver = make_receiver()
    receiver.start()
    write(3)
    AuditHead.objects.update(purged_to=2)
    triggers.remove(connection)
    AuditEntry.objects.filter(number__lte=2).delete()
    triggers.install(connection)
    assert ship() == 3
    assert numbers(receiver) == [3]


def test_nothing_is_asked_where_no_server_is_set(django_assert_num_queries, settings):
    settings.AUDIT_SYSLOG_URL = ""
    with django_assert_num_queries(0):
        assert not is_due(now())
        assert ship() == 0


@pytest.mark.django_db(transaction=True)
def test_several_at_once_send_nothing_twice_and_keep_the_order(make_receiver, monkeypatch):
    monkeypatch.setattr(shipping, "BATCH", 10)
    receiver = make_receiver()
    receiver.start()
    write(60)
    shipped = []

    def run():
        try:
            shipped.append(ship())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(shipped) == [0, 0, 0, 0, 60]
    assert numbers(receiver) == list(range(1, 61))


def test_a_shipper_that_lost_its_hold_moves_nothing(make_receiver, monkeypatch):
    """It was suspended for longer than it holds; another has gone on."""
    receiver = make_receiver()
    receiver.start()
    write(5)
    send = shipping._send

    def slowly(entries):
        send(entries)
        AuditMark.objects.filter(name=SHIPPER).update(number=99)
        AuditMark.objects.filter(name=SHIPPED).update(number=4)

    monkeypatch.setattr(shipping, "_send", slowly)
    assert ship() == 0
    assert mark().number == 4
    assert AuditMark.objects.get(name=SHIPPER).number == 99
