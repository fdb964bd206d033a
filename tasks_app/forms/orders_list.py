"""A pasted list of machines: one per line, or CSV with the columns name and owner. Pure parsing; services judge."""

import csv
import io
from dataclasses import dataclass

MAX_CHARS = 200_000
"""Of a pasted list: a thousand long lines, far more than may be ordered."""
MAX_ROWS = 300
"""Of one order. Each row is two form fields, and Django takes 1,000."""
MAX_CELL_CHARS = 150
"""Longer than any name that fits; what is cut is invalid either way and stays recognisable."""

_NAMES = frozenset({"name", "hostname", "machine", "vm"})
_OWNERS = frozenset({"owner", "user", "username", "email", "mail"})


class UnreadableList(ValueError):
    """The text is no list. `str(error)` is a sentence for the person who pasted it."""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One machine as it was written. Empty cells are chosen by the portal."""

    name: str = ""
    owner: str = ""


def parse_rows(text: str) -> list[ListRow]:
    """Rows of `text`, in order; lines without any cell are left out.

    Cells are separated by commas, semicolons or tabs, whichever the first line has most of, and may be quoted. A first
    line that names its columns decides which is which; otherwise it is name, owner. A file's byte order mark is no part
    of a name. Raises UnreadableList for what is too long, holds NUL or leaves a quote open.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableList(f"The list is too long: at most {MAX_CHARS:,} characters are read.")
    if "\0" in text:
        raise UnreadableList("The list holds NUL characters: it is no text.")
    text = text.lstrip("\ufeff \r\n")
    lines = _read(text)
    if len(lines) > MAX_ROWS + 1:
        raise UnreadableList(
            f"The list has {len(lines)} lines: at most {MAX_ROWS} machines fit into one order."
        )
    name_at, owner_at = 0, 1
    if lines and (found := _columns(lines[0])) is not None:
        name_at, owner_at = found
        lines = lines[1:]
    rows = [ListRow(_cell(line, name_at), _cell(line, owner_at)) for line in lines]
    if len(rows) > MAX_ROWS:
        raise UnreadableList(f"The list has {len(rows)} machines: at most {MAX_ROWS} fit into one order.")
    return rows


def _read(text: str) -> list[list[str]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True, strict=True
    )
    lines = []
    try:
        for line in reader:
            if any(cell.strip() for cell in line):
                lines.append(line)
    except csv.Error:
        raise UnreadableList(
            f"Line {reader.line_num} cannot be read: a quote is not closed, or something follows it."
        ) from None
    return lines


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _columns(cells: list[str]) -> tuple[int, int] | None:
    """Where name and owner stand, if `cells` are headings; -1 for a column that is not there."""
    words = [cell.strip().casefold() for cell in cells]
    names = [place for place, word in enumerate(words) if word in _NAMES]
    owners = [place for place, word in enumerate(words) if word in _OWNERS]
    if not names and not owners:
        return None
    return (names[0] if names else -1), (owners[0] if owners else -1)


def _cell(line: list[str], place: int) -> str:
    if not 0 <= place < len(line):
        return ""
    return " ".join(line[place].split())[:MAX_CELL_CHARS]
