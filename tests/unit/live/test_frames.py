"""Server-sent events as bytes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tasks_app.live.frames import format_beat, format_frame


def read(frame: bytes) -> dict[str, str]:
    """What a browser makes of one frame (HTML standard, 9.2.6)."""
    assert frame.endswith(b"\n\n")
    text = frame.decode()[:-2]
    assert "\n\n" not in text
    fields: dict[str, list[str]] = {}
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    return {name: "\n".join(values) for name, values in fields.items()}


@given(st.text())
def test_any_text_survives_but_for_the_kind_of_its_line_breaks(text):
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert read(format_frame("fragment", text, event_id=7)) == {
        "id": "7",
        "event": "fragment",
        "data": expected,
    }


@given(st.lists(st.text(st.characters())))
def test_any_lines_survive_as_json(lines):
    fields = read(format_frame("log", {"lines": lines}, event_id=7))
    assert json.loads(fields["data"]) == {"lines": lines}


def test_half_of_a_surrogate_pair_does_not_break_the_stream():
    assert read(format_frame("fragment", "a\ud800b", event_id=1))["data"] == "a?b"
    assert json.loads(read(format_frame("log", {"lines": ["\ud800"]}, event_id=1))["data"]) == {
        "lines": ["\ud800"]
    }


def test_a_beat_is_a_comment_and_an_event_and_moves_no_position():
    assert format_beat() == b": beat\nevent: beat\ndata: 1\n\n"
    assert read(format_beat(event_id=9))["id"] == "9"
