"""What a person or a program gives for an offer, checked against what the offer declares. Pure; nothing is asked."""

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from tasks_app.sources.generation.base import Offer, Parameter

MAX_TEXT = 20_000
"""Characters of one text whose offer names no limit."""
MAX_JSON = 2_000_000
"""Characters of one JSON parameter: room for a picture or two in base64."""
MAX_DEPTH = 20
MAX_NUMBER = 10**15

_WHOLE = re.compile(r"[+-]?\d{1,16}(?:\.0{1,10})?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d{1,16}(?:[.,]\d{0,12})?|[.,]\d{1,12})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_YES = frozenset({"true", "on", "yes", "1"})
_NO = frozenset({"false", "off", "no", "0"})


class InvalidParameters(Exception):
    """`fields` maps a parameter's name to a sentence about its value."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = dict(fields)


def parse_parameters(
    offer: Offer, raw: Mapping[str, Any], *, uploads: Collection[str] | None = None
) -> dict[str, Any]:
    """Values of the offer's own types by name: str, int, float, bool, and any JSON for `json`.

    `raw` holds texts of a form or typed JSON. A value that is missing, None or "" becomes the declared default, or is
    left out when there is none. Names the offer does not declare are passed over, as the task API does. Pictures are
    not values: with `uploads`, the names of the parameters that got one, a missing required picture is an error.

    Raises InvalidParameters with every parameter that is wrong.
    """
    values: dict[str, Any] = {}
    fields: dict[str, str] = {}
    for parameter in offer.parameters:
        if parameter.type == "image":
            if parameter.required and uploads is not None and parameter.name not in uploads:
                fields[parameter.name] = "A picture is needed."
            continue
        try:
            value = _value(parameter, raw.get(parameter.name))
        except ValueError as error:
            fields[parameter.name] = str(error)
            continue
        if value is not None:
            values[parameter.name] = value
    if fields:
        raise InvalidParameters(fields)
    return values


def price_of(offer: Offer, parameters: Mapping[str, Any]) -> tuple[float, str] | None:
    """(amount, currency) of one task with these parsed parameters; None when the offer names no price, or what it is
    counted by has no number."""
    if offer.price is None:
        return None
    if not offer.price.per:
        return offer.price.amount, offer.price.currency
    try:
        count = float(parameters[offer.price.per])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if isinstance(parameters[offer.price.per], bool) or not math.isfinite(count) or count < 0:
        return None
    return round(offer.price.amount * count, 6), offer.price.currency


def _value(parameter: Parameter, given: Any) -> Any:
    """The typed value, or None when there is none. Raises ValueError with a sentence for the person."""
    if given is None or (isinstance(given, str) and not given.strip()):
        given = parameter.default
        if given is None:
            if parameter.required:
                raise ValueError("A value is needed.")
            return None
    match parameter.type:
        case "text" | "long_text":
            return _text(parameter, given)
        case "integer" | "number":
            return _number(parameter, given)
        case "choice":
            return _choice(parameter, given)
        case "boolean":
            return _boolean(given)
        case "json":
            return _json(given)
        case _:
            return None


def _text(parameter: Parameter, given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError("A text is needed.")
    text = str(given).replace("\r\n", "\n").strip()
    limit = parameter.max_length or MAX_TEXT
    if len(text) > limit:
        raise ValueError(f"At most {limit} characters; these are {len(text)}.")
    if not _is_clean(text):
        raise ValueError("It holds a character that is no text.")
    if parameter.type == "text" and "\n" in text:
        raise ValueError("One line is needed.")
    return text


def _number(parameter: Parameter, given: Any) -> int | float:
    is_whole = parameter.type == "integer"
    wanted = "A whole number is needed." if is_whole else "A number is needed."
    if isinstance(given, str):
        text = given.strip()
        if not (_WHOLE if is_whole else _DECIMAL).fullmatch(text):
            raise ValueError(wanted)
        number: int | float = int(text.partition(".")[0]) if is_whole else float(text.replace(",", "."))
    elif isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(wanted)
    else:
        number = given
    if not abs(number) <= MAX_NUMBER:  # NaN too
        raise ValueError(wanted)
    if is_whole:
        if number != int(number):
            raise ValueError(wanted)
        number = int(number)
    low, high = parameter.minimum, parameter.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(_range(low, high, parameter.unit))
    return number


def _range(low: float | None, high: float | None, unit: str) -> str:
    unit = f" {unit}" if unit else ""
    if low is None:
        return f"At most {high:.10g}{unit}."
    if high is None:
        return f"At least {low:.10g}{unit}."
    return f"Between {low:.10g} and {high:.10g}{unit}."


def _choice(parameter: Parameter, given: Any) -> str:
    values = [value for value, _ in parameter.choices]
    if not isinstance(given, bool) and isinstance(given, str | int | float) and str(given).strip() in values:
        return str(given).strip()
    raise ValueError(f"One of {', '.join(values)[:300]} is needed.")


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower() if isinstance(given, str | int) else ""
    if word not in _YES | _NO:
        raise ValueError("Yes or no is needed.")
    return word in _YES


def _json(given: Any) -> Any:
    try:
        if not isinstance(given, str):
            given = json.dumps(given, allow_nan=False)
        if len(given) > MAX_JSON:
            raise ValueError(f"At most {MAX_JSON} characters.")
        value = json.loads(given, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON: {error.msg} in line {error.lineno}.") from None
    except (TypeError, RecursionError):
        raise ValueError("This is not JSON.") from None
    if not _is_small(value):
        raise ValueError(
            f"It is nested more than {MAX_DEPTH} deep, or holds a value that is no text or number."
        )
    return value


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number in JSON.")


def _is_small(value: Any, depth: int = MAX_DEPTH) -> bool:
    if isinstance(value, str):
        return _is_clean(value)
    if isinstance(value, dict):
        return depth > 0 and all(
            _is_clean(name) and _is_small(item, depth - 1) for name, item in value.items()
        )
    if isinstance(value, list):
        return depth > 0 and all(_is_small(item, depth - 1) for item in value)
    return isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= MAX_NUMBER


def _is_clean(text: str) -> bool:
    """Neither NUL nor half of a surrogate pair: no database takes them."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
