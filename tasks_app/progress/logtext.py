"""How one line of a task log is shown: made printable, and sorted into a few kinds for tint and folding."""

import re
from typing import Literal

from tasks_app.progress.formats import parse_progress

LineKind = Literal["progress", "error", "warning", "end", "normal"]

# Longer than any line that means something to us; the rest of a longer one is only shown, never searched.
SEARCHED_CHARS = 16_384
SHOWN_CHARS = 5000  # of one line on a page; lines of 300,000 characters exist, the download has them whole

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-9:;<=>?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[0-~])?"
)
# with those that turn the direction of writing: they would reach beyond the text, into the words around it
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TIME = re.compile(
    r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d): "  # Backup Server
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:? "  # migrations, and the log vzdump keeps beside an archive
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )"  # the same before 2016
)
_END = re.compile(r"TASK (?:OK$|WARNINGS: \d+$|ERROR: )")
_ERROR = re.compile(
    r"(?:INFO: )?(?:ERROR\b|error:|fatal:|panic:|kvm: (?!warning)|qemu-img: |\S{1,40} \[ERROR\])"
    r"|.{0,200}?(?:\bfailed\b|\bfailure\b|\bdenied\b|Input/output error|No space left|Unable to |unable to )",
    re.IGNORECASE,
)
_WARNING = re.compile(
    r"\s{0,8}(?:INFO: )?(?:WARN(?:ING)?\b|\S{1,40} \[WARN|kvm: warning|Use of uninitialized)", re.IGNORECASE
)


def printable(text: str) -> str:
    """`text` as a terminal would have left it: the last redrawn part, no escape sequences, no control characters.

    A tool that redraws with CR leaves one line with many parts. Tabs stay.
    """
    text = text.rstrip("\r\n")
    if "\r" not in text:
        return _strip(text)
    fragments = (_strip(fragment) for fragment in reversed(text.split("\r")))
    return next((fragment for fragment in fragments if fragment.strip()), "")


def _strip(text: str) -> str:
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", text)


def without_time(text: str) -> str:
    """`text` without the time stamp that migrations and Backup Server put in front."""
    match = _TIME.match(text)
    return text[match.end() :] if match else text


def searched(text: str) -> str:
    """The part of a line that is looked at for meaning: printable, without time stamp, bounded."""
    return without_time(printable(text)[:SEARCHED_CHARS])


def line_kind(text: str) -> LineKind:
    """What kind of line this is. Tints and folds only: the task's result comes from its exit status."""
    line = searched(text)
    if _END.match(line):
        return "end"
    if parse_progress(line) is not None:
        return "progress"
    if _WARNING.match(line):
        return "warning"
    if _ERROR.match(line) and "0 errors" not in line:
        return "error"
    return "normal"


def shown_text(text: str) -> str:
    """A line as pages show it: printable and bounded."""
    line = printable(text)
    if len(line) <= SHOWN_CHARS:
        return line
    return f"{line[:SHOWN_CHARS]} … ({len(line):,} characters; the download has them all)"


def shown_kind(text: str) -> LineKind:
    """Its kind for tint and folding; the last line of a failed task is an error too."""
    kind = line_kind(text)
    return "error" if kind == "end" and "TASK ERROR" in text else kind
