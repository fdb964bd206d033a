"""The watch loop with real threads and real time: nothing is visited twice, nothing holds it up."""

import threading
import time

import pytest
from django.db import connection
from django.utils.timezone import now

from tasks_app.models import Source, WatchSlot
from tasks_app.polling import leases, slots, watch
from tests.factories import make_source
from tests.unit.polling.scripted import ScriptedRemote


class LiveRemote(ScriptedRemote):
    """Counts how many visit it at the same time."""

    def __init__(self, *nodes, seconds=0.0):
        super().__init__(*nodes)
        self.seconds = seconds
        self.inside = self.most_inside = self.visits = 0
        self._lock = threading.Lock()

    def fetch_cluster_tasks(self):
        with self._lock:
            self.inside += 1
            self.visits += 1
            self.most_inside = max(self.most_inside, self.inside)
        time.sleep(self.seconds)
        with self._lock:
            self.inside -= 1
        return super().fetch_cluster_tasks()


def run_in_threads(*targets):
    def closing(target):
        try:
            target()
        finally:
            connection.close()

    threads = [threading.Thread(target=closing, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_threads_claims_a_source():
    source = make_source()
    won, barrier = [], threading.Barrier(6)

    def claim(owner):
        barrier.wait(10)
        if leases.claim(source.pk, owner, now()):
            won.append(owner)

    run_in_threads(*(lambda o=f"loop-{n}": claim(o) for n in range(6)))
    assert len(won) == 1


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_threads_enters_a_slot():
    entered, barrier = [], threading.Barrier(6)
    WatchSlot.objects.create(slot=0)

    def enter(owner):
        barrier.wait(10)
        if slots.claim(0, owner, now()):
            entered.append(owner)

    run_in_threads(*(lambda o=f"loop-{n}": enter(o) for n in range(6)))
    assert len(entered) == 1


def loop(slot, remote, *, stop=None, owner=None):
    return watch.WatchLoop(
        slot,
        owner or f"loop-{slot}",
        stop=stop or threading.Event(),
        client=lambda source: remote,
        memories={},
    )


def enter_and_run(slot, remote, seconds):
    assert slots.claim(slot, f"loop-{slot}", now())
    loop(slot, remote).run(seconds)
    slots.release(slot, f"loop-{slot}")


@pytest.mark.django_db(transaction=True)
def test_two_loops_never_visit_a_source_at_once():
    make_source()
    remote = LiveRemote("pve1", seconds=0.3)
    remote.start()
    run_in_threads(lambda: enter_and_run(0, remote, 3), lambda: enter_and_run(1, remote, 3))
    assert remote.visits >= 3
    assert remote.most_inside == 1


@pytest.mark.django_db(transaction=True)
def test_sources_are_visited_side_by_side():
    remotes = {make_source().pk: LiveRemote("pve1", seconds=0.8) for _ in range(4)}
    slots.claim(0, "loop-0", now())
    watch.WatchLoop(
        0, "loop-0", stop=threading.Event(), client=lambda source: remotes[source.pk], memories={}
    ).run(2)
    assert all(remote.visits >= 1 for remote in remotes.values())
    assert Source.objects.filter(last_pass_at__isnull=False, failing_since__isnull=True).count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_loop_asked_to_stop_ends_within_a_second_although_a_remote_hangs():
    source = make_source()
    hanging, stop = threading.Event(), threading.Event()

    class Hanging(ScriptedRemote):
        def fetch_cluster_tasks(self):
            hanging.set()
            stop.wait(20)
            time.sleep(2)
            return []

    slots.claim(0, "loop-0", now())
    ended = []

    def run():
        loop(0, Hanging("pve1"), stop=stop).run(30)
        ended.append(time.monotonic())

    def ask_to_stop():
        assert hanging.wait(10)
        ended.append(time.monotonic())
        stop.set()

    run_in_threads(run, ask_to_stop)
    assert ended[1] - ended[0] < 1.0
    assert Source.objects.get(pk=source.pk).lease_owner == ""
    for thread in threading.enumerate():
        if thread.name.startswith("pass-"):
            thread.join(30)  # the daemon thread gives its connection back before the tables go


@pytest.mark.django_db(transaction=True)
def test_a_slow_pass_keeps_its_lease():
    source = make_source()
    remote = LiveRemote("pve1", seconds=6.5)
    slots.claim(0, "loop-0", now())
    taken = []

    def interfere():
        time.sleep(5.7)
        taken.append(leases.claim(source.pk, "other", now()))

    run_in_threads(lambda: loop(0, remote).run(7), interfere)
    assert taken == [None]
