"""What a prompt looks like: one picture for each moment, drawn from the prompt alone and so the same each time."""

import colorsys
import hashlib
import math
import textwrap
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont, ImageOps

CAMERAS = ("static", "pan", "tilt", "zoom")
_SHAPES = 14
_MARGIN = 1.2
"""The scene is drawn this much larger than the frame, so that the camera has somewhere to go."""


@dataclass(frozen=True, slots=True)
class _Ball:
    x: float
    y: float
    radius: float
    speed: float
    phase: float
    hue: float


class Scene:
    """Frames of `width` × `height` pixels. `picture`, when given, is what the camera moves over."""

    def __init__(
        self,
        prompt: str,
        width: int,
        height: int,
        *,
        camera: str = "static",
        strength: float = 0.5,
        picture: Image.Image | None = None,
    ) -> None:
        self._size = (width, height)
        self._camera, self._strength = camera, strength
        self._random = Random(hashlib.sha256(prompt.encode("utf-8", "replace")).digest())
        self._hue = self._random.random()
        self._balls = [self._ball() for _ in range(_SHAPES)]
        self._lines = textwrap.wrap(prompt, 38)[:3]
        large = (round(width * _MARGIN), round(height * _MARGIN))
        self._backdrop = ImageOps.fit(picture.convert("RGB"), large) if picture else self._sky(large)
        self._font = ImageFont.load_default(size=max(12, height // 16))

    def _ball(self) -> _Ball:
        random = self._random
        return _Ball(
            random.random(),
            random.random(),
            random.uniform(0.03, 0.13),
            random.choice((-1, 1)) * random.uniform(0.4, 1.4),
            random.uniform(0, math.tau),
            (self._hue + random.uniform(-0.15, 0.15)) % 1.0,
        )

    def _sky(self, size: tuple[int, int]) -> Image.Image:
        """A vertical gradient in the prompt's colour."""
        column = Image.new("RGB", (1, size[1]))
        for y in range(size[1]):
            column.putpixel((0, y), _colour(self._hue, 0.65, 0.18 + 0.5 * y / size[1]))
        return column.resize(size)

    def frame(self, moment: float) -> Image.Image:
        """The picture at `moment`, from 0 (first) to 1 (last)."""
        picture = self._backdrop.copy()
        draw = ImageDraw.Draw(picture)
        for ball in self._balls:
            self._draw_ball(draw, picture.size, ball, moment)
        picture = self._look(picture, moment)
        self._write(picture)
        return picture

    def _draw_ball(
        self, draw: ImageDraw.ImageDraw, size: tuple[int, int], ball: _Ball, moment: float
    ) -> None:
        angle = ball.phase + math.tau * ball.speed * moment * (0.3 + self._strength)
        x = (ball.x + 0.12 * math.cos(angle)) * size[0]
        y = (ball.y + 0.12 * math.sin(angle)) * size[1]
        radius = ball.radius * size[1] * (1 + 0.2 * math.sin(angle * 1.7))
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=_colour(ball.hue, 0.55, 0.95),
            outline=_colour(ball.hue, 0.8, 0.55),
            width=max(1, round(radius / 12)),
        )

    def _look(self, picture: Image.Image, moment: float) -> Image.Image:
        """Through the camera: a window of the frame's size that pans, tilts or zooms over the larger scene."""
        width, height = self._size
        free_x, free_y = picture.width - width, picture.height - height
        across = moment if self._camera == "pan" else 0.5
        down = moment if self._camera == "tilt" else 0.5
        if self._camera == "zoom":
            scale = _MARGIN - (_MARGIN - 1.0) * moment
            window = (round(width * scale), round(height * scale))
            left, top = (picture.width - window[0]) // 2, (picture.height - window[1]) // 2
            return picture.crop((left, top, left + window[0], top + window[1])).resize(self._size)
        left, top = round(free_x * across), round(free_y * down)
        return picture.crop((left, top, left + width, top + height))

    def _write(self, picture: Image.Image) -> None:
        draw = ImageDraw.Draw(picture)
        line_height = round(self._font.size * 1.25) if isinstance(self._font, ImageFont.FreeTypeFont) else 14
        top = picture.height - line_height * len(self._lines) - line_height // 2
        for number, line in enumerate(self._lines):
            place = (line_height // 2, top + number * line_height)
            draw.text(place, line, font=self._font, fill="white", stroke_width=2, stroke_fill="black")


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
