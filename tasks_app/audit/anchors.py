"""Anchors: the end of the chain, written down outside the database, so that a cut-off or rewritten chain is found.

A file of JSON lines, one for each anchor: {"at", "number", "hash"}. It should lie where who changes the database
cannot write; with PORTAL_AUDIT_ANCHOR_URL each anchor is also sent there.
"""

import json
import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.timezone import now

from tasks_app.models import AuditHead, AuditMark
from tasks_app.sources.errors import SourceError
from tasks_app.sources.http import HttpClient
from tasks_app.sources.tls import Trust

logger = logging.getLogger(__name__)

ANCHORED, SENT = "anchored", "anchor_sent"
SEND_SECONDS = 10.0


def write_anchor() -> int | None:
    """Anchor the end of the chain unless that has been done; the number, None when there is nothing new.

    What cannot be written or sent is said in its mark and tried again at the next turn. Raises nothing of the kind.
    """
    head = AuditHead.objects.filter(pk=AuditHead.KEY).first()
    if head is None or not head.number:
        return None
    line = {"at": now().isoformat(), "number": head.number, "hash": head.hash}
    written = None
    if _is_new(ANCHORED, head.number):
        problem = _append(settings.AUDIT_ANCHOR_FILE, line)
        note(ANCHORED, head.number, problem)
        written = None if problem else head.number
    if settings.AUDIT_ANCHOR_URL and _is_new(SENT, head.number):
        note(SENT, head.number, _send(settings.AUDIT_ANCHOR_URL, line))
    return written


def read_anchors() -> dict[int, str]:
    """Number → hash, of all anchors in the file. A line that cannot be read raises ValueError, naming it."""
    anchors: dict[int, str] = {}
    path: Path = settings.AUDIT_ANCHOR_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return anchors
    for place, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            number, hash = int(row["number"]), str(row["hash"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"Line {place} of {path} is no anchor.") from None
        if anchors.setdefault(number, hash) != hash:
            raise ValueError(f"Line {place} of {path} contradicts an earlier anchor of #{number}.")
    return anchors


def note(name: str, number: int, problem: str = "") -> None:
    """Move the mark `name` to `number`; with a problem it stays where it is and says why."""
    values = {"problem": problem, "at": now()} if problem else {"number": number, "problem": "", "at": now()}
    AuditMark.objects.update_or_create(name=name, defaults=values)


def _is_new(name: str, number: int) -> bool:
    return not AuditMark.objects.filter(name=name, number=number, problem="").exists()


def _append(path: Path, line: dict[str, object]) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        logger.error("anchor not written path=%s error=%s", path, error.strerror)
        return f"The anchor could not be written to {path}: {error.strerror}."
    return ""


def _send(url: str, line: dict[str, object]) -> str:
    parts = urlsplit(url)
    client = HttpClient((f"{parts.scheme}://{parts.netloc}",), trust=Trust(), total_seconds=SEND_SECONDS)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = client.request("POST", path, json=line, read_seconds=SEND_SECONDS)
    except SourceError as error:
        return f"The anchor could not be sent: {error}"
    finally:
        client.close()
    return "" if answer.status < 300 else f"The anchor was refused with status {answer.status}."
