"""Paths into JSON lead somewhere or nowhere, and a stack never stays in a message."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.sources.generation.values import first, look, look_all, strip_traceback

DATA = {"result": {"result": {"video_url": "u"}, "n": None, "images": [{"url": "a"}, {"url": "b"}, 3]}, "": 1}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("result.result.video_url", "u"),
        ("result.images.1.url", "b"),
        ("result.images.9.url", None),
        ("result.images.-1", None),
        ("result.images.url", None),
        ("result.n", None),
        ("result.n.more", None),
        ("result.result.video_url.0", None),
        ("", None),
        (".", None),
    ],
)
def test_a_path_leads_to_a_value_or_to_none(path: str, value: Any):
    assert look(DATA, path) == value


def test_a_star_stands_for_each():
    assert list(look_all(DATA, "result.images.*.url")) == ["a", "b"]
    assert list(look_all(DATA, "result.*.video_url")) == ["u"]
    assert len(list(look_all({"a": [[1] * 500] * 500}, "a.*.*"))) == 200


def test_the_first_that_says_something_counts():
    assert first({"a": None, "b": "", "c": 0}, ["a", "b", "c"]) == 0
    assert first({"a": 1}, "a") == 1
    assert first({}, ["a", "b"]) is None


STACK = 'Traceback (most recent call last):\n  File "/srv/app/x.py", line 3, in run\n    do()\n    ^^^^\nKeyError: 1'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Content policy violation", "Content policy violation"),
        (f"It failed:\n{STACK}", "It failed"),
        (STACK, "KeyError: 1"),
        (
            f"{STACK}\n\nDuring handling of the above exception, another exception occurred:\n\n{STACK}2",
            "KeyError: 12",
        ),
        (STACK.replace("\n", "\\n"), "KeyError: 1"),
        ('boom\n  File "/srv/app/x.py", line 3, in run\n    do()\nmore', "boom\nmore"),
        ("Error: x\n    at run (/srv/app.js:10:5)\n    at com.acme.Run.go(Run.java:12)", "Error: x"),
        ("Meet at noon (or later)", "Meet at noon (or later)"),
        ("Traceback (most recent call last):", ""),
        ("", ""),
    ],
)
def test_a_stack_is_cut_out_of_a_message(text: str, message: str):
    assert strip_traceback(text) == message


@given(st.text(), st.text())
@settings(deadline=None)
def test_no_stack_survives(before: str, after: str):
    said = strip_traceback(f"{before}{STACK}{after}")
    assert "Traceback (most" not in said and '/srv/app/x.py", line' not in said


@given(st.text())
@settings(deadline=None)
def test_words_without_a_stack_keep_their_first_line(text: str):
    assert len(strip_traceback(text)) <= len(text)
