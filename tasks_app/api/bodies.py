"""Reading what was sent: JSON bodies within a limit, pictures inside of them, the key that makes a repeat harmless."""

import binascii
import json
import re
import uuid
from base64 import b64decode
from math import isfinite
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpRequest

from tasks_app.api.errors import ApiError, invalid
from tasks_app.ingest.text import storable_json
from tasks_app.sources.generation.base import Upload

MIB = 1024 * 1024
SMALL_BODY = MIB
_DATA_URL = re.compile(r"data:(?P<type>[\w.+/-]{0,100})(?:;[\w.+=-]{1,100})*?(?P<base64>;base64)?,", re.ASCII)
_SPACE = re.compile(r"\s+")


def picture_body_limit() -> int:
    """Bytes: two pictures of the largest size in base64, and room for the rest."""
    return settings.UPLOAD_MAX_MB * MIB * 8 // 3 + SMALL_BODY


def read_json(request: HttpRequest, limit: int = SMALL_BODY) -> dict[str, Any]:
    """The object that was sent, fit for the database. Raises ApiError (413, 422).

    Read here and not by Django, whose limit of 2.5 MB is for forms.
    """
    too_large = ApiError(413, "TOO_LARGE", f"At most {limit // MIB} MiB can be sent.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdigit() and int(length) > limit:
        raise too_large
    data = request.read(limit + 1)
    if len(data) > limit:
        raise too_large
    try:
        found = storable_json(json.loads(data, parse_constant=_refuse_constant, parse_float=_finite))
    except (ValueError, RecursionError):
        raise invalid(body="This is no JSON that can be used.") from None
    if not isinstance(found, dict):
        raise invalid(body="Send a JSON object.")
    return found


def read_picture(name: str, value: Any) -> Upload:
    """A picture as base64 or data URL; its bytes are judged by the service. Raises ApiError (422) naming the field."""
    if not isinstance(value, str):
        raise invalid(**{name: "Send the picture as base64 text or as a data URL."})
    text = value.strip()
    if re.match(r"https?://", text, re.IGNORECASE):
        raise invalid(
            **{name: "The portal fetches no addresses: send the picture itself, as base64 or a data URL."}
        )
    if text[:5].lower() == "data:":
        match = _DATA_URL.match("data:" + text[5:])
        if match is None:
            raise invalid(**{name: "This data URL cannot be read."})
        content = text[match.end() :]
        if not match["base64"]:
            return Upload("picture", match["type"], unquote_to_bytes(content))
        return Upload("picture", match["type"], _decode(name, content))
    return Upload("picture", "", _decode(name, text))


def idempotency_key(request: HttpRequest) -> str:
    """The header's, so that a repeat makes nothing new; without one each request is a new one."""
    return request.headers.get("Idempotency-Key", "").strip() or str(uuid.uuid4())


def _decode(name: str, text: str) -> bytes:
    try:
        content = b64decode(_SPACE.sub("", text), validate=True)
    except (ValueError, binascii.Error):
        content = b""
    if not content:
        raise invalid(**{name: "This is no base64."})
    return content


def _finite(text: str) -> float:
    """1e999 is an infinity in other words."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def _refuse_constant(name: str) -> NoReturn:
    """NaN and infinities are no JSON."""
    raise ValueError(name)
