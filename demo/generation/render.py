"""Turns an order into a file: MP4 (H.264) or PNG. PyAV encodes, Pillow draws."""

import base64
import binascii
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image, UnidentifiedImageError

from demo.generation.scene import Scene

MAX_PICTURE_PIXELS = 40_000_000
LONGEST_SIDE = 1280
"""Larger orders are taken and drawn smaller, or one clip would keep both cores for minutes."""


class Cancelled(Exception):
    """Somebody cancelled it between two frames."""


class BadPicture(ValueError):
    """The picture of the order cannot be read."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One stretch of video: what is seen and for how many seconds."""

    prompt: str
    seconds: float
    camera: str = "static"
    strength: float = 0.5
    picture: Image.Image | None = None


Tick = Callable[[int, int], None]
"""Called after each frame with (frames done, frames in all); raises Cancelled to stop."""


def fit_size(width: int, height: int) -> tuple[int, int]:
    """The size that is really drawn: even, as H.264 wants it, and at most LONGEST_SIDE."""
    scale = min(1.0, LONGEST_SIDE / max(width, height, 1))
    return max(16, round(width * scale) // 2 * 2), max(16, round(height * scale) // 2 * 2)


def read_picture(text: str) -> Image.Image:
    """The picture in a base64 text or data URL. Raises BadPicture."""
    data = text.partition(",")[2] if text.startswith("data:") else text
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        if picture.width * picture.height > MAX_PICTURE_PIXELS:
            raise BadPicture("The picture is too large.")
        picture.load()
    except (
        binascii.Error,
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise BadPicture("The picture cannot be read.") from error
    return picture


def render_video(
    path: Path, clips: list[Clip], *, width: int, height: int, fps: int, tick: Tick
) -> dict[str, object]:
    """Write an MP4 to `path`; what it is, for the result's metadata. A cancelled one leaves no file."""
    counts = [max(1, round(clip.seconds * fps)) for clip in clips]
    total = sum(counts)
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = Fraction(1, fps)
            stream.options = {"preset": "veryfast", "crf": "23"}
            for number, picture in enumerate(_frames(clips, counts, width, height), start=1):
                for packet in stream.encode(_frame(picture)):
                    container.mux(packet)
                tick(number, total)
            for packet in stream.encode():
                container.mux(packet)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return {"width": width, "height": height, "fps": fps, "frames": total, "codec": "h264"}


def _frame(picture: Image.Image) -> av.VideoFrame:
    # PyAV has no types for this one.
    frame: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    return frame


def _frames(clips: list[Clip], counts: list[int], width: int, height: int) -> Iterator[Image.Image]:
    for clip, count in zip(clips, counts, strict=True):
        scene = Scene(
            clip.prompt, width, height, camera=clip.camera, strength=clip.strength, picture=clip.picture
        )
        for number in range(count):
            yield scene.frame(number / max(1, count - 1))


def render_image(path: Path, prompt: str, *, width: int, height: int, tick: Tick) -> dict[str, object]:
    """Write a PNG to `path`. Drawn twice as large and made smaller, in bands that are the steps of its progress."""
    bands = 20
    scene = Scene(prompt, width, height)
    whole = scene.frame(0.35)
    picture = Image.new("RGB", whole.size)
    for band in range(bands):
        box = (0, whole.height * band // bands, whole.width, whole.height * (band + 1) // bands)
        picture.paste(whole.crop(box), box[:2])
        tick(band + 1, bands)
    picture.save(path, "PNG")
    return {"width": width, "height": height}
