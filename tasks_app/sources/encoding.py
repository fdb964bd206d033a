"""Repairs text that a remote encoded wrongly; pure functions, nothing is ever lost."""

from typing import Any


def repair_text(text: str) -> str:
    """Undo UTF-8 that was encoded twice (`Ã¤` becomes `ä`); anything else comes back as it was.

    Proxmox VE reads log files as bytes and encodes them once more. A line of true Latin-1 or of characters
    above U+00FF does not survive the way back and is therefore left alone. NUL, ESC and CR pass through.
    """
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def replace_lone_surrogates(value: Any) -> Any:
    """A JSON value in which every half of a surrogate pair has become `?`; databases refuse to store them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [replace_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {replace_lone_surrogates(key): replace_lone_surrogates(item) for key, item in value.items()}
    return value
