"""Exports of any size in bounded memory: lines are joined to pieces while the reader takes them."""

import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from django.conf import settings

from tasks_app.audit.formats import Format, Layout, Record, writer_of

PIECE_BYTES = 64 * 1024
"""What is handed to the server at a time; it keeps ten of them for a slow reader."""


def portal_host() -> str:
    """How the portal calls itself in lines of a log."""
    return urlsplit(settings.BASE_URL).hostname or socket.gethostname()


def write_pieces(
    records: Iterable[Record], layout: Layout, format: Format, *, bom: bool = False
) -> Iterator[bytes]:
    """The file, in pieces of about PIECE_BYTES."""
    writer = writer_of(format, layout, host=portal_host(), bom=bom)
    lines, size = [writer.head], len(writer.head)
    for record in records:
        line = writer.line(record)
        lines.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if size:
        yield b"".join(lines)
