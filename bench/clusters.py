"""A demo cluster in a process of its own, with an address and a token for the portal and for what it is compared to."""

import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, Self

from demo.proxmox import DemoCluster
from demo.proxmox.certificate import ensure_certificate, make_context
from demo.proxmox.cluster import Cluster
from demo.proxmox.inventory import NODES
from demo.proxmox.load import LOAD_DISK
from demo.proxmox.scripts import Tape, say_copy
from demo.proxmox.server import PveServer
from demo.proxmox.tasks import Script
from tasks_app.sources.proxmox import Connection

_STOP_SECONDS = 10.0
_OTHER_USER, _OTHER_TOKEN = "loop@pve", "bench"


@dataclass(frozen=True)
class StartedTask:
    """`ends_at` is the true end on the cluster, Unix seconds of this machine's clock."""

    upid: str
    node: str
    ends_at: float


class ClusterProcess:
    """`with ClusterProcess() as cluster:` has three idle nodes and no task but those that are asked for."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")  # a fork would share our sockets and threads
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.portal, self.other = self._pipe.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # which ends it
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    portal: Connection
    other: Connection

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def start_tasks(self, seconds: Sequence[float], *, moving: bool) -> list[StartedTask]:
        """One task for each length, begun now; `moving` ones print a line of progress for every percent."""
        started: list[StartedTask] = self._ask("start", list(seconds), moving)
        return started

    def requests(self) -> tuple[Counter[str], Counter[str]]:
        """Calls so far by method and path pattern: over the portal's address, and over the other one."""
        counted: tuple[Counter[str], Counter[str]] = self._ask("requests")
        return counted

    def _ask(self, *question: object) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()


class _Counted:
    """The same cluster with a count of requests of its own, so that two addresses can be told apart."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.requests: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)


def _serve(pipe: Pipe) -> None:
    with DemoCluster(life=False) as demo:
        secret = demo.add_token(_OTHER_USER, _OTHER_TOKEN, {"/": ["PVEAuditor"]})
        counted = _Counted(demo.cluster)
        path, fingerprint = ensure_certificate(demo.state_dir)
        server = PveServer(("127.0.0.1", 0), counted, make_context(path))  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        token_id = f"{_OTHER_USER}!{_OTHER_TOKEN}"
        pipe.send(
            (
                Connection("portal", (demo.url,), (fingerprint,), "", demo.token_id, demo.token_secret),
                Connection("loop", (url,), (fingerprint,), "", token_id, secret),
            )
        )
        try:
            while True:
                what, *arguments = pipe.recv()
                if what == "start":
                    pipe.send(_start(demo.cluster, *arguments))
                else:
                    pipe.send((Counter(demo.cluster.requests), Counter(counted.requests)))
        except EOFError:
            server.stop()


def _start(cluster: Cluster, lengths: list[float], moving: bool) -> list[StartedTask]:
    started = []
    with cluster.lock:
        for number, seconds in enumerate(lengths):
            node = list(NODES)[number % len(NODES)]
            task = cluster.start_task(
                type="qmclone" if moving else "qmstart",
                id="9000" if moving else str(100 + random.randrange(500)),
                user="alice@pve",
                node=node,
                build=_copy(seconds) if moving else Script((), seconds),
                scale=1.0,
            )
            started.append(StartedTask(task.name, node, task.due))
    return started


def _copy(seconds: float) -> Script:
    tape = Tape(0.0)
    tape.say("creating a clone of VM 9000 with ID 90000")
    tape.say("create full clone of drive scsi0 (ceph-vm:base-9000-disk-0)")
    say_copy(tape, LOAD_DISK, LOAD_DISK / max(seconds - 0.2, 0.01))
    tape.at = seconds
    return tape.script()
