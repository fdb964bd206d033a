"""Statuses, headers and bodies of every dialect become typed errors with the remote's words."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.sources.errors import (
    OutcomeUnknown,
    SourceError,
    SourceNeedsPerson,
    SourceRefused,
    SourceUnavailable,
)
from tasks_app.sources.generation.base import GenerationConnection
from tasks_app.sources.generation.calls import JsonCaller, Reply, fields_of, message_of, refusal, taken
from tasks_app.sources.tls import Trust
from tests.unit.sources.generation.replay import Remote, Say, recorded


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        data = json.loads(content)
    except ValueError:
        data = None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, data, data is not None, content)


@pytest.mark.parametrize(
    ("folder", "number", "words"),
    [
        ("seed", 6, "Task not found: vid_nope"),
        ("seed", 8, "Request validation failed (image: Field required)"),
        ("seed", 48, "Request validation failed (script: String should have at least 10 characters)"),
        ("seed", 71, "Not Found"),
        ("aimock-fal", 13, "Request nope not found"),
        ("comfy-v2-fake", 15, "Invalid token."),
    ],
)
def test_the_message_is_found_where_a_recorded_server_puts_it(folder: str, number: int, words: str):
    said = recorded(folder, number)
    assert reply(said.status, said.body).words == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><head><title>502 Bad\n Gateway</title></head>", "502 Bad Gateway"),
        (b"<script>alert(1)</script>", ""),
        (b"upstream connect error", "upstream connect error"),
        (b'{"cut off', ""),
        ({"traceback": "File x"}, ""),
        ({"detail": [{"loc": ["body", "fps"], "msg": "too small"}]}, "fps: too small"),
        ({"error": "no " + "x" * 9000}, "no " + "x" * 1997),
        (
            {"error": 'boom\nTraceback (most recent call last):\n  File "/srv/a.py", line 1\nKeyError: 1'},
            "boom",
        ),
    ],
)
def test_words_are_short_and_without_pages_and_stacks(body: Any, words: str):
    assert reply(500, body).words == words


def test_a_message_nested_without_end_is_none():
    deep: Any = "x"
    for _ in range(900):
        deep = {"error": [deep]}
    assert message_of(deep) == ""


@pytest.mark.parametrize(
    ("status", "body", "error", "kind"),
    [
        (400, {"error": "bad"}, SourceRefused, "invalid_request"),
        (
            400,
            {"error": {"code": "content_policy_violation", "message": "no"}},
            SourceRefused,
            "content_policy",
        ),
        (401, {}, SourceNeedsPerson, "unauthorized"),
        (402, {}, SourceRefused, "no_credit"),
        (403, {"error": "no"}, SourceNeedsPerson, "unauthorized"),
        (
            403,
            {"name": "content_moderation", "message": "flagged by moderation"},
            SourceRefused,
            "content_policy",
        ),
        (404, {}, SourceRefused, "not_found"),
        (408, {}, SourceUnavailable, "server_error"),
        (410, {}, SourceRefused, "not_found"),
        (422, {}, SourceRefused, "invalid_request"),
        (429, {}, SourceUnavailable, "rate_limited"),
        (500, {}, SourceUnavailable, "server_error"),
        (503, {}, SourceUnavailable, "server_error"),
    ],
)
def test_a_status_means_one_thing(status: int, body: Any, error: type[SourceError], kind: str):
    seen = refusal(reply(status, body))
    assert type(seen) is error and seen.kind == kind and seen.status == status and str(seen)


def test_a_validation_error_names_its_fields():
    said = recorded("seed", 8)
    error = refusal(reply(said.status, said.body))
    assert isinstance(error, SourceRefused) and error.fields == {"image": "Field required"}
    assert fields_of({"error": {"details": {"size": "A size is needed.", "n": 1}}}) == {
        "size": "A size is needed."
    }
    assert fields_of([1]) == {} and fields_of({"detail": [{"loc": 5, "msg": 6}, 7]}) == {}


@pytest.mark.parametrize(
    ("status", "is_unknown"), [(500, True), (502, True), (503, True), (408, True), (400, False), (429, False)]
)
def test_after_a_submit_only_a_clear_refusal_means_that_nothing_was_made(status: int, is_unknown: bool):
    with pytest.raises(SourceError) as caught:
        taken(reply(status, {}))
    assert isinstance(caught.value, OutcomeUnknown) is is_unknown


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after": "7"}, {}, 7),
        ({"retry_after": "86400"}, {}, 300),
        ({"retry_after": "-1"}, {}, None),
        ({"retry_after": "nan"}, {}, None),
        ({"retry_after": "Fri, 01 Jan 1999 00:00:00 GMT"}, {}, 0),
        ({"retry_after": "Fri, 01 Jan 1999 00:00:00 -0000"}, {}, None),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"}, {}, 300),
        ({"retry_after": "tomorrow"}, {}, None),
        ({"retry_after_ms": "1500", "retry_after": "9"}, {}, 1.5),
        ({"openai_poll_after_ms": "2000"}, {}, 2),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {}, None),
    ],
)
def test_how_long_to_wait_is_read_from_wherever_it_stands(headers: dict, body: Any, seconds: float | None):
    assert reply(429, body, **headers).retry_after_seconds == seconds


def test_a_key_that_the_server_repeats_is_not_handed_on():
    key = "sk-very-secret-1234"
    with Remote() as remote:
        remote.on("GET", "/x", Say(200, {"echo": f"Bearer {key}", "again": [key]}))
        caller = JsonCaller(GenerationConnection("x", remote.url, Trust(), key=key))
        seen = caller.ask("GET", "/x")
        assert seen.data == {"echo": "Bearer ***", "again": ["***"]} and key.encode() not in seen.body
        caller.close()


def test_a_base_path_stands_before_every_path():
    with Remote() as remote:
        remote.on("GET", "/gateway/v2/x", Say(200, 1))
        caller = JsonCaller(GenerationConnection("x", remote.url + "/gateway/v2/", Trust()))
        assert caller.ask("GET", "/x").data == 1
        caller.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "details", "loc", "msg", "code", "type", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.integers(300, 599), json_values, st.text(string.printable, max_size=12))
@settings(deadline=None)
def test_any_body_with_any_status_is_one_typed_error(status: int, body: Any, wait: str):
    seen = reply(status, body, retry_after=wait)
    error = refusal(seen)
    assert isinstance(error, SourceError) and len(str(error)) < 2200
    assert error.retry_after is None or 0 <= error.retry_after <= 300
    assert isinstance(seen.code, str) and len(seen.code) <= 100


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_have_words_or_none(body: bytes):
    assert len(Reply(500, {}, None, False, body).words) <= 2000
