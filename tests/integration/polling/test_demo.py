"""What the watch loop finds on the demo cluster, how soon, and with how many requests."""

import logging
import time
from datetime import UTC, datetime

import pytest
from django.utils.timezone import now

from tasks_app.ingest.logs import read_lines
from tasks_app.models import Guest, Source, Task, TaskEvent
from tasks_app.polling import leases, slots
from tasks_app.states import State
from tests.integration.polling.conftest import wait_for, watching

logger = logging.getLogger(__name__)


def is_in(upid, state):
    return Task.objects.filter(remote_id=upid, state=state).exists()


def ends_seen(upids):
    """Seconds from the end of each task to the event that tells it."""
    times = {}
    pks = dict(Task.objects.filter(remote_id__in=upids).values_list("pk", "remote_id"))
    for event in TaskEvent.objects.filter(task_id__in=pks, kind__in=["state", "new"]).order_by("id"):
        upid = pks[event.task_id]
        if event.kind == "state" and upid not in times:
            times[upid] = event.at
    return times


def p95(values):
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))]


def test_a_clone_is_followed_from_its_start_to_its_whole_log(cluster, source):
    with watching():
        wait_for(lambda: Source.objects.filter(first_synced_at__isnull=False).exists())
        upid = cluster.start_load(1, 6.0)[0]
        wait_for(lambda: Task.objects.filter(remote_id=upid, percent__gt=20, percent__lt=99).exists())
        wait_for(lambda: is_in(upid, State.COMPLETED))
        wait_for(lambda: Task.objects.filter(remote_id=upid, log__is_complete=True).exists())
    task = Task.objects.get(remote_id=upid)
    demo = cluster.tasks[upid]
    assert [text for _, text in read_lines(task, 0, 10_000)] == [
        text for _, text in demo.log_lines(time.time(), 0, 0)
    ]
    assert task.percent == 100
    assert task.object_name
    assert task.ended_at == datetime.fromtimestamp(int(demo.ended), UTC)
    assert Guest.objects.filter(source=source).count() > 3


def test_ends_are_seen_within_a_second_and_a_half(cluster, source):
    with watching():
        wait_for(lambda: Source.objects.filter(first_synced_at__isnull=False).exists())
        busy = cluster.start_task(seconds=60.0)
        wait_for(lambda: is_in(busy, State.PROCESSING))
        upids = []
        for number in range(30):
            upids += cluster.start_load(1, 3.0 + number * 0.13, moving=number % 2 == 0)
            time.sleep(0.07)
        wait_for(lambda: Task.objects.filter(remote_id__in=upids, state=State.COMPLETED).count() == 30, 20)
    seen = ends_seen(upids)
    delays = [seen[upid].timestamp() - cluster.tasks[upid].ended for upid in upids]
    logger.info(
        f"detection of 30 ends: p50 {sorted(delays)[15]:.2f} s p95 {p95(delays):.2f} s max {max(delays):.2f} s"
    )
    assert p95(delays) <= 1.5


def test_tasks_shorter_than_a_pass_are_found(cluster, source):
    with watching():
        wait_for(lambda: Source.objects.filter(first_synced_at__isnull=False).exists())
        upids = [upid for _ in range(40) for upid in cluster.start_load(1, 0.05, moving=False)]
        wait_for(lambda: Task.objects.filter(remote_id__in=upids, state=State.COMPLETED).count() == 40)
        wait_for(lambda: Task.objects.filter(remote_id__in=upids, log__is_complete=True).count() == 40)


@pytest.mark.parametrize(("moving", "most"), [(False, 1.0), (True, 8.0)])
def test_a_hundred_tasks_cost_few_requests(cluster, source, moving, most):
    with watching():
        wait_for(lambda: Source.objects.filter(first_synced_at__isnull=False).exists())
        upids = cluster.start_load(100, 60.0, moving=moving)
        wait_for(lambda: Task.objects.filter(remote_id__in=upids).count() == 100)
        wait_for(lambda: Source.objects.filter(lease_owner="").exists())
        before, began = sum(cluster.requests.values()), time.monotonic()
        time.sleep(15)
        made, seconds = sum(cluster.requests.values()) - before, time.monotonic() - began
    per_task_minute = made / 100 / seconds * 60
    logger.info(
        f"100 tasks, bars {moving}: {made / seconds:.1f} requests/s, {per_task_minute:.2f} per task and minute"
    )
    assert per_task_minute <= most
    if moving:
        assert Task.objects.filter(remote_id__in=upids, percent__gt=0).count() == 100


def test_a_token_without_the_right_to_list_the_cluster_still_sees_what_the_nodes_show(cluster, source):
    cluster.fault("no_sys_audit", subject=cluster.token_id)
    with watching():
        wait_for(lambda: Source.objects.filter(permissions_at__isnull=False).exists())
        upid = cluster.start_task(seconds=2.0, user=cluster.token_id)
        wait_for(lambda: is_in(upid, State.COMPLETED), 20)
    assert "Sys.Audit" not in Source.objects.get().permissions.get("/", {})


def test_a_node_that_is_unreachable_ends_no_task(cluster, source):
    with watching():
        there = cluster.start_task(node="pve2", seconds=60.0)
        wait_for(lambda: is_in(there, State.PROCESSING))
        cluster.fault("node_offline", subject="pve2")
        here = cluster.start_task(node="pve1", seconds=2.0)
        wait_for(lambda: is_in(here, State.COMPLETED), 20)
    task = Task.objects.get(remote_id=there)
    assert (task.state, task.missing_count) == (State.PROCESSING, 0)


def test_a_source_that_hangs_up_is_failing_and_recovers(cluster, source):
    with watching():
        upid = cluster.start_task(seconds=60.0)
        wait_for(lambda: is_in(upid, State.PROCESSING))
        cluster.fault("status", value=500, text="Internal Server Error")
        wait_for(lambda: Source.objects.filter(failing_since__isnull=False).exists())
        assert is_in(upid, State.PROCESSING)
        cluster.clear_faults()
        wait_for(lambda: Source.objects.filter(failing_since__isnull=True).exists())


def test_another_loop_goes_on_when_the_leading_one_is_killed(cluster, source):
    with watching(1):
        wait_for(lambda: Source.objects.filter(last_pass_at__isnull=False).exists())
        # As a killed loop leaves them: slot and source taken, nobody renews.
        assert slots.claim(0, "killed", now())
        wait_for(lambda: Source.objects.filter(lease_owner="", next_pass_at__lte=now()).exists())
        assert leases.claim(source.pk, "killed", now())
        began = now()
        wait_for(lambda: Source.objects.filter(last_pass_at__gt=began).exists(), 10)
        took = (Source.objects.get().last_pass_at - began).total_seconds()
    logger.info(f"watching resumed after {took:.1f} s")
    assert took <= 6
