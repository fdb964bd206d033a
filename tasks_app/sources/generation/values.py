"""Finds values in a remote's JSON by paths that stand in a source's settings, and takes server stacks out of messages.

What a single value means is read in `reading`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_FOUND = 200
MAX_STEPS = 12
MAX_LINES = 400

_TRACE = re.compile(r"Traceback \(most recent call last\)")
_STACK_LINE = re.compile(
    r"""\s* (?:
        File\ "[^"\n]*",\ line\ \d+            # Python
      | at\ \S.*[(:].*\d\)?$                    # Java, JavaScript
      | During\ handling\ of\ the\ above\ exception
      | The\ above\ exception\ was\ the\ direct\ cause
      | [\^~\s]+$
    )""",
    re.VERBOSE,
)


def look(data: Any, path: str) -> Any:
    """The value at a dotted path such as "output.results.0.url"; None where the path leads nowhere, and for ""."""
    return next(iter(look_all(data, path)), None)


def look_all(data: Any, path: str) -> Iterator[Any]:
    """Every value at a path in which `*` stands for each item of a list or each member of an object."""
    steps = path.split(".")[:MAX_STEPS] if path else []
    found: list[Any] = [data] if steps else []
    for step in steps:
        found = [inner for value in found for inner in _step(value, step)][:MAX_FOUND]
    yield from found


def first(data: Any, paths: str | Sequence[str]) -> Any:
    """What the first of several paths leads to that is neither missing nor null nor empty text."""
    for path in (paths,) if isinstance(paths, str) else paths:
        value = look(data, path)
        if value is not None and value != "":
            return value
    return None


def _step(value: Any, step: str) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values()) if step == "*" else [value[step]] if step in value else []
    if isinstance(value, list):
        if step == "*":
            return value
        if step.isascii() and step.isdigit() and len(step) < 5 and int(step) < len(value):
            return [value[int(step)]]
    return []


def strip_traceback(text: str) -> str:
    """The message without the server's stack: what stands before it, else the exception it ends with."""
    if "Traceback" in text and "\\n" in text and "\n" not in text:
        text = text.replace("\\n", "\n")  # a stack that was encoded twice
    head, *traces = _TRACE.split(text)
    said = _without_stack(head)
    if traces and not said:
        said = _last_words(traces[-1])
    return said


def _without_stack(text: str) -> str:
    kept, is_code = [], False
    for line in text.strip().split("\n")[:MAX_LINES]:
        if _STACK_LINE.match(line):
            is_code = line.lstrip().startswith("File ")
        elif is_code and line[:1].isspace():
            is_code = False  # the source line below a Python frame
        else:
            is_code = False
            kept.append(line.rstrip())
    return "\n".join(kept).strip().removesuffix(":").rstrip()


def _last_words(trace: str) -> str:
    """The line with the exception: the last one that is not indented."""
    lines = [line.strip() for line in trace.split("\n")[1:] if line.strip() and not line[:1].isspace()]
    lines = [line for line in lines if not _STACK_LINE.match(line)]
    return lines[-1] if lines else ""
