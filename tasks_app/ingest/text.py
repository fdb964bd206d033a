"""Makes text of a remote storable in every database, losing nothing that can be shown."""

from math import isfinite
from typing import Any

from tasks_app.sources.encoding import replace_lone_surrogates


def storable(text: str) -> str:
    """PostgreSQL refuses NUL, and no database takes half of a surrogate pair; both get a visible replacement."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = str(replace_lone_surrogates(text))
    return text


def storable_json(value: Any) -> Any:
    """The same for every text in a JSON value. NaN and infinity, which no database takes for JSON, become null."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_json(item) for item in value]
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
