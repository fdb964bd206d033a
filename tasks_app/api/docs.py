"""The browsable page of the API: its description as a page of the portal, without anybody else's scripts."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from tasks_app.api.application import api

_METHODS = ("get", "post", "delete")


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a property of a JSON body."""

    name: str
    where: str
    type: str
    is_required: bool
    words: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be called. `answers` are (status, words) pairs."""

    method: str
    path: str
    summary: str
    words: SafeString
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str], ...]
    anchor: str


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """For everybody: it tells what programs can do, nothing about this portal's tasks."""
    schema = api.get_openapi_schema()
    operations = [
        _operation(schema, method, path, item[method])
        for path, item in schema["paths"].items()
        for method in _METHODS
        if method in item
    ]
    base = request.build_absolute_uri("/").rstrip("/")
    context = {
        "operations": operations,
        "base": base,
        "socket_base": base.replace("http", "ws", 1),
        "host": request.get_host(),
    }
    return render(request, "api/docs.html", context)


def _operation(schema: dict[str, Any], method: str, path: str, given: dict[str, Any]) -> Operation:
    fields = [
        _field(each["name"], each["in"], each.get("schema", {}), bool(each.get("required")), schema)
        for each in given.get("parameters", [])
    ]
    for content in given.get("requestBody", {}).get("content", {}).values():
        body = _resolve(content["schema"], schema)
        required = body.get("required", [])
        fields += [
            _field(name, "body", each, name in required, schema)
            for name, each in body.get("properties", {}).items()
        ]
    answers = tuple(
        (str(status), str(each.get("description", ""))) for status, each in given["responses"].items()
    )
    return Operation(
        method=method.upper(),
        path=path,
        summary=given.get("summary", ""),
        words=_with_code(given.get("description", "")),
        fields=tuple(fields),
        answers=answers,
        anchor=given["operationId"],
    )


def _field(name: str, where: str, given: dict[str, Any], is_required: bool, schema: dict[str, Any]) -> Field:
    return Field(name, where, _type(given, schema), is_required, str(given.get("description", "")))


def _resolve(given: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` leads to."""
    reference = given.get("$ref")
    if reference is None:
        return given
    found: dict[str, Any] = schema["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _with_code(text: str) -> SafeString:
    """Text with `backticks` as HTML."""
    parts = enumerate(text.split("`"))
    return mark_safe(  # noqa: S308  each part is escaped
        "".join(
            format_html("<code>{}</code>", part) if number % 2 else escape(part) for number, part in parts
        )
    )


def _type(given: dict[str, Any], schema: dict[str, Any]) -> str:
    """`string`, `integer 1–500`, `string or null`."""
    given = _resolve(given, schema)
    if "anyOf" in given:
        kinds = [_type(each, schema) for each in given["anyOf"]]
        return " or ".join(kind for kind in kinds if kind != "null")
    if given.get("type") == "array":
        return f"list of {_type(given.get('items', {}), schema)}"
    words = str(given.get("format") or given.get("type", "any"))
    low, high = given.get("minimum"), given.get("maximum")
    return f"{words} {low}–{high}" if low is not None and high is not None else words
