"""Workflow graphs: what a ComfyUI source offers, and the graph that an order becomes.

A declared offer has, beside what every offer has, `workflow`: the graph as "Export (API)" writes it, and `inputs`:
parameter → `[node id, input name]`, or a list of such pairs. A parameter without a place is only shown.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import Offer, Order, Parameter, Upload
from tasks_app.sources.generation.offers import declared_offers

MAX_NODES = 2000
MARK = "task_portal"
"""Where the first node carries our own id, beside its title; ComfyUI keeps it and does not look at it."""

Graph = dict[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An offer, its graph, and where each parameter goes: (node id, input name)."""

    offer: Offer
    graph: Mapping[str, Any]
    inputs: Mapping[str, tuple[Place, ...]]

    def fill(self, order: Order, files: Mapping[str, Any]) -> Graph:
        """The graph of `order`; `files` are what the server calls the uploads, by parameter."""
        graph = copy.deepcopy(dict(self.graph))
        for name, value in {**order.parameters, **files}.items():
            for node, place in self.inputs.get(name, ()) if value is not None else ():
                inputs = graph[node]["inputs"]
                inputs[place] = _like(inputs.get(place), value)
        first = graph[next(iter(graph))]
        first["_meta"] = {**_object(first.get("_meta")), MARK: order.own_id}
        return graph

    def parameter_at(self, node: str, place: str) -> str:
        """The parameter that fills this input, "" when it is the workflow's own."""
        return next((name for name, places in self.inputs.items() if (node, place) in places), "")


def recipes_of(settings: Mapping[str, Any]) -> dict[str, Recipe]:
    """Recipes by the key of their offer. Raises ValueError with a sentence for the person who wrote the settings."""
    declared = list(declared_offers(settings))
    return {offer.key: _recipe(offer, entry) for offer, entry in declared} if declared else dict(BUILT_IN)


def recipe_for(recipes: Mapping[str, Recipe], order: Order) -> Recipe:
    """Raises SourceRefused for an offer that is no longer declared."""
    if order.offer not in recipes:
        raise SourceRefused("The source no longer offers this.", kind="invalid_request")
    return recipes[order.offer]


def own_id_in(graph: Any) -> str:
    """The id that `fill` left in a graph, "" for one of somebody else."""
    for node in _object(graph).values():
        if isinstance(mark := _object(_object(node).get("_meta")).get(MARK), str):
            return mark
    return ""


def upload_name(order: Order, parameter: str, upload: Upload) -> str:
    """A file name for a server's input folder: ours, whatever the person called the picture."""
    ending = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", f"{order.own_id}-{parameter}")
    return safe[:120] + ending.get(upload.media_type, ".png")


def _recipe(offer: Offer, entry: Mapping[str, Any]) -> Recipe:
    where = f'Offer "{offer.key}"'
    graph = entry.get("workflow")
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        raise ValueError(f'{where}: the workflow is in the editor\'s format. Use "Export (API)" in ComfyUI.')
    if not isinstance(graph, dict) or not 0 < len(graph) <= MAX_NODES:
        raise ValueError(f'{where} needs a "workflow" in API format.')
    for name, node in graph.items():
        if not isinstance(_object(node).get("class_type"), str) or not isinstance(node.get("inputs"), dict):
            raise ValueError(f'{where}: node {name[:40]} of the workflow has no "class_type" or no "inputs".')
    places = entry.get("inputs") or {}
    if not isinstance(places, dict):
        raise ValueError(f'{where}: "inputs" maps each parameter to [node id, input name].')
    declared = {parameter.name for parameter in offer.parameters}
    inputs = {}
    for name, value in places.items():
        if name not in declared:
            raise ValueError(f'{where}: "inputs" names "{name[:60]}", which is no parameter.')
        inputs[name] = tuple(_places(value, graph, f'{where}, input of "{name}"'))
    return Recipe(offer, graph, inputs)


def _places(value: Any, graph: Mapping[str, Any], where: str) -> Iterator[Place]:
    pairs = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
            raise ValueError(f"{where} is not [node id, input name].")
        if (node := str(pair[0])) not in graph:
            raise ValueError(f"{where}: the workflow has no node {node[:40]}.")
        yield node, pair[1]


def _like(old: Any, new: Any) -> Any:
    """A choice is text, but the graph's own value tells that the node wants a number."""
    if isinstance(new, str) and isinstance(old, int | float) and not isinstance(old, bool):
        try:
            number = type(old)(new)
        except ValueError:
            return new
        return number if math.isfinite(number) else new
    return new


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(name: str, label: str, default: int) -> Parameter:
    return Parameter(name, label, "integer", default=default, minimum=16, maximum=2048, unit="px")


_NAME = Parameter("prompt", "Name", max_length=200, help="Only to find it again; nothing is drawn from it.")
_COLOUR = Parameter(
    "colour",
    "Colour",
    "choice",
    default="3381759",
    choices=(("3381759", "Blue"), ("3381555", "Green"), ("13382451", "Red"), ("16777215", "White")),
)

BUILT_IN: dict[str, Recipe] = {
    "plain-image": Recipe(
        Offer(
            "plain-image",
            "image",
            "Plain picture",
            (_NAME, _size("width", "Width", 512), _size("height", "Height", 512), _COLOUR),
            help="One colour, without any model: shows that the server works.",
        ),
        {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 3381759},
            },
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "portal"}},
        },
        {"width": (("1", "width"),), "height": (("1", "height"),), "colour": (("1", "color"),)},
    ),
    "plain-video": Recipe(
        Offer(
            "plain-video",
            "video",
            "Plain video",
            (
                _NAME,
                _size("width", "Width", 256),
                _size("height", "Height", 256),
                Parameter("frames", "Frames", "integer", default=24, minimum=1, maximum=240),
                Parameter("fps", "Frames per second", "integer", default=12, minimum=1, maximum=60),
                _COLOUR,
            ),
            help="One colour, without any model: shows that the server works.",
        ),
        {
            "1": {
                "class_type": "EmptyImage",
                "inputs": {"width": 256, "height": 256, "batch_size": 24, "color": 3381759},
            },
            "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 12.0}},
            "3": {
                "class_type": "SaveVideo",
                "inputs": {
                    "video": ["2", 0],
                    "filename_prefix": "video/portal",
                    "format": "auto",
                    "codec": "auto",
                },
            },
        },
        {
            "width": (("1", "width"),),
            "height": (("1", "height"),),
            "frames": (("1", "batch_size"),),
            "fps": (("2", "fps"),),
            "colour": (("1", "color"),),
        },
    ),
}
