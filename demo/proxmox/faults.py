"""Things that go wrong on demand: slow, broken and lying answers, lost nodes, lost rights."""

import threading
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

# Faults of a single answer, which can be narrowed to a path and counted down.
ANSWER_KINDS = ("latency", "hang", "drop", "status", "unreachable", "garbage", "huge")
# Conditions of the cluster, which hold until they are cleared.
CONDITION_KINDS = ("node_offline", "token_revoked", "clock_skew", "no_sys_audit", "no_quorum")
KINDS = (*ANSWER_KINDS, *CONDITION_KINDS)


@dataclass(frozen=True, slots=True)
class Fault:
    """`value` is seconds for latency, hang and clock_skew, bytes for huge, and the code for status.

    `path` is a shell pattern of the call's path (`/nodes/pve2/*`), `method` empty for all, `subject` the node
    or token, `times` how many answers it spoils (0 = until cleared), `until` a Unix time or 0. With a node,
    clock_skew is about its tasks: it names and ends them by a clock that is ahead so much.
    """

    kind: str
    value: float = 0.0
    path: str = "*"
    method: str = ""
    subject: str = ""
    text: str = ""
    times: int = 0
    until: float = 0.0


class Faults:
    """The faults in force; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            raise ValueError(f"no such fault: {fault.kind}; there are {', '.join(KINDS)}")
        with self._lock:
            self._faults.append(fault)

    def clear(self, kind: str = "", subject: str = "") -> None:
        """All of them, or those of one kind and subject."""
        with self._lock:
            self._faults = [
                fault
                for fault in self._faults
                if (kind and fault.kind != kind) or (subject and fault.subject != subject)
            ]

    def listed(self) -> list[Fault]:
        with self._lock:
            self._drop_expired()
            return list(self._faults)

    def find(self, kind: str, subject: str = "") -> Fault | None:
        """A condition in force; without `subject` whichever comes first."""
        if not self._faults:
            return None
        for fault in self.listed():
            if fault.kind == kind and (not subject or fault.subject == subject):
                return fault
        return None

    def take(self, method: str, path: str) -> list[Fault]:
        """The answer faults that hit this request; each counts down."""
        if not self._faults:
            return []
        hits = []
        with self._lock:
            self._drop_expired()
            left = []
            for fault in self._faults:
                hit = (
                    fault.kind in ANSWER_KINDS
                    and fault.method in ("", method)
                    and fnmatchcase(path, fault.path)
                )
                if not hit:
                    left.append(fault)
                    continue
                hits.append(fault)
                if fault.times != 1:
                    left.append(replace(fault, times=max(0, fault.times - 1)))
            self._faults = left
        return hits

    def _drop_expired(self) -> None:
        now = time.time()
        self._faults = [fault for fault in self._faults if not fault.until or fault.until > now]
