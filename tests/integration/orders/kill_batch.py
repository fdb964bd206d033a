"""The kill test of a batch: SIGKILL of the whole worker cluster at random instants, then the cluster is counted.

    .venv/bin/python -m tests.integration.orders.kill_batch --machines 50 --kills 20 --seed 1

runs the full form; `test_kill_batch.py` runs a small one. The truth is the demo cluster's own: its guests and tasks.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks_app.sources.proxmox import Connection, ProxmoxSource
from tests.integration.supervisor.running import ROOT, RunningPortal, role_of, running, wait_until

MOST_WAIT_SECONDS = 3.0
"""Between the cluster's return and its next death."""
FINAL = ("ready", "failed", "cancelled", "rejected", "gone")

# Run by `manage.py shell` in the portal's own environment: what an admin and a member would do in its pages.
_ORDER = """
from django.contrib.auth.models import Group, User
from tasks_app.models import CatalogItem, Guest, Source, Team
from tasks_app.services import orders
source = Source.objects.get(is_demo=True, kind=Source.PROXMOX)
template = Guest.objects.get(source=source, vmid=9001)
item = CatalogItem.objects.create(
    source=source, kind="qemu", vmid=9001, slug="kill", title="Kill test", pool="portal", storage="ceph-vm",
    sizes=[{{"key": "S", "label": "S", "cores": 1, "memory_mb": 256, "disk_gb": 9}}], disk_key="scsi0",
    template_disk_gb=8, template_disks_gb=8, vmid_from=50000, vmid_to=50999,
)
group = Group.objects.create(name="Kill test")
team = Team.objects.create(group=group, slug="team", max_parallel_clones=8)
team.items.add(item)
member = User.objects.create_user("killer")
member.groups.add(group)
order = orders.submit_order(
    member, item=item, team=team, rows=[orders.Wanted()] * {machines}, size=orders.Size(key="S"),
    idempotency_key="kill",
)
print("ORDER", order.pk)
"""


@dataclass
class Outcome:
    """What stands in the end. `problems` is empty when every machine was made exactly once."""

    machines: int
    kills: int
    seconds: float = 0.0
    killed_processes: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    stages_at_kill: list[str] = field(default_factory=list)
    clone_tasks: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.machines} machines, {self.kills} kills ({self.killed_processes} processes), {self.seconds:.0f} s",
            f"stages: {dict(self.stages)}",
            f"clone tasks of ours on the cluster: {dict(self.clone_tasks)}",
            "at the kills: " + " | ".join(self.stages_at_kill),
        ]
        return "\n".join(lines + (self.problems or ["every machine exists once"]))


def run(machines: int, kills: int, seed: int, *, time_scale: float, within: float, data_dir: Path) -> Outcome:
    """Order, kill, wait, count."""
    rng = random.Random(seed)
    outcome = Outcome(machines, kills)
    with running(data_dir, demo_time_scale=time_scale) as portal:
        started = time.monotonic()
        wait_until(lambda: _has_template(portal), 30, "the template among the guests")
        order = _submit(portal, machines)
        for _ in range(kills):
            wait_until(lambda: _has_workers(portal), 60, f"workers after a kill\n{portal.text[-3000:]}")
            time.sleep(rng.uniform(0.0, MOST_WAIT_SECONDS))
            outcome.stages_at_kill.append(
                " ".join(f"{n} {s}" for s, n in sorted(_stages(portal, order).items()))
            )
            outcome.killed_processes += _kill_cluster(portal)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and not _is_over(portal, order):
            time.sleep(0.5)
        outcome.seconds = time.monotonic() - started
        outcome.stages = _stages(portal, order)
        _count(portal, order, outcome)
        if outcome.problems:
            outcome.problems.append(portal.text[-4000:])
    return outcome


def _has_template(portal: RunningPortal) -> bool:
    return bool(portal.query("SELECT id FROM tasks_app_guest WHERE vmid = 9001"))


def _submit(portal: RunningPortal, machines: int) -> int:
    script = _ORDER.format(machines=machines)
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", script],
        cwd=ROOT,
        env=portal.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ORDER" in done.stdout, done.stdout + done.stderr
    return int(done.stdout.split("ORDER")[1])


def _workers(portal: RunningPortal) -> list[psutil.Process]:
    return [process for process in portal.processes() if role_of(process).startswith("portal:")]


def _has_workers(portal: RunningPortal) -> bool:
    return any(role_of(process) == "portal:worker" for process in portal.processes())


def _kill_cluster(portal: RunningPortal) -> int:
    """All of it at once: main process, sentinel, monitor, pusher and every worker."""
    victims = _workers(portal)
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, timeout=5)
    return len(victims)


def _stages(portal: RunningPortal, order: int) -> Counter[str]:
    rows = portal.query(
        f"SELECT stage, count(*) FROM tasks_app_machine WHERE order_id = {order} GROUP BY stage"
    )
    return Counter(dict(rows))


def _is_over(portal: RunningPortal, order: int) -> bool:
    return all(stage in FINAL for stage in _stages(portal, order))


def _client(portal: RunningPortal) -> ProxmoxSource:
    told = json.loads((portal.data_dir / "demo" / "connection.json").read_text())
    return ProxmoxSource(
        Connection(
            name="demo",
            urls=(told["url"],),
            fingerprints=(told["fingerprint"],),
            ca_pem="",
            token_id=told["token_id"],
            token_secret=told["token_secret"],
        )
    )


def _count(portal: RunningPortal, order: int, outcome: Outcome) -> None:
    """Compare the portal's machines with the guests and the clone tasks that the cluster itself shows."""
    rows = portal.query(
        f"SELECT name, vmid, stage, error, differences FROM tasks_app_machine WHERE order_id = {order}"
    )
    problems = outcome.problems
    for name, vmid, stage, error, differences in rows:
        if stage != "ready":
            problems.append(f"{name} ({vmid}) is {stage}: {error}")
        elif differences not in ("[]", []):
            problems.append(f"{name} ({vmid}) is not as ordered: {differences}")
    if len(rows) != outcome.machines:
        problems.append(f"{len(rows)} machines in the table")
    names, vmids = {row[0] for row in rows}, {row[1] for row in rows}
    with _client(portal) as client:
        guests = [row for row in client.fetch_resources("vm") if row.vmid and 50000 <= row.vmid <= 50999]
        if {row.vmid for row in guests} != vmids:
            problems.append(f"guests {sorted(row.vmid or 0 for row in guests)} for VMIDs {sorted(vmids)}")
        twice = [name for name, count in Counter(row.name for row in guests).items() if count > 1]
        if twice or not {row.name for row in guests if row.name} <= names:
            problems.append(f"guests with a wrong or doubled name: {twice or [row.name for row in guests]}")
        made: Counter[int] = Counter()
        node = next(row.node for row in client.fetch_resources("vm") if row.vmid == 9001)
        for task in client.fetch_node_tasks(node, since=None, limit=1000).observations:
            if task.type != "qmclone" or task.object_id != "9001" or task.token == "":
                continue
            outcome.clone_tasks[(task.exit_text or "running")[:60]] += 1
            if task.exit_text == "OK":
                head = " ".join(
                    line.text for line in client.fetch_log(node, task.remote_id, after=0, limit=3).lines
                )
                made[int(head.split("with ID ")[1].split()[0])] += 1
    again = {vmid: count for vmid, count in made.items() if count > 1 and vmid in vmids}
    if again or not vmids <= set(made):
        problems.append(f"successful clones per VMID: twice {again}, never {sorted(vmids - set(made))}")
    stray = set(made) - vmids
    if stray & set(range(50000, 51000)):
        problems.append(f"successful clones of nobody: {sorted(stray)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time-scale", type=float, default=0.3)
    parser.add_argument("--within", type=float, default=900.0, help="seconds after the last kill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-batch-") as folder:
        outcome = run(
            given.machines,
            given.kills,
            given.seed,
            time_scale=given.time_scale,
            within=given.within,
            data_dir=Path(folder),
        )
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
