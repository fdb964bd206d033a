"""What may be ordered: the bodies of the submit calls, checked as the task API's documentation gives them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.generation.render import BadPicture, Clip, fit_size, read_picture
from demo.generation.scene import CAMERAS

LONGEST_PROMPT = 4000
MOST_SCENES = 12


class InvalidOrder(Exception):
    """`fields` maps a field of the body to what is wrong with it."""

    def __init__(self, **fields: str) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Order:
    """`kind` is video, image or workflow; a picture has one clip whose seconds do not matter."""

    kind: str
    clips: list[Clip] = field(repr=False)
    width: int
    height: int
    fps: int = 24

    @property
    def seconds(self) -> float:
        return sum(clip.seconds for clip in self.clips)


def parse_video(body: Mapping[str, Any]) -> Order:
    """POST /api/v1/videos/generate. Here the picture may be left out: then the prompt alone is drawn."""
    prompt = _prompt(body)
    if not prompt and not body.get("image"):
        raise InvalidOrder(prompt="A prompt or a picture is needed.")
    width, height = _size(body.get("resolution", "1280x720"), "resolution")
    clip = _clip(body, prompt)
    return Order("video", [clip], width, height, int(_number(body, "fps", 24, 12, 60)))


def parse_image(body: Mapping[str, Any]) -> Order:
    """POST /api/v1/images/generate."""
    prompt = _prompt(body)
    if not prompt:
        raise InvalidOrder(prompt="A prompt is needed.")
    width, height = _size(body.get("size", "1024x1024"), "size")
    return Order("image", [Clip(prompt, 1.0)], width, height)


def parse_workflow(body: Mapping[str, Any]) -> Order:
    """POST /api/v1/workflow/quick-generate: scenes in order, their ids from scene_001 without gaps."""
    scenes = body.get("scenes")
    if not isinstance(scenes, list) or not 1 <= len(scenes) <= MOST_SCENES:
        raise InvalidOrder(scenes=f"A list of 1 to {MOST_SCENES} scenes is needed.")
    clips = []
    for number, scene in enumerate(scenes, start=1):
        if not isinstance(scene, dict) or scene.get("scene_id") != f"scene_{number:03}":
            raise InvalidOrder(scenes=f"Scene {number} must have the id scene_{number:03}.")
        clips.append(_clip(scene, _prompt(scene)))
    return Order("workflow", clips, 640, 360)


PARSERS = {
    "/api/v1/videos/generate": parse_video,
    "/api/v1/images/generate": parse_image,
    "/api/v1/workflow/quick-generate": parse_workflow,
}


def _clip(body: Mapping[str, Any], prompt: str) -> Clip:
    camera = body.get("camera_motion") or "static"
    if camera not in CAMERAS:
        raise InvalidOrder(camera_motion=f"One of {', '.join(CAMERAS)}.")
    picture = body.get("image")
    if picture is not None and not isinstance(picture, str):
        raise InvalidOrder(image="A base64 text or data URL is needed.")
    try:
        drawn = read_picture(picture) if picture else None
    except BadPicture as error:
        raise InvalidOrder(image=str(error)) from error
    strength = _number(body, "motion_strength", 0.5, 0, 1)
    return Clip(prompt, _number(body, "duration", 5, 1, 10), camera, strength, drawn)


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt") or ""
    if not isinstance(prompt, str) or len(prompt) > LONGEST_PROMPT:
        raise InvalidOrder(prompt=f"A text of at most {LONGEST_PROMPT} characters is needed.")
    return prompt.strip()


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidOrder(**{name: f"A number from {low:g} to {high:g} is needed."})
    return float(value)


def _size(text: Any, name: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text) if isinstance(text, str) else None
    if match is None:
        raise InvalidOrder(**{name: "A size like 1280x720 is needed."})
    return fit_size(int(match[1]), int(match[2]))
