"""A model for cog that makes one fixed picture; it is run by cog in an environment of its own, never by the portal."""

import time

from cog import BasePredictor, Input

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR4nGNg+M9QDwADhgGAWNXnawAAAABJRU5ErkJggg=="
)


class Model(BasePredictor):
    """Logs a progress bar, then gives the picture, or fails when it is asked to."""

    def predict(self, prompt: str = Input(default="ok"), steps: int = Input(default=3)) -> str:
        for step in range(1, steps + 1):
            time.sleep(0.15)
            print(f"{100 * step // steps:3}%|####      | {step}/{steps}", flush=True)  # noqa: T201
        if prompt == "fail":
            raise ValueError("NSFW content detected")
        return PIXEL
