"""Offers that a source's settings declare: JSON in, typed offers out, or a ValueError that names the place.

`settings["offers"]` is a list of `{key, kind, label, parameters, prompt?, price?, help?}`; what else an entry holds
belongs to its adapter. A parameter is `{name, label?, type?, required?, default?, minimum?, maximum?, max_length?,
choices?, unit?, help?}`; a choice is a value or a `[value, label]` pair.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tasks_app.sources.generation.base import Offer, OfferKind, Parameter, ParameterType, Price

MAX_OFFERS = 100
MAX_PARAMETERS = 60
MOST = 1e15
"""No bound, length or price is larger; NaN and infinity are not smaller either."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/@-]{0,99}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")


def declared_offers(settings: Mapping[str, Any]) -> list[tuple[Offer, Mapping[str, Any]]]:
    """Each declared offer with its entry as it stands; empty when the settings declare none.

    Raises ValueError with a sentence for the person who wrote the settings.
    """
    entries = settings.get("offers") or []
    if not isinstance(entries, list) or len(entries) > MAX_OFFERS:
        raise ValueError(f'"offers" is a list of at most {MAX_OFFERS} entries.')
    offers: list[tuple[Offer, Mapping[str, Any]]] = []
    for number, entry in enumerate(entries, 1):
        where = f"Offer {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is not an object.")
        offers.append((parse_offer(entry, where), entry))
    keys = [offer.key for offer, _ in offers]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f'Two offers have the key "{twice}".')
    return offers


def parse_offer(entry: Mapping[str, Any], where: str = "The offer") -> Offer:
    """One offer. Raises ValueError."""
    key = _text(entry, "key", where)
    if not _KEY.fullmatch(key):
        raise ValueError(f'{where}: "key" is a short word of letters, digits and . _ : / @ -.')
    where = f'Offer "{key}"'
    parameters = tuple(_parameters(entry.get("parameters") or [], where))
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: two parameters have the same name.")
    return Offer(
        key=key,
        kind=_word(entry, "kind", get_args(OfferKind), where),
        label=_text(entry, "label", where) or key,
        parameters=parameters,
        prompt=_text(entry, "prompt", where) or "prompt",
        price=_price(entry.get("price"), where),
        help=_text(entry, "help", where),
    )


def _parameters(entries: Any, where: str) -> Iterator[Parameter]:
    if not isinstance(entries, list) or len(entries) > MAX_PARAMETERS:
        raise ValueError(f'{where}: "parameters" is a list of at most {MAX_PARAMETERS}.')
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: a parameter is not an object.")
        yield _parameter(entry, where)


def _parameter(entry: Mapping[str, Any], where: str) -> Parameter:
    name = _text(entry, "name", where)
    if not _NAME.fullmatch(name):
        raise ValueError(f'{where}: "{name[:60]}" is no name of a parameter.')
    where = f'{where}, parameter "{name}"'
    limit = _number(entry, "max_length", where)
    choices = tuple(_choices(entry.get("choices") or [], where))
    type_ = _word(entry, "type", get_args(ParameterType), where, "choice" if choices else "text")
    if type_ == "choice" and not choices:
        raise ValueError(f"{where}: a choice needs choices.")
    return Parameter(
        name=name,
        label=_text(entry, "label", where) or name.replace("_", " ").capitalize(),
        type=type_,
        required=entry.get("required") is True,
        default=entry.get("default"),
        minimum=_number(entry, "minimum", where),
        maximum=_number(entry, "maximum", where),
        max_length=None if limit is None else int(limit),
        choices=choices,
        unit=_text(entry, "unit", where),
        help=_text(entry, "help", where),
    )


def _choices(entries: Any, where: str) -> Iterator[tuple[str, str]]:
    if not isinstance(entries, list):
        raise ValueError(f'{where}: "choices" is a list.')
    for entry in entries:
        pair = entry if isinstance(entry, list) else [entry, entry]
        if len(pair) != 2 or not all(isinstance(part, str | int | float) for part in pair):
            raise ValueError(f"{where}: a choice is a value, or a value and its label.")
        yield str(pair[0]), str(pair[1])


def _price(entry: Any, where: str) -> Price | None:
    if entry is None:
        return None
    if not isinstance(entry, dict) or (amount := _number(entry, "amount", where)) is None or amount < 0:
        raise ValueError(f'{where}: "price" is an amount with a currency.')
    return Price(amount, _text(entry, "currency", where) or "USD", _text(entry, "per", where))


def _text(entry: Mapping[str, Any], name: str, where: str) -> str:
    value = entry.get(name) or ""
    if not isinstance(value, str) or len(value) > 2000:
        raise ValueError(f'{where}: "{name}" is not a short text.')
    return value.strip()


def _word(entry: Mapping[str, Any], name: str, words: tuple[str, ...], where: str, default: str = "") -> Any:
    word = entry.get(name, default)
    if word not in words:
        raise ValueError(f'{where}: "{name}" is one of {", ".join(words)}.')
    return word


def _number(entry: Mapping[str, Any], name: str, where: str) -> float | None:
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MOST <= value <= MOST:
        raise ValueError(f'{where}: "{name}" is not a number.')
    return value
