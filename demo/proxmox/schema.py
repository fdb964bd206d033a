"""Parameters of calls: types, formats and the error texts Proxmox answers with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
_DNS_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-+.]*")


class Invalid(Exception):
    """One parameter is wrong; the text goes into `errors` of the answer."""


type_error = "type check ('{}') failed - got '{}'"
Parser = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Param:
    parse: Parser
    required: bool = False


def integer(minimum: int | None = None, maximum: int | None = None) -> Parser:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text):
            raise Invalid(type_error.format("integer", text))
        value = int(text)
        if minimum is not None and value < minimum:
            raise Invalid(f"value must have a minimum value of {minimum}")
        if maximum is not None and value > maximum:
            raise Invalid(f"value must have a maximum value of {maximum}")
        return value

    return parse


def vmid(text: str) -> int:
    value = integer()(text)
    if not 100 <= value <= 999_999_999:
        raise Invalid("invalid format - value does not look like a valid VM ID\n")
    return int(value)


def boolean(text: str) -> bool:
    if text.lower() in ("1", "on", "yes", "true"):
        return True
    if text.lower() in ("0", "off", "no", "false"):
        return False
    raise Invalid(type_error.format("boolean", text))


def string(maximum: int | None = None, minimum: int = 0) -> Parser:
    def parse(text: str) -> str:
        if maximum is not None and len(text) > maximum:
            raise Invalid(f"value may only be {maximum} characters long")
        if len(text) < minimum:
            raise Invalid(f"value must be at least {minimum} characters long")
        return text

    return parse


def choice(*values: str) -> Parser:
    def parse(text: str) -> str:
        if text not in values:
            raise Invalid(f"value '{text}' does not have a value in the enumeration '{', '.join(values)}'")
        return text

    return parse


def pattern(expression: str) -> Parser:
    def parse(text: str) -> str:
        if not re.fullmatch(expression, text):
            raise Invalid("value does not match the regex pattern")
        return text

    return parse


def dns_name(text: str) -> str:
    if not all(_DNS_LABEL.fullmatch(label) for label in text.split(".")):
        raise Invalid("invalid format - value does not look like a valid DNS name\n")
    return text


def config_id(maximum: int) -> Parser:
    def parse(text: str) -> str:
        string(maximum)(text)
        if not re.fullmatch(r"[A-Za-z][\w-]+", text, re.ASCII):
            raise Invalid(f"invalid format - invalid configuration ID '{text}'\n")
        return text

    return parse


def tags(text: str) -> str:
    """Lower case, sorted, joined by `;`, as a config stores them."""
    found = {tag.lower() for tag in re.split(r"[,; ]+", text) if tag}
    if not all(_TAG.fullmatch(tag) for tag in found):
        raise Invalid("invalid format - invalid characters in tag\n")
    return ";".join(sorted(found))


def memory(text: str) -> str:
    try:
        integer(16)(text)
    except Invalid as error:
        raise Invalid(f"invalid format - format error\nmemory.current: {error}\n") from None
    return text


def ipconfig(name: str) -> Parser:
    def parse(text: str) -> str:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        address = parts.get("ip")
        if address and address not in ("dhcp", "manual") and not re.fullmatch(r"[\d.]+/\d{1,2}", address):
            raise Invalid(
                f"invalid format - format error\n{name}.ip: invalid format - value does not look like a valid"
                " ipv4 network configuration\n\n"
            )
        if "gw" in parts and not address:
            raise Invalid(
                f"invalid format - format error\n{name}.ip: missing property required by '{name}.gw'\n"
            )
        return text

    return parse


def urlencoded(text: str) -> str:
    """`sshkeys` has to arrive still percent-encoded."""
    if not re.fullmatch(r"(?:[A-Za-z0-9\-_.~!*'()]|%[0-9A-Fa-f]{2})*", text):
        raise Invalid(f"invalid format - invalid urlencoded string: {text}\n")
    return text


def is_public_key(encoded: str) -> bool:
    lines = [line for line in re.split(r"\r?\n", unquote(encoded)) if line.strip()]
    return bool(lines) and all(re.match(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]{16,}", line) for line in lines)


def verify(
    given: Mapping[str, str], params: Mapping[str, Param], allow: Callable[[str], Parser | None]
) -> Any:
    """(values, errors): every field that is wrong, missing or unknown has its own error."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, text in given.items():
        param = params.get(name)
        parser = param.parse if param else allow(name)
        if parser is None:
            errors[name] = UNKNOWN
            continue
        try:
            values[name] = parser(text)
        except Invalid as error:
            errors[name] = str(error)
    errors |= {name: MISSING for name, param in params.items() if param.required and name not in given}
    return values, errors
