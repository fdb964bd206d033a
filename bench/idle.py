"""What the portal costs while nothing happens: processor time and memory of its own of all its processes together.

Once with a source whose cluster idles (started outside, so not counted), which is what the goals are about; once as
`bin/run` starts it, with the demo cluster and the life on it.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from bench.clusters import ClusterProcess
from bench.portals import Portal
from bench.tables import print_goals, print_table

CPU_LIMIT_PERCENT = 3.0
USS_LIMIT_MIB = 300.0
LOOK_SECONDS = 0.5  # so that a process that ends is missed by no more than this
DEMO = "demo cluster"


@dataclass
class Cost:
    """Of one process: seconds of processor time in the window, and MiB that only it holds at its end."""

    role: str
    cpu_seconds: float = 0.0
    uss_mib: float = 0.0
    began_at: float | None = None


def main(arguments: Sequence[str]) -> bool:
    parser = argparse.ArgumentParser(prog="python -m bench idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement (60)")
    parser.add_argument("--warm", type=float, default=30.0, help="seconds before it, for the first pass (30)")
    options = parser.parse_args(arguments)
    with ClusterProcess() as cluster, Portal(source=cluster.portal) as portal:
        requests_before = cluster.requests()[0]
        idle = _measure(portal, options.warm, options.seconds)
        asked = (cluster.requests()[0] - requests_before).total() / (options.warm + options.seconds) * 60
    with Portal(demo=True) as portal:
        lively = _measure(portal, options.warm, options.seconds)
    cpu, uss = _report(f"One source, its cluster idle ({asked:.0f} requests a minute)", idle, options.seconds)
    _report("With the demo cluster and its life, as bin/run starts it", lively, options.seconds)
    return print_goals(
        [
            ("idle: processor, of one core", cpu, CPU_LIMIT_PERCENT, "%"),
            ("idle: memory of all processes (USS)", uss, USS_LIMIT_MIB, "MiB"),
        ]
    )


def _measure(portal: Portal, warm: float, seconds: float) -> list[Cost]:
    time.sleep(warm)
    costs: dict[tuple[int, float], Cost] = {}
    end = time.monotonic() + seconds
    is_first = True
    while True:
        is_last = time.monotonic() >= end
        for process in portal.processes():
            with contextlib.suppress(psutil.Error):
                cost = costs.setdefault((process.pid, process.create_time()), Cost(_role_of(process)))
                times = process.cpu_times()
                used = times.user + times.system
                if cost.began_at is None:
                    # A process that came later spent all of its time in the window.
                    cost.began_at = used if is_first else 0.0
                cost.cpu_seconds = used - cost.began_at
                if is_last:
                    cost.role = _role_of(process)
                    cost.uss_mib = process.memory_full_info().uss / 1024**2
        if is_last:
            return list(costs.values())
        is_first = False
        time.sleep(LOOK_SECONDS)


def _report(title: str, costs: Sequence[Cost], seconds: float) -> tuple[float, float]:
    rows = [
        [cost.role, f"{cost.cpu_seconds / seconds * 100:.2f}", f"{cost.uss_mib:.1f}"]
        for cost in sorted(costs, key=lambda cost: cost.role)
    ]
    sums = []
    for name, part in (
        ("portal, together", [cost for cost in costs if cost.role != DEMO]),
        ("everything", costs),
    ):
        cpu, uss = (
            sum(cost.cpu_seconds for cost in part) / seconds * 100,
            sum(cost.uss_mib for cost in part),
        )
        sums.append((cpu, uss))
        rows.append([name, f"{cpu:.2f}", f"{uss:.1f}"])
    print_table(title, ["", "% of a core", "USS MiB"], rows)
    return sums[0]


def _role_of(process: psutil.Process) -> str:
    """From the command line and, for django-q2's processes, from the titles they give themselves."""
    line = " ".join(process.cmdline())
    if "demo.proxmox" in line:
        return DEMO
    if " web " in line:
        return "web"
    if " serve " in line:
        return "supervisor"
    # Titles overwrite the environment now and then; each cluster is a session of its own, so any member may tell.
    session = os.getsid(process.pid)
    cluster = _cluster_of(session) or _cluster_of(process.pid)
    words = {
        " monit": "monitor",
        " pushe": "pusher",
        " proce": "worker",
        " idle": "worker",
    }  # long ones are cut
    part = next((part for word, part in words.items() if word in line), "sentinel")
    return f"workers {cluster}: {'main' if process.pid == session else part}"


def _cluster_of(pid: int) -> str:
    try:
        return psutil.Process(pid).environ().get("Q_CLUSTER_NAME", "")
    except psutil.Error:
        return ""
