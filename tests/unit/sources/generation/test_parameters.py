"""Values for an offer: typed, bounded, and every wrong one named."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.sources.generation.base import Offer, Parameter, Price
from tasks_app.sources.generation.parameters import InvalidParameters, parse_parameters, price_of

OFFER = Offer(
    "video",
    "video",
    "Video",
    (
        Parameter("image", "Picture", "image", required=True),
        Parameter("prompt", "Prompt", "long_text", required=True, max_length=20),
        Parameter("title", "Title"),
        Parameter("duration", "Duration", "integer", default=5, minimum=1, maximum=10, unit="s"),
        Parameter("strength", "Strength", "number", minimum=0, maximum=1),
        Parameter("camera", "Camera", "choice", choices=(("pan", "Pan"), ("4", "Four"))),
        Parameter("optimize", "Optimize", "boolean", default=False),
        Parameter("scenes", "Scenes", "json"),
    ),
    price=Price(0.1, "EUR", per="duration"),
)


def parse(**raw: Any) -> dict[str, Any]:
    return parse_parameters(OFFER, {"prompt": "a cat", **raw})


def refused(**raw: Any) -> dict[str, str]:
    with pytest.raises(InvalidParameters) as caught:
        parse(**raw)
    return caught.value.fields


def test_a_form_of_texts_becomes_typed_values():
    values = parse(
        duration=" 7 ", strength="0,25", camera="pan", optimize="on", scenes='[{"a": 1}]', title="", other="x"
    )
    assert values == {
        "prompt": "a cat",
        "duration": 7,
        "strength": 0.25,
        "camera": "pan",
        "optimize": True,
        "scenes": [{"a": 1}],
    }
    assert type(values["duration"]) is int


def test_typed_json_is_taken_as_it_is_and_defaults_fill_gaps():
    assert parse(duration=7.0, strength=1, camera=4, optimize=None, scenes={"a": None}) == {
        "prompt": "a cat",
        "duration": 7,
        "strength": 1,
        "camera": "4",
        "optimize": False,
        "scenes": {"a": None},
    }
    assert parse() == {"prompt": "a cat", "duration": 5, "optimize": False}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("prompt", "", "needed"),
        ("prompt", " \n", "needed"),
        ("prompt", "x" * 21, "At most 20 characters; these are 21."),
        ("prompt", "a\0b", "no text"),
        ("prompt", "a\ud800b", "no text"),
        ("prompt", ["a"], "A text"),
        ("title", "two\nlines", "One line"),
        ("duration", "0", "Between 1 and 10 s."),
        ("duration", 11, "Between 1 and 10 s."),
        ("duration", "5.5", "whole number"),
        ("duration", 5.5, "whole number"),
        ("duration", True, "whole number"),
        ("duration", "٥", "whole number"),
        ("duration", "9" * 400, "whole number"),
        ("duration", 10**400, "whole number"),
        ("strength", "nan", "A number"),
        ("strength", float("nan"), "A number"),
        ("strength", float("inf"), "A number"),
        ("strength", "1e400", "A number"),
        ("strength", "-0.1", "Between 0 and 1."),
        ("camera", "tilt", "One of pan, 4"),
        ("camera", {}, "One of pan, 4"),
        ("optimize", "maybe", "Yes or no"),
        ("optimize", [], "Yes or no"),
        ("scenes", "{", "not JSON"),
        ("scenes", "[NaN]", "NaN is not a number"),
        ("scenes", [float("inf")], ""),
        ("scenes", {1, 2}, "not JSON"),
        ("scenes", "[" * 5000 + "]" * 5000, ""),
        ("scenes", "[" * 21 + "]" * 21, "nested"),
        ("scenes", '["\\u0000"]', "nested more than 20 deep, or holds"),
        ("scenes", '{"\\ud800": 1}', "or holds a value"),
        ("scenes", [10**30], "or holds a value"),
        ("scenes", '"' + "x" * 2_000_001 + '"', "At most"),
    ],
)
def test_a_wrong_value_is_named_at_its_field(name: str, value: Any, words: str):
    fields = refused(**{name: value})
    assert list(fields) == [name]
    assert words in fields[name] and len(fields[name]) < 400


def test_all_wrong_values_are_named_at_once():
    assert set(refused(prompt="", duration="x", camera="y")) == {"prompt", "duration", "camera"}


def test_a_required_picture_is_asked_for_when_uploads_are_known():
    with pytest.raises(InvalidParameters) as caught:
        parse_parameters(OFFER, {"prompt": "a"}, uploads=())
    assert caught.value.fields == {"image": "A picture is needed."}
    assert "image" not in parse_parameters(OFFER, {"prompt": "a", "image": "x"}, uploads={"image"})


def test_a_default_is_checked_too():
    offer = Offer("a", "video", "A", (Parameter("n", "N", "integer", default=99, maximum=10),))
    with pytest.raises(InvalidParameters):
        parse_parameters(offer, {})


def test_the_price_counts_what_it_is_per():
    assert price_of(OFFER, {"duration": 7}) == (0.7, "EUR")
    assert price_of(OFFER, {}) is None
    assert price_of(OFFER, {"duration": True}) is None
    assert price_of(OFFER, {"duration": "much"}) is None
    flat = Offer("a", "video", "A", (), price=Price(0.04))
    assert price_of(flat, {}) == (0.04, "USD")
    assert price_of(Offer("a", "video", "A", ()), {}) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([p.name for p in OFFER.parameters]), anything))
@settings(deadline=None)
def test_whatever_is_given_is_refused_by_name_or_fit_to_store(raw: dict[str, Any]):
    names = {parameter.name for parameter in OFFER.parameters}
    try:
        values, wrong = parse_parameters(OFFER, raw), {}
    except InvalidParameters as error:
        values, wrong = {"duration": 1}, error.fields
    assert wrong.keys() <= names and values.keys() <= names
    text = json.dumps(values, allow_nan=False, ensure_ascii=False)
    assert text.encode() and "\0" not in text and 1 <= values["duration"] <= 10
