"""Typed readers of PORTAL_* variables. A wrong value stops the start and is named; `NAME_FILE` reads it from disk."""

import os
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured
from environs import Env

_env = Env()
_read: set[str] = set()


def _raw(name: str) -> str | None:
    """The variable's text, or the content of the file that `name`_FILE points at. Both at once is an error."""
    _read.add(name)
    path = _env.str(f"{name}_FILE", None)
    value: str | None = _env.str(name, None)
    if path is None:
        return value
    if value is not None:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set; keep one.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE: {error}") from error


def text(name: str, default: str = "") -> str:
    """A string; empty counts as set."""
    value = _raw(name)
    return default if value is None else value


def flag(name: str, default: bool) -> bool:
    """true/false, yes/no, on/off, 1/0."""
    value = _raw(name)
    if value is None:
        return default
    if value.lower() in {"true", "yes", "on", "1"}:
        return True
    if value.lower() in {"false", "no", "off", "0"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")


def number(name: str, default: int, *, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    value = _raw(name)
    if value is None:
        return default
    try:
        result = int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from error
    if not low <= result <= high:
        raise ImproperlyConfigured(f"{name} must lie between {low} and {high}, not {result}.")
    return result


def names(name: str, default: list[str]) -> list[str]:
    """A list separated by commas; blanks around the items are dropped."""
    value = _raw(name)
    if value is None:
        return default
    return [item.strip() for item in value.split(",") if item.strip()]


def choice(name: str, default: str, allowed: set[str]) -> str:
    """One of `allowed`."""
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(sorted(allowed))}, not {value!r}.")
    return value


def url(name: str, default: str, schemes: set[str]) -> str:
    """An address with one of `schemes`; "" stays "". The value is not printed: it may hold a password."""
    value = text(name, default)
    if value and urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must start with one of {', '.join(sorted(schemes))}.")
    return value


def time_zone(name: str, default: str) -> str:
    """A name of the IANA time zone database."""
    value = text(name, default)
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:  # unknown, or no name at all
        raise ImproperlyConfigured(
            f"{name} must name a time zone, for example Europe/Berlin, not {value!r}."
        ) from error
    return value


def refuse_unknown() -> None:
    """Stop on a PORTAL_ variable that nothing has read: most likely a misspelt one."""
    for name in os.environ:
        if name.startswith("PORTAL_") and name.removesuffix("_FILE") not in _read:
            raise ImproperlyConfigured(f"{name} is not a setting of the portal; .env.example lists them all.")
