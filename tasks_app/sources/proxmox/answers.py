"""Reads the envelope of Proxmox's answers and turns refusals into typed errors; pure functions.

Proxmox says what went wrong in the body (`message`, `errors`) since PVE 9 and in the reason phrase before; a
401 and a 595 have an empty body and only the reason phrase. Every sentence here was seen in recorded answers.
"""

import json
import re
from typing import Any

from tasks_app.sources.encoding import repair_text, replace_lone_surrogates
from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.http import Answer

MAX_MESSAGE_CHARACTERS = 1000
CLOCK_SKEW_SECONDS = 300.0
"""Beyond this a 401 is rather about clocks: token expiry and tickets compare times."""

_FORBIDDEN = re.compile(r"Permission check failed \((?P<path>/[^,]*), (?P<privilege>[\w.|]+)\)")
_LOCKED = re.compile(
    r"^(VM|CT) is locked|can't lock file|got lock (request )?timeout|^unable to acquire lock", re.I
)
_BROKEN = re.compile(
    r"ipcc_send_rec|no quorum|cluster not ready|connection refused|connection timed out|no route to host"
    r"|broken pipe|transport endpoint is not connected|too many open files|cannot allocate memory"
    r"|no space left on device|read-only file system|input/output error"
    r"|^internal server error|^got timeout$|proxy loop"
    r"|start worker failed",
    re.I,
)


def parse_envelope(answer: Answer, *, is_read: bool) -> dict[str, Any]:
    """The JSON object (`data`, sometimes `total`) of a successful answer. Raises the error it stands for."""
    content = _parse_object(answer.body)
    if answer.status == 200 and content is not None and "data" in content:
        return content
    raise _error_for(answer, content, is_read)


def is_from_proxmox(answer: Answer, content: dict[str, Any] | None) -> bool:
    """Proxmox signs with its Server header; behind a reverse proxy only the envelope is left."""
    return answer.headers.get("server", "").startswith("pve-api-daemon") or "data" in (content or {})


def _error_for(answer: Answer, content: dict[str, Any] | None, is_read: bool) -> SourceError:
    status, host, said = answer.status, answer.address.removeprefix("https://"), _sentence(answer, content)
    if status == 401:
        return _unauthorized(answer, host, said)
    if status == 429:
        return SourceUnavailable(
            f"{host} asks us to slow down.",
            kind="rate_limited",
            status=status,
            retry_after=_parse_seconds(answer.headers.get("retry-after", "")),
        )
    if 595 <= status <= 599:
        text = f"{host} cannot reach the node behind it ({said or status})."
        # 595 is a connection that was never made; from 596 on something had been sent
        return _unavailable(text, "proxy", status, certain=is_read or status == 595)
    if not is_from_proxmox(answer, content):
        return _from_a_stranger(answer, host, is_read)
    if status == 200:
        return _unavailable(
            f"{host} answered something that is not JSON.", "garbage", status, certain=is_read
        )
    if status == 501:
        return SourceRefused(said or "Not implemented.", kind="not_implemented", status=status)
    if status == 403:
        return _forbidden(said, status)
    if 400 <= status < 500:
        return _invalid(said, content or {}, status)
    return _server_said(said, host, status, has_text=content is not None, is_read=is_read)


def _unauthorized(answer: Answer, host: str, said: str) -> SourceError:
    skew = answer.clock_skew_seconds
    if skew is not None and abs(skew) > CLOCK_SKEW_SECONDS:
        return SourceNeedsPerson(
            f"{host} refuses the API token, and its clock differs from ours by {abs(skew):.0f} s. "
            "Set the clocks right first.",
            kind="clock_skew",
            status=401,
        )
    return SourceNeedsPerson(
        f"{host} does not accept the API token ({said or 'Unauthorized'}): wrong, expired or disabled.",
        kind="unauthorized",
        status=401,
    )


def _from_a_stranger(answer: Answer, host: str, is_read: bool) -> SourceError:
    status = answer.status
    if status == 503:
        return SourceUnavailable(
            f"{host} is not available at the moment (503).", kind="server_error", status=503
        )
    if status >= 500:
        return _unavailable(f"{host} is broken ({status}).", "server_error", status, certain=is_read)
    return SourceNeedsPerson(
        f"{host} answers, but it is not a Proxmox API (status {status}).", kind="not_proxmox", status=status
    )


def _forbidden(said: str, status: int) -> SourceError:
    match = _FORBIDDEN.search(said)
    return SourceRefused(
        said or "Permission check failed",
        kind="forbidden",
        status=status,
        privilege=match["privilege"] if match else "",
        path=match["path"] if match else "",
    )


def _invalid(said: str, content: dict[str, Any], status: int) -> SourceError:
    errors = content.get("errors")
    fields = {str(k): _one_line(str(v)) for k, v in errors.items()} if isinstance(errors, dict) else {}
    details = "; ".join(f"{name}: {text}" for name, text in fields.items())
    gone = status == 404 or fields.get("upid") == "no such task"
    return SourceRefused(
        _one_line(f"{said or 'Refused.'} {details}".strip()),
        kind="not_found" if gone else "invalid",
        status=status,
        fields=fields,
    )


def _server_said(said: str, host: str, status: int, *, has_text: bool, is_read: bool) -> SourceError:
    """A 500 of Proxmox is mostly a plain refusal; some sentences mean that the server itself is unwell."""
    if _LOCKED.search(said):
        return SourceRefused(said, kind="locked", status=status)
    if has_text and said and not _BROKEN.search(said):
        return SourceRefused(said, kind="remote_error", status=status)
    certain = is_read or "no quorum" in said  # without quorum nothing can be changed; else it may have begun
    return _unavailable(f"{host} is in trouble ({said or status}).", "server_error", status, certain=certain)


def _unavailable(text: str, kind: str, status: int, *, certain: bool) -> SourceError:
    """`certain`: nothing was changed by the request. Otherwise nobody knows."""
    if certain:
        return SourceUnavailable(text, kind=kind, status=status)
    return OutcomeUnknown(
        f"{text} The request may or may not have been carried out.", kind=kind, status=status
    )


def _parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body.decode("utf-8", "replace"))
        if b"\\ud" in body.lower():
            content = replace_lone_surrogates(content)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _sentence(answer: Answer, content: dict[str, Any] | None) -> str:
    message = (content or {}).get("message")
    return _one_line(repair_text(message) if isinstance(message, str) else answer.reason)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MAX_MESSAGE_CHARACTERS]


def _parse_seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() and len(text) < 6 else None
