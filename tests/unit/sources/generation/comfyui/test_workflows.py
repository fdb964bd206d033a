"""Declared workflows become offers, and orders become graphs."""

import copy
from typing import Any

import pytest

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import Order, Upload
from tasks_app.sources.generation.comfyui.workflows import (
    BUILT_IN,
    own_id_in,
    recipe_for,
    recipes_of,
    upload_name,
)

GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "cfg": 7.5, "model": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "old"}, "_meta": {"title": "Prompt"}},
}
OFFER: dict[str, Any] = {
    "key": "draw",
    "kind": "image",
    "label": "Draw",
    "workflow": GRAPH,
    "inputs": {"prompt": ["6", "text"], "seed": [["3", "seed"]], "cfg": [3, "cfg"]},
    "parameters": [
        {"name": "prompt"},
        {"name": "seed", "choices": ["1", "2"]},
        {"name": "cfg", "choices": ["1.5", "nan", "many"]},
        {"name": "note"},
    ],
}


def order(**parameters: Any) -> Order:
    return Order("draw", parameters, own_id="own-1", idempotency_key="k")


def test_parameters_go_to_their_places_and_the_declared_graph_stays_as_it_is():
    before = copy.deepcopy(GRAPH)
    recipe = recipes_of({"offers": [OFFER]})["draw"]
    graph = recipe.fill(order(prompt="new", seed="2", cfg="1.5", note="only shown"), {})
    assert graph["6"]["inputs"]["text"] == "new"
    assert graph["3"]["inputs"] == {"seed": 2, "cfg": 1.5, "model": ["4", 0]}
    assert before == GRAPH


def test_what_was_not_given_keeps_the_workflows_own_value():
    graph = recipes_of({"offers": [OFFER]})["draw"].fill(order(prompt=None), {})
    assert graph["6"]["inputs"]["text"] == "old"


@pytest.mark.parametrize("text", ["nan", "many"])
def test_a_choice_that_is_no_number_stays_text(text: str):
    graph = recipes_of({"offers": [OFFER]})["draw"].fill(order(cfg=text), {})
    assert graph["3"]["inputs"]["cfg"] == text


def test_the_graph_carries_our_own_id_beside_its_titles():
    graph = recipes_of({"offers": [OFFER]})["draw"].fill(order(), {})
    assert own_id_in(graph) == "own-1"
    assert graph["6"]["_meta"] == {"title": "Prompt"}
    assert own_id_in(GRAPH) == own_id_in(None) == own_id_in({"1": [], "2": {"_meta": 3}}) == ""


def test_a_parameter_is_known_by_its_place():
    recipe = recipes_of({"offers": [OFFER]})["draw"]
    assert (recipe.parameter_at("3", "cfg"), recipe.parameter_at("3", "model")) == ("cfg", "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workflow": None}, 'needs a "workflow"'),
        ({"workflow": {}}, 'needs a "workflow"'),
        ({"workflow": {"nodes": [], "links": []}}, "Export"),
        ({"workflow": {"1": {"class_type": "X"}}}, "node 1"),
        ({"workflow": {"1": 7}}, "node 1"),
        ({"inputs": ["6", "text"]}, '"inputs" maps'),
        ({"inputs": {"nothing": ["6", "text"]}}, "which is no parameter"),
        ({"inputs": {"prompt": ["99", "text"]}}, "no node 99"),
        ({"inputs": {"prompt": ["6"]}}, "is not \\[node id"),
        ({"inputs": {"prompt": [["6", "text"], "6"]}}, "is not \\[node id"),
    ],
    ids=range(10),
)
def test_a_workflow_that_makes_no_sense_is_named(changes: dict[str, Any], words: str):
    settings = {"offers": [{**OFFER, **changes}]}
    with pytest.raises(ValueError, match=words):
        recipes_of(settings)


def test_a_fresh_server_offers_a_picture_and_a_video_without_a_model():
    recipes = recipes_of({})
    assert {recipe.offer.kind for recipe in recipes.values()} == {"image", "video"}
    for key, recipe in recipes.items():
        offer = recipe.offer
        values = {parameter.name: parameter.default for parameter in offer.parameters}
        assert offer.prompt in values
        assert recipe.fill(Order(key, values, "o", "k"), {}).keys() == BUILT_IN[key].graph.keys()
        for name, places in recipe.inputs.items():
            assert name in values
            for node, place in places:
                assert place in recipe.graph[node]["inputs"], (name, node, place)


def test_an_offer_that_is_gone_is_refused():
    with pytest.raises(SourceRefused) as caught:
        recipe_for(recipes_of({}), order())
    assert caught.value.kind == "invalid_request"


@pytest.mark.parametrize(
    ("name", "media_type", "ending"),
    [("../../etc/passwd", "image/jpeg", ".jpg"), ("a\0b.svg", "image/svg+xml", ".png")],
)
def test_a_pictures_own_name_never_reaches_the_server(name: str, media_type: str, ending: str):
    stored = upload_name(order(), "first/image", Upload(name, media_type, b""))
    assert stored == f"own-1-first_image{ending}"
