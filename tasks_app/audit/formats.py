"""Lines of an export: CSV, JSON Lines, syslog (RFC 5424) and CEF. Pure functions of records.

What somebody made up (names, errors, user agents) stays in its cell: it starts no formula, no field and no line.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

Value = str | int | float | None | dict[str, Any] | list[Any]

FACILITY = 13  # "log audit"
ENTERPRISE = 32473  # the number RFC 5612 keeps for whoever has none
LONGEST_SHIPPED = 8192
"""Bytes of a message that every receiver of RFC 5425 should take; rsyslog cuts at so many by itself."""
_CUT_TO = 400  # characters of each value, when a message is too long even without its data
BOM = "\ufeff"


class Format(StrEnum):
    """How an export is written. The value is the word in addresses."""

    CSV = "csv"
    JSONL = "jsonl"
    SYSLOG = "syslog"
    CEF = "cef"

    @property
    def label(self) -> str:
        return _FACTS[self][0]

    @property
    def content_type(self) -> str:
        return _FACTS[self][1]

    @property
    def ending(self) -> str:
        """Of the file's name."""
        return _FACTS[self][2]


_FACTS = {
    Format.CSV: ("CSV", "text/csv; charset=utf-8", "csv"),
    Format.JSONL: ("JSON Lines", "application/x-ndjson", "jsonl"),
    Format.SYSLOG: ("Syslog (RFC 5424)", "text/plain; charset=utf-8", "log"),
    Format.CEF: ("CEF", "text/plain; charset=utf-8", "cef"),
}


class Severity(IntEnum):
    """As in syslog."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


_CEF_SEVERITY = {Severity.ERROR: 8, Severity.WARNING: 6, Severity.NOTICE: 4, Severity.INFO: 3}


@dataclass(frozen=True, slots=True)
class Column:
    """`cef` is its key in CEF, with `cef_label` where the key is one of ArcSight's numbered ones."""

    name: str
    cef: str
    cef_label: str = ""
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What the records of one export have. `name` is a word for file names and structured data."""

    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One line. `values` by column: texts, numbers, None for nothing, JSON. `name` says what kind of thing it is."""

    at: datetime
    name: str
    sentence: str
    severity: Severity
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Writer:
    """`head` opens the file; `line` ends with its line break."""

    head: bytes
    line: Callable[[Record], bytes]


def writer_of(format: Format, layout: Layout, *, host: str, bom: bool = False) -> Writer:
    """How `layout` is written in `format`. `host` names the portal in syslog and CEF; `bom` is for CSV."""
    if format is Format.CSV:
        head = (BOM if bom else "") + _csv_line([column.name for column in layout.columns])
        return Writer(head.encode(), lambda record: csv_line(layout, record))
    if format is Format.JSONL:
        return Writer(b"", json_line)
    if format is Format.SYSLOG:
        return Writer(b"", lambda record: syslog_message(layout, record, host=host) + b"\n")
    return Writer(b"", lambda record: cef_line(layout, record, host=host))


def format_time(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _text(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


# CSV -------------------------------------------------------------------------------------------------------------

# What spreadsheets run: also after blanks and quotes, which some of them drop, and in full width.
_FORMULA = re.compile("[\t\r\n]|[\\s\"'\ufeff\u200b]*[=+@\uff1d\uff0b\uff0d\uff20-]")


class _Line:
    """What `csv.writer` writes to; keeps nothing."""

    def write(self, text: str) -> str:
        return text


_csv = csv.writer(_Line())


def _csv_line(cells: Sequence[str]) -> str:
    line: str = _csv.writerow(cells)
    return line


def csv_line(layout: Layout, record: Record) -> bytes:
    """RFC 4180. A text that a spreadsheet would run gets an apostrophe; numbers in columns of numbers stay numbers."""
    return _csv_line(
        [_cell(record.values[column.name], column.is_number) for column in layout.columns]
    ).encode(errors="replace")


def _cell(value: Value, is_number: bool) -> str:
    if is_number and isinstance(value, int | float):
        return str(value)
    text = _text(value).replace("\0", "\ufffd")
    return f"'{text}" if _FORMULA.match(text) else text


# JSON Lines ------------------------------------------------------------------------------------------------------


def json_line(record: Record) -> bytes:
    """One object with sorted keys, without blanks, in ASCII: the form over which hashes are computed."""
    line = json.dumps(record.values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return line.encode() + b"\n"


# syslog ----------------------------------------------------------------------------------------------------------

# As rsyslog does it: a control character as # and three octal digits, so that it ends no line.
_CONTROLS = {code: f"#{code:03o}" for code in (*range(32), *range(127, 160))}
_PARAMETER = str.maketrans({**_CONTROLS, '"': '\\"', "\\": "\\\\", "]": "\\]"})
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]+")


def syslog_message(layout: Layout, record: Record, *, host: str, longest: int | None = None) -> bytes:
    """One message of RFC 5424 without a line break; every value that is not empty as structured data.

    Longer than `longest` bytes, it goes without `data`, then with each value cut; the parameter `cut` says so.
    """
    message = _syslog(layout, record, host)
    if longest is not None and len(message) > longest:
        message = _syslog(layout, record, host, leave_out="data")
    if longest is not None and len(message) > longest:
        message = _syslog(layout, record, host, leave_out="data", cut_to=_CUT_TO)
    return message


def _syslog(
    layout: Layout, record: Record, host: str, *, leave_out: str = "", cut_to: int | None = None
) -> bytes:
    parameters = [
        f'{column.name}="{text[:cut_to].translate(_PARAMETER)}"'
        for column in layout.columns
        if column.name != leave_out and (text := _text(record.values[column.name]))
    ]
    if leave_out or cut_to:
        parameters.append(f'cut="{"values" if cut_to else leave_out}"')
    sentence = record.sentence[:cut_to].translate(_CONTROLS)
    head = (
        f"<{FACILITY * 8 + record.severity}>1 {format_time(record.at)} {_word(host, 255)} task-portal - "
        f"{_word(record.name, 32)} [{layout.name}@{ENTERPRISE} {' '.join(parameters)}] "
    )
    # A text in UTF-8 is marked as such; what is ASCII needs no mark.
    return (head + ("" if sentence.isascii() else BOM) + sentence).encode(errors="replace")


def _word(text: str, longest: int) -> str:
    return _NOT_PRINTABLE.sub("_", text)[:longest] or "-"


# CEF -------------------------------------------------------------------------------------------------------------

_UNSEEN = dict.fromkeys((*range(32), *range(127, 160)), "�")
_CEF_HEAD = str.maketrans({**_UNSEEN, "\n": " ", "\r": " ", "\t": " ", "|": "\\|", "\\": "\\\\"})
_CEF_VALUE = str.maketrans({**_UNSEEN, "\n": "\\n", "\r": "\\r", "\t": " ", "=": "\\=", "\\": "\\\\"})


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def cef_line(layout: Layout, record: Record, *, host: str) -> bytes:
    """ArcSight's Common Event Format, version 0. Values that are empty are left out."""
    head = "|".join(
        part.translate(_CEF_HEAD)
        for part in ("CEF:0", "Task portal", layout.name, "1", record.name, record.sentence)
    )
    pairs = [f"rt={_millis(record.at)}", f"dvchost={host.translate(_CEF_VALUE)}"]
    for column in layout.columns:
        text = _text(record.values[column.name])
        if not text:
            continue
        key, label = column.cef, column.cef_label
        if key == "src" and ":" in text:
            key, label = "c6a2", "Source IPv6 Address"
        elif key in ("start", "end"):
            text = str(_millis(datetime.fromisoformat(text)))
        pairs.append(f"{key}={text.translate(_CEF_VALUE)}")
        if label:
            pairs.append(f"{key}Label={label}")
    return f"{head}|{_CEF_SEVERITY[record.severity]}|{' '.join(pairs)}\n".encode(errors="replace")
