"""What every adapter gives to the layers above: frozen observations, never dicts."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskObservation:
    """One task as a remote showed it in a list or by itself.

    `running` is None when the answer does not say. `exit_text` is the remote's own final word, None while
    running or unknown. `ended_at` is None where the remote never tells (single status of Proxmox).
    `user` carries no token (`root@pam`); `token` is the bare token name or "". Times are aware UTC.
    """

    remote_id: str
    node: str
    type: str
    object_id: str
    user: str
    token: str
    started_at: datetime
    running: bool | None
    ended_at: datetime | None = None
    exit_text: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RemoteLogLine:
    """`number` starts at 1, without gaps. `text` is repaired (twice-encoded UTF-8); NUL, ESC, CR stay."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of one log request, oldest first. `total` is the number of lines the remote has now.

    `missing` is the remote's sentence when the log file is gone there; lines are empty then.
    """

    lines: tuple[RemoteLogLine, ...]
    total: int
    missing: str = ""
