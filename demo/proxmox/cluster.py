"""The demo cluster itself: guests, tasks, rights and the events that change them as time passes.

Nothing runs in the background. Whoever asks first settles what has fallen due (`settle`), so the state is a
function of the clock; the server's ticker only makes sure that it happens without questions, too.
"""

import heapq
import itertools
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from demo.proxmox.access import Access
from demo.proxmox.faults import Faults
from demo.proxmox.guests import Guest
from demo.proxmox.inventory import NODES, TEMPLATE_IDS, make_guests
from demo.proxmox.scripts import Tape
from demo.proxmox.storages import STORAGES
from demo.proxmox.store import Store
from demo.proxmox.tasks import NodeTasks, Script, Task
from demo.proxmox.upid import Upid

LOCAL_NODE = "pve1"
BOOT_AGE = 40 * 86400
PORTAL_USER, PORTAL_TOKEN = "portal@pve", "portal@pve!web"
OPERATORS = ("alice@pve", "bob@pve", "carol@pve")

OnEnd = Callable[[str, float], None]
Effect = Callable[[float], None]


class Cluster:
    """State of the whole cluster. Every public method wants `lock` held, except `now`."""

    def __init__(self, *, seed: int = 1, scale: float = 1.0, store: Store | None = None) -> None:
        self.lock = threading.RLock()
        self.scale = scale
        self.rng = random.Random(seed)
        self.faults = Faults()
        self.store = store
        self.boot = time.time() - BOOT_AGE
        self.requests: Counter[str] = Counter()
        self.fingerprint = ""
        self.guests: dict[int, Guest] = {}
        self.backups: list[dict[str, Any]] = []
        self.orphans: list[dict[str, Any]] = []
        self.tasks: dict[str, Task] = {}
        self.nodes = {name: NodeTasks() for name in NODES}
        self._events: list[tuple[float, int, Effect]] = []
        self._order = itertools.count()
        self._on_end: dict[str, OnEnd] = {}
        self._pids = {name: 4000 + 7919 * node.number for name, node in NODES.items()}
        self.is_new = self._load()

    def now(self) -> float:
        return time.time()

    # start and restart

    def _load(self) -> bool:
        store = self.store
        key = bytes.fromhex(store.read("key", "")) if store else b""
        is_new = not key
        self.access = Access(key or secrets.token_bytes(32), self._pool_of)
        self._grant_portal()
        if store is None or is_new:
            self.guests = make_guests(self.rng, self.now())
            self.access.passwords |= {"root@pam": secrets.token_urlsafe(12)}
            self.access.passwords |= {user: secrets.token_urlsafe(12) for user in OPERATORS}
            self.access.add_token(PORTAL_TOKEN)
            self.access.add_token("automation@pve!ci")
            if store:
                self._save_all(store)
            return True
        secrets_kept = store.read("secrets", {})
        self.access.passwords |= secrets_kept["passwords"]
        for authid, secret in secrets_kept["tokens"].items():
            self.access.add_token(authid, secret=secret)
        self.boot = store.read("boot")
        self._pids = store.read("pids", self._pids)
        self.backups = store.read("backups", [])
        self.orphans = store.read("orphans", [])
        self.guests = store.load_guests()
        self._load_tasks(store)
        return False

    def _save_all(self, store: Store) -> None:
        store.write("key", self.access._key.hex())
        tokens = {authid: token.secret for authid, token in self.access.tokens.items()}
        store.write("secrets", {"passwords": self.access.passwords, "tokens": tokens})
        store.write("boot", self.boot)
        store.save_guests(*self.guests.values())

    def _load_tasks(self, store: Store) -> None:
        alive = store.read("alive", self.now())
        for task in store.load_tasks():
            if task.ended is None:
                # The workers died with the process, as on a node that lost its power.
                task.finish(max(task.started, alive), "unexpected status")
                store.end_task(task)
            self.tasks[task.name] = task
            self._forget(self.nodes[task.upid.node].add_finished(task))
        for guest in self.guests.values():
            if guest.lock and guest.lock not in ("clone", "create"):
                guest.lock = None
                store.save_guests(guest)

    def _grant_portal(self) -> None:
        """The pveum lines of the README, and the right to stop other people's tasks."""
        for who in (PORTAL_USER, PORTAL_TOKEN):
            grant = self.access.grant
            grant(who, "/", "PortalView")
            grant(who, "/nodes", "PortalStop")
            grant(who, "/pool/portal", "PortalVM", "PortalBackup")
            grant(who, "/pool/staging", "PortalVM")  # so that there is something to start at once
            for vmid in TEMPLATE_IDS:
                grant(who, f"/vms/{vmid}", "PVETemplateUser")
            for storage in STORAGES:
                grant(who, f"/storage/{storage}", "PortalStorage")
            grant(who, "/sdn/zones/localnetwork/vmbr0", "PVESDNUser")
        for who in (*OPERATORS, "automation@pve", "automation@pve!ci"):
            self.access.grant(who, "/", "PVEAdmin")

    def _pool_of(self, vmid: int) -> str | None:
        guest = self.guests.get(vmid)
        # A clone joins its pool when it is done.
        return guest.pool if guest else None

    def save(self, *guests: Guest) -> None:
        if self.store:
            self.store.save_guests(*guests)

    def save_volumes(self) -> None:
        if self.store:
            self.store.write("backups", self.backups)
            self.store.write("orphans", self.orphans)

    def remove(self, vmid: int) -> None:
        self.guests.pop(vmid, None)
        if self.store:
            self.store.delete_guest(vmid)

    def note_alive(self) -> None:
        if self.store:
            self.store.write("alive", self.now())
            self.store.write("pids", self._pids)

    # tasks

    def start_task(
        self,
        *,
        type: str,
        id: str,
        user: str,
        node: str,
        build: Script | Callable[[Tape], Script],
        on_end: OnEnd | None = None,
        effects: tuple[tuple[float, Effect], ...] = (),
        locks: tuple[tuple[int, bool], ...] = (),
        scale: float | None = None,
        started: float | None = None,
        pid: int | None = None,
        save: bool = True,
    ) -> Task:
        """Begin a task now (or at `started`, also in the past). `effects` are (seconds after the start, what).

        `on_end` gets the exit status and the time. `locks` are (VMID, exclusively) it holds while it runs. The name
        tells the time by the node's own clock, which may be skewed.
        """
        at = self.now() if started is None else started
        speed = self.scale if scale is None else scale
        script = build if isinstance(build, Script) else build(Tape(at, speed))
        self._pids[node] = self._pids[node] % 0x3FFFFF + self.rng.randrange(1, 40)
        number, ticks = pid or self._pids[node], int((at - self.boot) * 100) & 0xFFFFFFFF
        fault = self.faults.find("clock_skew", node)
        skew = fault.value if fault else 0.0
        upid = Upid(node, number, ticks, int(at + skew), type, id, user)
        task = Task(upid, str(upid), at, speed, script, locks=locks, skew=skew)
        self.tasks[task.name] = task
        self.nodes[node].running[task.name] = task
        if on_end:
            self._on_end[task.name] = on_end
        for seconds, effect in effects:
            self._push(at + seconds * speed, _while_running(task, effect))
        self._push(task.due, lambda when: self._end(task, when, script.end))
        if self.store and save:
            self.store.save_tasks(task)
        return task

    def stop_task(self, task: Task) -> float:
        """Ask it to stop; answers after how many seconds it is gone."""
        if task.ended is not None:
            return 0.0
        now = self.now()
        at = min(task.due, now + task.script.stop_seconds * task.scale)
        script = task.script
        self._push(at, lambda when: self._end(task, when, script.stop_end, script.stop_lines))
        return max(0.0, at - now)

    def kill_task(self, task: Task) -> None:
        """SIGKILL from outside: no terminal line, nothing cleaned up."""
        self._end(task, self.now(), "unexpected status")

    def settle(self) -> float | None:
        """Let everything happen that is due; the time of the next event, None when there is none."""
        now = self.now()
        while self._events and self._events[0][0] <= now:
            at, _, effect = heapq.heappop(self._events)
            effect(at)
        if self.store and self.running_count():
            # What somebody is about to read must still be in the log after a kill.
            self.store.write("alive", now)
        return self._events[0][0] if self._events else None

    def holder(self, vmid: int, *, exclusive: bool) -> Task | None:
        """The running task whose lock on the guest's file would make another wait."""
        for node in self.nodes.values():
            for task in node.running.values():
                for locked, exclusively in task.locks:
                    if locked == vmid and (exclusive or exclusively):
                        return task
        return None

    def running_count(self) -> int:
        return sum(len(node.running) for node in self.nodes.values())

    def _push(self, at: float, effect: Effect) -> None:
        heapq.heappush(self._events, (at, next(self._order), effect))

    def _end(self, task: Task, at: float, status: str, extra: tuple[str, ...] = ()) -> None:
        if task.ended is not None:
            return
        task.finish(at, status, extra)
        node = self.nodes[task.upid.node]
        node.running.pop(task.name, None)
        self._forget(node.add_finished(task))
        if on_end := self._on_end.pop(task.name, None):
            on_end(status, at)
        if self.store:
            self.store.end_task(task)

    def _forget(self, tasks: list[Task]) -> None:
        for task in tasks:
            self.tasks.pop(task.name, None)
        if self.store and tasks:
            self.store.delete_tasks(*tasks)

    # conditions

    def is_online(self, node: str) -> bool:
        return self.faults.find("node_offline", node) is None

    def has_quorum(self) -> bool:
        return self.faults.find("no_quorum") is None

    def apply_conditions(self) -> None:
        """Bring the rights in line with the faults in force."""
        self.access.withheld = frozenset({"Sys.Audit"} if self.faults.find("no_sys_audit") else ())

    def next_vmid(self, first: int = 100) -> int:
        return next(vmid for vmid in itertools.count(first) if vmid not in self.guests)


def _while_running(task: Task, effect: Effect) -> Effect:
    def run(when: float) -> None:
        if task.ended is None:
            effect(when)

    return run
