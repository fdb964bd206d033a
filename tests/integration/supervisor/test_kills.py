"""Whatever process is killed, everything works again within 15 s, and nothing runs twice."""

import signal
import time

import psutil
import pytest

from tests.integration.supervisor.running import (
    BACK_WITHIN_SECONDS,
    RunningPortal,
    role_of,
    running,
    wait_until,
)

pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]

ROLES = [
    "web",
    "demo",
    "studio",
    *(
        f"{cluster}:{part}"
        for cluster in ("portal", "watch")
        for part in ("main", "sentinel", "monitor", "pusher")
    ),
    "portal:worker",
    "watch:worker",
    "watch:loop",
]


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    with running(tmp_path_factory.mktemp("kills")) as portal:
        yield portal


def wait_for_role(portal: RunningPortal, role: str) -> psutil.Process:
    wait_until(lambda: role in map(role_of, portal.processes()), 20, f"a process that is {role}")
    return portal.find(role)


def wait_for_health(portal: RunningPortal, role: str) -> float:
    """Everything has worked after the kill was over: later than any ping or pass that was under way."""
    killed_at = time.time()
    story = f"health after {role}\n{portal.text[-3000:]}"
    return wait_until(lambda: portal.healthy_since(killed_at + 0.5), BACK_WITHIN_SECONDS, story)


@pytest.mark.parametrize("role", ROLES)
def test_everything_works_again_after_a_kill_of(portal, role, record_property):
    victim = wait_for_role(portal, role)
    victim.kill()
    seconds = wait_for_health(portal, role)
    record_property("seconds_until_everything_worked", round(seconds, 1))


def test_both_idle_workers_killed_is_cured(portal):
    """The known hang of django-q2: the queue's lock dies with its holder, and nothing is ever taken again."""
    workers = [process for process in portal.processes() if role_of(process) == "portal:worker"]
    assert workers
    for worker in workers:
        worker.kill()
    wait_for_health(portal, "both idle workers")


def test_sigterm_to_a_whole_cluster_is_cured(portal):
    """django-q2's main process hangs for ever when its whole group gets SIGTERM."""
    main = wait_for_role(portal, "portal:main")
    for process in [main, *main.children(recursive=True)]:
        process.send_signal(signal.SIGTERM)
    wait_for_health(portal, "SIGTERM to the group")


def test_no_orphan_is_left_beside_the_running_clusters(portal):
    """After all those kills: one main process and one sentinel per cluster, two watch loops at most."""
    wait_for_role(portal, "watch:loop")
    roles = [role_of(process) for process in portal.processes()]
    for cluster in ("portal", "watch"):
        assert roles.count(f"{cluster}:main") == 1
        assert roles.count(f"{cluster}:sentinel") == 1
    assert roles.count("watch:loop") <= 2
    strays = [
        process
        for process in psutil.process_iter()
        if role_of(process).partition(":")[0] in ("portal", "watch")
        and process.pid not in {known.pid for known in portal.processes()}
        and process.environ().get("PORTAL_DATA_DIR") == str(portal.data_dir)
    ]
    assert strays == []


def test_the_source_is_polled_by_one_loop_only(portal):
    """Two loops at once would double the passes; the lease of the source allows one in any second."""

    def passes() -> int:
        return sum(1 for _ in range(20) if not time.sleep(0.25) and changed())

    seen: list[object] = [None]

    def changed() -> bool:
        now_at = portal.query("SELECT max(last_pass_at) FROM tasks_app_source")[0][0]
        different = now_at != seen[0]
        seen[0] = now_at
        return different

    assert 1 <= passes() <= 9
