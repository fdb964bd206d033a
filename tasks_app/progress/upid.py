"""Unique process identifiers of Proxmox VE, Backup Server and Datacenter Manager."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Product = Literal["pve", "pbs", "pdm"]

# A UPID is a file name on the node, so nothing longer can be real.
_MAX_CHARS = 2000
_NATIVE = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)"
    r":(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9})"
    r":(?:(?P<task>[0-9A-Fa-f]{8,16}):)?(?P<start>[0-9A-Fa-f]{8})"
    r":(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)
_REMOTE = re.compile(r"(?P<kind>pve|pbs):(?P<remote>[^:!\s/]+)!(?P<native>UPID:.*)")
_ESCAPED_BYTES = re.compile(r"(?:\\x[0-9A-Fa-f]{2})+")

_GUEST_ID = re.compile(r"(\d{1,9})(?:$|[-@>])")
_GUEST_ID_AFTER = re.compile(r">(\d{1,9})(?:$|-)")
_BACKUP_GROUP = re.compile(r"(?:^|[:/])(?:vm|ct)/(\d{1,9})(?:$|/)")
_GUEST_TYPES = frozenset(
    [
        "resize",
        "move_volume",
        "vncproxy",
        "spiceproxy",
        "imgdel",
        "prunebackups",
        "push_file",
        "pull_file",
        "hastart",
        "hastop",
        "hamigrate",
        "hashutdown",
    ]
)


class InvalidUpid(ValueError):
    """The text is not a UPID of any product we know."""


@dataclass(frozen=True, slots=True)
class Upid:
    """One task's identifier, taken apart. `token` is the bare token name, "" for a session."""

    product: Product
    remote: str
    node: str
    pid: int
    pstart: int
    task_id: int | None
    started_at: datetime
    type: str
    object_id: str
    user: str
    token: str
    raw: str


def parse_upid(text: str) -> Upid:
    """Take a UPID apart; accepts the PVE form, the PBS form (one field more) and PDM's `pve:remote!UPID…`.

    PDM's own tasks have the PBS form and are not told apart from it. PBS ids are
    unescaped (systemd style). Raises InvalidUpid.
    """
    if len(text) > _MAX_CHARS:
        raise InvalidUpid("a UPID is not that long")
    wrapped = _REMOTE.fullmatch(text)
    native = wrapped["native"] if wrapped else text
    match = _NATIVE.fullmatch(native)
    if match is None or (wrapped and (match["task"] is not None) != (wrapped["kind"] == "pbs")):
        raise InvalidUpid(f"not a UPID: {text[:80]!r}")
    is_pbs = match["task"] is not None
    user, _, token = match["user"].partition("!")
    return Upid(
        product="pdm" if wrapped else "pbs" if is_pbs else "pve",
        remote=wrapped["remote"] if wrapped else "",
        node=match["node"],
        pid=int(match["pid"], 16),
        pstart=int(match["pstart"], 16),
        task_id=int(match["task"], 16) if is_pbs else None,
        started_at=datetime.fromtimestamp(int(match["start"], 16), UTC),
        type=match["type"],
        object_id=_unescape(match["id"]) if is_pbs else match["id"],
        user=user,
        token=token,
        raw=text,
    )


def vmids_of(type: str, object_id: str) -> tuple[int, ...]:
    """Guests named by a task's id, the main one first; () when the id names none.

    `100`, `100@local`, `100-scsi0>101-scsi1` (a disk given to another guest), and
    `store:vm/100` of Backup Server.
    """
    if len(object_id) > _MAX_CHARS:
        return ()
    group = _BACKUP_GROUP.search(object_id)
    if group:
        return (int(group[1]),)
    if not (type.startswith(("qm", "vz")) or type in _GUEST_TYPES):
        return ()
    found = [
        int(match[1])
        for match in (_GUEST_ID.match(object_id), _GUEST_ID_AFTER.search(object_id))
        if match is not None
    ]
    return tuple(dict.fromkeys(found))


def main_vmid(type: str, object_id: str) -> int | None:
    """The guest a task is about, or None."""
    vmids = vmids_of(type, object_id)
    return vmids[0] if vmids else None


def _unescape(escaped: str) -> str:
    def decode(match: re.Match[str]) -> str:
        return bytes.fromhex(match[0].replace("\\x", "")).decode(errors="replace")

    return _ESCAPED_BYTES.sub(decode, escaped.replace("-", "/"))
