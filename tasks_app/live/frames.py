"""Server-sent events as bytes (HTML standard, section 9.2.6)."""

import json
import re
from collections.abc import Mapping

_LINE_END = re.compile(r"\r\n|\r|\n")


def format_frame(event: str, data: str | Mapping[str, object], *, event_id: int) -> bytes:
    """One event. A mapping travels as JSON; line breaks in text survive as one `data:` line each.

    JSON is kept in ASCII and text is encoded with replacement: a log line may hold half of a surrogate pair.
    """
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    lines = "\n".join(f"data: {line}" for line in _LINE_END.split(text))
    return f"id: {event_id}\nevent: {event}\n{lines}\n\n".encode(errors="replace")


def format_beat(*, event_id: int | None = None) -> bytes:
    """A sign of life: a comment for proxies, an event for the page (which cannot see comments)."""
    position = "" if event_id is None else f"id: {event_id}\n"
    return f": beat\n{position}event: beat\ndata: 1\n\n".encode()


# The first bytes of every stream: how long a plain EventSource waits before it reconnects.
OPENING = b"retry: 1000\n: open\n\n"
