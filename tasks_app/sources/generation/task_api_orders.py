"""What a task API source offers, and the body each order becomes."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.generation.base import Offer, Order, Parameter, Upload
from tasks_app.sources.generation.offers import declared_offers
from tasks_app.sources.generation.problems import Kind
from tasks_app.sources.generation.reading import as_data_url
from tasks_app.sources.generation.task_api_settings import Dialect, checked_path

MAX_SCENES = 100
SIZES = ("1920x1080", "1280x720", "1080x1920", "720x1280", "1024x1024", "1024x576", "640x360")

_PLACE = re.compile(r"\{(\w+)\}")

_IMAGE = Parameter("image", "Picture", "image", required=True, help="The first frame.")
_PROMPT = Parameter("prompt", "Prompt", "long_text", max_length=4000)
_DURATION = Parameter("duration", "Duration", "integer", default=5, minimum=1, maximum=10, unit="s")
_FPS = Parameter("fps", "Frames per second", "integer", default=30, minimum=24, maximum=60)
_RESOLUTION = Parameter(
    "resolution", "Size", "choice", default=SIZES[0], choices=tuple((size, size) for size in SIZES)
)
_STRENGTH = Parameter(
    "motion_strength", "Strength of motion", "number", default=0.5, minimum=0, maximum=1, help="0 is still."
)
_CAMERA = Parameter(
    "camera_motion",
    "Camera",
    "choice",
    choices=(("static", "Still"), ("pan", "Pan"), ("tilt", "Tilt"), ("zoom", "Zoom")),
)
_CONFIG = Parameter("config", "Configuration", "json", help="A JSON object, as the server documents it.")

VIDEO = Offer(
    "video",
    "video",
    "Video from a picture",
    (
        _IMAGE,
        _PROMPT,
        _DURATION,
        _FPS,
        _RESOLUTION,
        _STRENGTH,
        _CAMERA,
        Parameter("optimize_prompt", "Improve the prompt", "boolean", default=False),
    ),
)
QUICK = Offer(
    "quick",
    "workflow",
    "Film from scenes",
    (
        Parameter(
            "scenes",
            "Scenes",
            "json",
            required=True,
            help='A JSON list such as [{"prompt": "A harbour", "duration": 5}, {"prompt": "The open sea"}].',
        ),
        Parameter("image", "Picture", "image", help="For scenes that bring none."),
        Parameter("prompt", "Prompt", "long_text", max_length=4000, help="For scenes that bring none."),
        _CONFIG,
    ),
)
SCRIPT = Offer(
    "workflow",
    "workflow",
    "Film from a script",
    (
        Parameter("script", "Script", "long_text", required=True, max_length=100_000),
        Parameter("video_type", "Type of film"),
        Parameter("video_subtype", "Subtype"),
        Parameter("character_images", "Pictures of characters", "json"),
        Parameter("scene_images", "Pictures of scenes", "json"),
        _CONFIG,
    ),
    prompt="script",
)
IMAGE = Offer(
    "image",
    "image",
    "Image from a prompt",
    (
        Parameter("prompt", "Prompt", "long_text", required=True, max_length=4000),
        Parameter(
            "size",
            "Size",
            "choice",
            default="1024x1024",
            choices=tuple((size, size) for size in ("1024x1024", "1024x576", "576x1024", "512x512")),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Deal:
    """An offer with where it is ordered. `body` is a template, None when the parameters are the body."""

    offer: Offer
    path: str
    body: Any = None


def deals_of(settings: Mapping[str, Any], dialect: Dialect) -> dict[str, Deal]:
    """The declared offers, else the ones of the task API, by key. Raises ValueError.

    A declared offer may bring its own `path`, and a `body`: any JSON, in which "{name}" stands for the value of that
    parameter (or own_id). A member whose value is missing falls away; inside a longer text it becomes nothing.
    """
    deals = {}
    for offer, entry in declared_offers(settings):
        path = entry.get("path") or dialect.submit.get(offer.key) or dialect.submit[offer.kind]
        deals[offer.key] = Deal(offer, checked_path(path, f'Offer "{offer.key}"'), entry.get("body"))
    if deals:
        return deals
    standard = [VIDEO, QUICK, SCRIPT, *([IMAGE] if dialect.has_image_tasks else [])]
    return {offer.key: Deal(offer, dialect.submit[offer.key]) for offer in standard}


def body_of(deal: Deal, order: Order, encoding: str) -> Any:
    """The JSON to send. Raises SourceRefused for scenes that make no sense."""
    encode = as_data_url if encoding == "data_url" else _as_base64
    values = {**order.parameters, **{name: encode(upload) for name, upload in order.uploads.items()}}
    if deal.body is not None:
        return _filled(deal.body, {**values, "own_id": order.own_id}, {*_names_of(deal.offer), "own_id"})
    return _scenes_of(values) if deal.offer.key == QUICK.key else values


def _as_base64(upload: Upload) -> str:
    return base64.b64encode(upload.content).decode()


def _scenes_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The server wants the scenes numbered without a gap, each with a picture and a duration."""
    given = values.get("scenes")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_SCENES:
        raise _refused(f"A list of 1 to {MAX_SCENES} scenes is needed.")
    scenes = []
    for number, scene in enumerate(given, 1):
        if not isinstance(scene, dict):
            raise _refused(f"Scene {number} is not an object.")
        shared = {name: values[name] for name in ("image", "prompt") if name in values}
        name = f"scene_{number:03d}"
        if scene.get("scene_id", name) != name:
            raise _refused(f"Scene {number} must have the id {name}, or none.")
        scenes.append({"duration": 5, **shared, **scene, "scene_id": name})
    config = {"config": values["config"]} if "config" in values else {}
    return {"mode": "quick", "scenes": scenes, **config}


def _refused(text: str) -> SourceRefused:
    return SourceRefused(text, kind=Kind.INVALID_REQUEST, fields={"scenes": text})


def _names_of(offer: Offer) -> set[str]:
    return {parameter.name for parameter in offer.parameters}


def _filled(template: Any, values: Mapping[str, Any], names: set[str]) -> Any:
    """The template with its places filled; None stands for a member that falls away."""
    if isinstance(template, str):
        place = _PLACE.fullmatch(template)
        if place and place[1] in names:
            return values.get(place[1])
        return _PLACE.sub(lambda p: str(values.get(p[1], "")) if p[1] in names else p[0], template)
    if isinstance(template, dict):
        filled = {name: _filled(item, values, names) for name, item in template.items()}
        return {name: item for name, item in filled.items() if item is not None or template[name] is None}
    if isinstance(template, list):
        filled_items = [(item, _filled(item, values, names)) for item in template]
        return [filled for item, filled in filled_items if filled is not None or item is None]
    return template
