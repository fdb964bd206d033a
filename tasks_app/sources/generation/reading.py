"""Reads single values out of a remote's JSON; whatever is missing, of another type or absurd becomes nothing."""

import base64
import binascii
import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urljoin, urlsplit

from tasks_app.sources.generation.base import Upload

MAX_TEXT = 2000
MAX_ID = 200
MAX_DATA_URL = 24 * 1024 * 1024
"""Characters; an answer may have 32 MB in all."""

_ID = re.compile(r"[\w.~:=@+-]+", re.ASCII)
_STAMP = re.compile(r"(\d{8}T\d{6})Z")


def text_of(value: Any, limit: int = MAX_TEXT) -> str:
    """A text or number as text, at most `limit` characters; anything else is ""."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return (value if isinstance(value, str) else repr(value)).strip()[:limit]


def number_of(value: Any) -> float | None:
    """A finite number, also one written as text ("45", "45 %")."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def percent_of(value: Any) -> float | None:
    """0 to 100; a number outside is drawn to the nearer end."""
    number = number_of(value)
    return None if number is None else min(100.0, max(0.0, number))


def whole_of(value: Any, *, highest: int = 2**31 - 1) -> int | None:
    """A whole number from 0 to `highest`."""
    number = number_of(value)
    return int(number) if number is not None and 0 <= number <= highest and number == int(number) else None


def time_of(value: Any) -> datetime | None:
    """An aware UTC time from seconds since 1970 or an ISO text; a text without a zone is UTC. 0 is no time."""
    try:
        if isinstance(value, str) and not value.strip().replace(".", "", 1).isdigit():
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        seconds = number_of(value)
        return datetime.fromtimestamp(seconds, UTC) if seconds and seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def id_of(value: Any) -> str:
    """An id that can stand in a path as it is; "" for anything else, "." and ".." included."""
    text = text_of(value, MAX_ID + 1)
    return text if len(text) <= MAX_ID and _ID.fullmatch(text) and text.strip(".") else ""


def members_of(value: Any) -> dict[str, Any]:
    """The JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: Any, limit: int = 500) -> list[Any]:
    """The JSON list, at most `limit` of it, or an empty one."""
    return value[:limit] if isinstance(value, list) else []


def url_of(value: Any, origin: str) -> str:
    """An http(s) address, a relative one resolved against `origin`; "" for anything else."""
    if not isinstance(value, str) or not value or len(value) > 8000 or value.startswith("data:"):
        return ""
    try:
        url = urljoin(origin + "/", value.strip())
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc else ""


def expiry_of(url: str) -> datetime | None:
    """When a signed address stops working, as the address itself says (Amazon, Google, CloudFront)."""
    try:
        query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    except ValueError:
        return None
    for prefix in ("x-amz-", "x-goog-"):
        stamp = _STAMP.fullmatch(query.get(prefix + "date", ""))
        seconds = whole_of(query.get(prefix + "expires"), highest=366 * 86400)
        if stamp and seconds is not None:
            try:
                signed_at = datetime.strptime(stamp[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
                return signed_at + timedelta(seconds=seconds)
            except (ValueError, OverflowError):
                return None
    return time_of(query.get("expires", ""))


def as_data_url(upload: Upload) -> str:
    """A picture as text, for remotes that take it inside JSON."""
    return f"data:{upload.media_type};base64,{base64.b64encode(upload.content).decode()}"


def from_data_url(value: Any) -> tuple[str, bytes] | None:
    """(media type, bytes) of a data URL; None for anything else, and for one that is broken or too long."""
    if not isinstance(value, str) or not value.startswith("data:") or len(value) > MAX_DATA_URL:
        return None
    head, comma, body = value[5:].partition(",")
    if not comma:
        return None
    media_type, *options = [part.strip() for part in head[:200].split(";")]
    try:
        content = base64.b64decode(body, validate=True) if "base64" in options else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return None
    return media_type.lower(), content


def small_json(value: Any, *, depth: int = 4, items: int = 50, characters: int = 500) -> Any:
    """A JSON value cut to a size that fits beside a task: deeper, longer and non-finite parts fall away."""
    if isinstance(value, str):
        return "" if value.startswith("data:") else value[:characters]
    if isinstance(value, dict) and depth:
        return {
            str(name)[:100]: small_json(item, depth=depth - 1, items=items, characters=characters)
            for name, item in list(value.items())[:items]
        }
    if isinstance(value, list) and depth:
        return [
            small_json(item, depth=depth - 1, items=items, characters=characters) for item in value[:items]
        ]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63 - 1:
        return str(value)[:characters] if abs(value) < 10**characters else None
    return value if value is None or isinstance(value, bool | int | float) else None


def as_form_text(value: Any) -> str:
    """One field of a form as text: true and false as JSON writes them, lists and objects as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value).encode("utf-8", "replace").decode()
