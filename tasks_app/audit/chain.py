"""The hash chain of the audit trail: how an entry is sealed, and how it is found out that somebody touched it.

An entry's hash is SHA-256 over the hash before it and its own canonical content: JSON of all its columns with sorted
keys, without blanks, times in UTC with microseconds. Anyone can recompute it from an export.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from django.db.models import QuerySet

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, AuditHead
from tasks_app.models.audit import GENESIS
from tasks_app.sources.encoding import replace_lone_surrogates

CHUNK = 2000
"""Entries in one query: a few megabytes at most."""

_CONTENT = (
    "number",
    "at",
    "actor_id",
    "actor_name",
    "action",
    "result",
    "target_kind",
    "target_id",
    "target_name",
    "source_name",
    "request_id",
    "ip",
    "user_agent",
    "data",
)


def plain(value: Any) -> Any:
    """`value` as every database gives it back: numbers with a fraction become text. Raises TypeError for no JSON."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else repr(value)
    if isinstance(value, Mapping):
        return {plain_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept in the audit trail")


def plain_text(text: str) -> str:
    """PostgreSQL takes no NUL, no database half of a surrogate pair; what somebody made up may hold both."""
    return str(replace_lone_surrogates(text.replace("\0", "\ufffd")))


def plain_address(ip: str | None) -> str | None:
    """One spelling for each address; PostgreSQL has its own idea of the others."""
    return str(ip_address(ip)) if ip else None


def canonical(entry: AuditEntry) -> bytes:
    """What the hash covers beside the hash before."""
    return json.dumps(content(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def content(entry: AuditEntry) -> dict[str, Any]:
    """What `canonical` writes, as values of JSON."""
    values = {name: getattr(entry, name) for name in _CONTENT}
    values["at"] = _time(entry.at)
    values["result"] = str(entry.result)
    values["ip"] = plain_address(entry.ip)
    return values


def seal(entry: AuditEntry, previous_hash: str) -> str:
    """The hash of `entry` after `previous_hash`, in hex."""
    return hashlib.sha256(previous_hash.encode() + b"\n" + canonical(entry)).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verified` is the number up to which all is well. `bad` is the first number that is not, None when all is."""

    first: int
    verified: int
    bad: int | None = None
    problem: str = ""

    @property
    def is_intact(self) -> bool:
        return self.bad is None


class _Broken(Exception):
    def __init__(self, number: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number


def verify(
    anchors: Mapping[int, str] | None = None, *, on_progress: Callable[[int], None] | None = None
) -> Verdict:
    """Walk the whole chain in bounded memory. `anchors` are numbers and hashes that were kept outside the database.

    Finds an entry that was changed, removed or inserted, and an end that was cut off. Entries appended meanwhile are
    not looked at.
    """
    head = AuditHead.objects.filter(pk=AuditHead.KEY).first()
    anchors = dict(anchors or {})
    if head is None:
        if AuditEntry.objects.exists() or anchors:
            return Verdict(1, 0, 1, "The end of the chain is missing, although there are entries or anchors.")
        return Verdict(1, 0)
    walk = _Walk(head, anchors, on_progress)
    try:
        walk.run()
    except _Broken as broken:
        return Verdict(head.purged_to + 1, walk.number, broken.number, str(broken))
    return Verdict(head.purged_to + 1, walk.number)


class _Walk:
    """One verification. `number` and `hash` are those of the last good entry."""

    def __init__(
        self, head: AuditHead, anchors: Mapping[int, str], on_progress: Callable[[int], None] | None
    ) -> None:
        self._head, self._anchors, self._on_progress = head, anchors, on_progress
        self.number, self.hash = head.purged_to, head.purged_hash
        self._purge: tuple[int, str] | None = None  # what the chain itself says of its latest purge

    def run(self) -> None:
        before = AuditEntry.objects.filter(number__lte=self._head.purged_to).order_by("number").first()
        if before is not None and self._head.purged_to:
            raise _Broken(before.number, f"#{before.number} is there although it was purged.")
        if not self._head.purged_to and self._head.purged_hash != GENESIS:
            raise _Broken(1, "The beginning of the chain was changed.")
        self._check_anchor(self.number, self.hash)
        for entry in _in_chunks(
            AuditEntry.objects.filter(number__gt=self.number, number__lte=self._head.number)
        ):
            self._check(entry)
        self._check_end()

    def _check(self, entry: AuditEntry) -> None:
        expected = self.number + 1
        if entry.number != expected:
            raise _Broken(expected, f"#{expected} is missing.")
        if entry.previous_hash != self.hash:
            raise _Broken(expected, f"#{expected} does not follow the entry before it.")
        if seal(entry, self.hash) != entry.hash:
            raise _Broken(expected, f"#{expected} was changed.")
        self._check_anchor(entry.number, entry.hash)
        if entry.action == Action.AUDIT_PURGE:
            self._purge = (entry.data.get("to"), entry.data.get("hash"))
        self.number, self.hash = entry.number, entry.hash
        if self._on_progress is not None and entry.number % CHUNK == 0:
            self._on_progress(entry.number)

    def _check_anchor(self, number: int, hash: str) -> None:
        if self._anchors.get(number, hash) != hash:
            raise _Broken(number, f"#{number} differs from its anchor: entries up to it were replaced.")

    def _check_end(self) -> None:
        head = self._head
        beyond = AuditEntry.objects.filter(number__gt=head.number).order_by("number").first()
        still = AuditHead.objects.filter(pk=AuditHead.KEY, number=head.number).exists()
        if (self.number, self.hash) != (head.number, head.hash):
            raise _Broken(
                self.number + 1, f"The end is cut off: #{self.number + 1} to #{head.number} are missing."
            )
        if beyond is not None and still:
            raise _Broken(beyond.number, f"#{beyond.number} was put in after the end.")
        anchored = max(self._anchors, default=0)
        if anchored > self.number and still:
            raise _Broken(
                self.number + 1,
                f"The end is cut off: #{anchored} was anchored, the last entry is #{self.number}.",
            )
        if head.purged_to and self._purge != (head.purged_to, head.purged_hash):
            raise _Broken(
                head.purged_to + 1,
                f"Entries up to #{head.purged_to} are gone, and no entry says that they were purged.",
            )


def _in_chunks(entries: "QuerySet[AuditEntry]") -> Iterator[AuditEntry]:
    """By number, a chunk at a time: no transaction stays open, and memory stays small."""
    last = -1
    while True:
        chunk = list(entries.filter(number__gt=last).order_by("number")[:CHUNK])
        yield from chunk
        if len(chunk) < CHUNK:
            return
        last = chunk[-1].number


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
