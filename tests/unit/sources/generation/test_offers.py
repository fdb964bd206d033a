"""Offers in a source's settings become typed, or the person learns what is wrong with them."""

from typing import Any

import pytest

from tasks_app.sources.generation.base import Offer, Parameter, Price
from tasks_app.sources.generation.offers import declared_offers

CAT: dict[str, Any] = {
    "key": "cat",
    "kind": "video",
    "label": "A cat",
    "price": {"amount": 0.1, "per": "duration"},
    "parameters": [
        {"name": "prompt", "type": "long_text", "required": True, "max_length": 500},
        {"name": "size", "choices": ["small", ["large", "Very large"]], "default": "small"},
        {"name": "duration", "type": "integer", "minimum": 1, "maximum": 10, "unit": "s"},
    ],
}


def test_an_offer_is_read_with_its_parameters_and_price():
    [(offer, entry)] = declared_offers({"offers": [{**CAT, "workflow": {"1": {}}}]})
    assert offer == Offer(
        "cat",
        "video",
        "A cat",
        (
            Parameter("prompt", "Prompt", "long_text", required=True, max_length=500),
            Parameter(
                "size",
                "Size",
                "choice",
                default="small",
                choices=(("small", "small"), ("large", "Very large")),
            ),
            Parameter("duration", "Duration", "integer", minimum=1, maximum=10, unit="s"),
        ),
        price=Price(0.1, per="duration"),
    )
    assert entry["workflow"] == {"1": {}}


def test_no_offers_are_none():
    assert declared_offers({}) == []


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ("cat", '"offers" is a list'),
        (["cat"], "Offer 1 is not an object"),
        ([{**CAT, "key": "../x\0"}], '"key" is a short word'),
        ([{**CAT, "kind": "song"}], '"kind" is one of video, image, workflow'),
        ([{**CAT, "kind": []}], '"kind" is one of'),
        ([CAT, CAT], 'Two offers have the key "cat"'),
        ([{**CAT, "parameters": [{"name": "a b"}]}], "is no name of a parameter"),
        ([{**CAT, "parameters": [{"name": "a"}, {"name": "a"}]}], "same name"),
        ([{**CAT, "parameters": [{"name": "a", "type": "choice"}]}], "needs choices"),
        ([{**CAT, "parameters": [{"name": "a", "minimum": float("nan")}]}], '"minimum" is not a number'),
        ([{**CAT, "parameters": [{"name": "a", "maximum": 10**400}]}], '"maximum" is not a number'),
        ([{**CAT, "parameters": [{"name": "a", "choices": [[1, 2, 3]]}]}], "a choice is a value"),
        ([{**CAT, "price": {"amount": True}}], '"amount" is not a number'),
    ],
)
def test_what_makes_no_sense_is_named(offers: Any, words: str):
    with pytest.raises(ValueError, match=words):
        declared_offers({"offers": offers})
