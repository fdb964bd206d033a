"""A batch of clones: the portal's time against a bare loop over the same cluster, at the same parallelism.

    python -m bench batch --machines 200 --parallel 8

Both clone the same template of one demo cluster, one after the other in one run. The loop knows nothing but `clone`
and `status` (asked every 0.2 s), one thread per clone at once: what the cluster itself needs. The portal does the
whole thing: reserves VMIDs, writes submissions, queues, follows, configures; its time is from the first clone's start
to the last clone's end, read from the tables.
"""

import argparse
import queue
import subprocess
import sys
import threading
import time

from bench.clusters import ClusterProcess
from bench.portals import ROOT, Portal
from bench.tables import print_goals, print_table
from tasks_app.sources.proxmox import Connection, ProxmoxSource

TEMPLATE, NODE = 9001, "pve1"
ASK_SECONDS = 0.2
GOAL_PERCENT = 5.0

_ORDER = """
from django.contrib.auth.models import Group, User
from tasks_app.models import CatalogItem, Source, Team
from tasks_app.services import orders
source = Source.objects.get()
item = CatalogItem.objects.create(
    source=source, kind="qemu", vmid={template}, slug="bench", title="Bench", pool="portal", storage="ceph-vm",
    sizes=[{{"key": "S", "label": "S", "cores": 1, "memory_mb": 512, "disk_gb": 0}}], disk_key="scsi0",
    template_disk_gb=8, template_disks_gb=8, vmid_from=50000, vmid_to=59999, starts=False,
)
group = Group.objects.create(name="Bench")
team = Team.objects.create(group=group, slug="bench", max_parallel_clones={parallel})
team.items.add(item)
member = User.objects.create_user("bench")
member.groups.add(group)
orders.submit_order(
    member, item=item, team=team, rows=[orders.Wanted()] * {machines}, size=orders.Size(key="S"), idempotency_key="b",
)
"""


def main(argv: list[str]) -> bool:
    """Print the table; whether the goal was met."""
    parser = argparse.ArgumentParser(prog="python -m bench batch", description=__doc__)
    parser.add_argument("--machines", type=int, default=24)
    parser.add_argument("--parallel", type=int, default=8)
    options = parser.parse_args(argv)
    with ClusterProcess() as cluster:
        bare = _time_bare_loop(cluster.portal, options.machines, options.parallel)
        limits = {
            f"PORTAL_CLONES_PER_{what}": str(options.parallel) for what in ("TEMPLATE", "STORAGE", "CLUSTER")
        }
        with Portal(source=cluster.portal, environ=limits) as portal:
            portals, ready = _time_portal(portal, options.machines, options.parallel, most=bare * 3 + 120)
    overhead = (portals / bare - 1) * 100
    print_table(
        f"{options.machines} full clones, {options.parallel} at once",
        ["bare loop", "portal, clones", "overhead", "all machines ready after"],
        [[f"{bare:.1f} s", f"{portals:.1f} s", f"{overhead:+.1f} %", f"{ready:.1f} s"]],
    )
    return print_goals([("overhead of the portal", overhead, GOAL_PERCENT, "%")])


def _time_bare_loop(connection: Connection, machines: int, parallel: int) -> float:
    """Seconds for `machines` clones with `parallel` of them at once."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for vmid in range(60000, 60000 + machines):
        waiting.put(vmid)
    failures: list[str] = []

    def work(client: ProxmoxSource) -> None:
        while True:
            try:
                vmid = waiting.get_nowait()
            except queue.Empty:
                return
            upid = client.clone_guest(
                "qemu",
                NODE,
                TEMPLATE,
                new_vmid=vmid,
                name=f"bare-{vmid}",
                full=True,
                storage="ceph-vm",
                pool="portal",
            )
            task = client.fetch_task(NODE, upid)
            while task.running:
                time.sleep(ASK_SECONDS)
                task = client.fetch_task(NODE, upid)
            if task.exit_text != "OK":
                failures.append(str(task.exit_text))

    with ProxmoxSource(connection) as client:
        threads = [threading.Thread(target=work, args=(client,)) for _ in range(parallel)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
    if failures:
        raise SystemExit(f"{len(failures)} clones of the bare loop failed: {failures[0]}")
    return seconds


def _time_portal(portal: Portal, machines: int, parallel: int, *, most: float) -> tuple[float, float]:
    """Seconds from the first clone's start to the last clone's end, and until all machines are ready."""
    began = time.monotonic()
    while not portal.query("SELECT 1 FROM tasks_app_source WHERE first_synced_at IS NOT NULL"):
        if time.monotonic() - began > 60:
            raise SystemExit(f"The portal has not read the cluster.\n{portal.output}")
        time.sleep(0.2)
    script = _ORDER.format(template=TEMPLATE, parallel=parallel, machines=machines)
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", script], cwd=ROOT, env=portal.environ, check=True
    )
    ordered = time.monotonic()
    while True:
        (open_count,) = portal.query(
            "SELECT count(*) FROM tasks_app_machine WHERE stage NOT IN ('ready', 'failed', 'cancelled')"
        )[0]
        if not open_count:
            break
        if time.monotonic() - ordered > most:
            raise SystemExit(f"{open_count} machines are not made after {most:.0f} s.\n{portal.output}")
        time.sleep(0.2)
    ready = time.monotonic() - ordered
    (made,) = portal.query("SELECT count(*) FROM tasks_app_machine WHERE stage = 'ready'")[0]
    if made != machines:
        raise SystemExit(f"Only {made} of {machines} machines were made.\n{portal.output}")
    (seconds,) = portal.query(
        "SELECT (julianday(max(t.ended_at)) - julianday(min(s.called_at))) * 86400 "
        "FROM tasks_app_task t JOIN tasks_app_submission s ON s.id = t.submission_id WHERE t.type = 'qmclone'"
    )[0]
    return float(seconds), ready
