"""The names of tasks: made, taken apart and judged as Proxmox VE does."""

import re
from dataclasses import dataclass

_NODE = r"[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?"
_UPID = re.compile(
    rf"UPID:(?P<node>{_NODE}):(?P<pid>[0-9A-Fa-f]{{8}}):(?P<pstart>[0-9A-Fa-f]{{8,9}})"
    r":(?P<start>[0-9A-Fa-f]{8}):(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)


@dataclass(frozen=True, slots=True)
class Upid:
    """One parsed task name; `user` still contains the token, as in `ops@pve!ci`."""

    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str

    def __str__(self) -> str:
        return (
            f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}"
            f":{self.type}:{self.id}:{self.user}:"
        )


def parse_upid(text: str) -> Upid | None:
    """None for what Proxmox calls `unable to parse worker upid`."""
    match = _UPID.fullmatch(text)
    if match is None:
        return None
    return Upid(
        node=match["node"],
        pid=int(match["pid"], 16),
        pstart=int(match["pstart"], 16),
        starttime=int(match["start"], 16),
        type=match["type"],
        id=match["id"],
        user=match["user"],
    )


def split_user(authid: str) -> tuple[str, str | None]:
    """User and token name of `user@realm!token`; None where there is no token."""
    user, _, token = authid.partition("!")
    return user, token or None
