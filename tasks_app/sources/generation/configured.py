"""Reads what a source's settings may say in every dialect besides its offers; ValueError names what makes no sense."""

import re
from collections.abc import Mapping
from typing import Any

from tasks_app.states import State

MAX_HEADERS = 20
_HEADER = re.compile(r"[A-Za-z0-9-]{1,60}")
_VALUE = re.compile(r"[\x20-\x7e]{0,500}")
_OURS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "accept-encoding",
        "expect",
        "upgrade",
        "te",
        "trailer",
    }
)


def extra_headers(settings: Mapping[str, Any]) -> dict[str, str]:
    """`settings["headers"]`, sent with every request. The key and what frames a request cannot be set here."""
    headers = settings.get("headers") or {}
    if not isinstance(headers, dict) or len(headers) > MAX_HEADERS:
        raise ValueError(f'"headers" is an object of at most {MAX_HEADERS} names with their texts.')
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f'"headers": "{name[:60]}" cannot be set here.')
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f'"headers": the value of "{name}" is no plain text.')
    return dict(headers)


def extra_words(settings: Mapping[str, Any]) -> dict[str, State]:
    """`settings["words"]`: the remote's status words (in any case) with the state each means."""
    words = settings.get("words") or {}
    if not isinstance(words, dict):
        raise ValueError('"words" is an object of status words and what they mean.')
    known = {state.value: state for state in State if state is not State.LOST}
    for word, meaning in words.items():
        if meaning not in known:
            raise ValueError(f'"words": "{word[:60]}" means one of {", ".join(known)}.')
    return {word.lower(): known[meaning] for word, meaning in words.items()}


def texts(settings: Mapping[str, Any], name: str, *, limit: int = 100) -> list[str]:
    """A list of short texts; empty when there is none."""
    values = settings.get(name) or []
    if not isinstance(values, list) or len(values) > limit:
        raise ValueError(f'"{name}" is a list of at most {limit} names.')
    if not all(isinstance(value, str) and 0 < len(value) <= 200 for value in values):
        raise ValueError(f'"{name}" is a list of names.')
    return values


def text(settings: Mapping[str, Any], name: str, default: str = "") -> str:
    value = settings.get(name) or default
    if not isinstance(value, str) or len(value) > 500:
        raise ValueError(f'"{name}" is a short text.')
    return value


def fixed_values(entry: Mapping[str, Any]) -> dict[str, Any]:
    """`fixed` of a declared offer: values that are sent and that nobody is asked for."""
    fixed = entry.get("fixed") or {}
    if not isinstance(fixed, dict):
        raise ValueError('"fixed" is an object of names and values.')
    return dict(fixed)
