"""ComfyUI in both of its dialects: the server's own HTTP routes (native) and Comfy API v2 in front of it."""

from collections.abc import Callable

from tasks_app.sources.generation.base import GenerationConnection, GenerationSource
from tasks_app.sources.generation.comfyui.native import NativeComfyUi
from tasks_app.sources.generation.comfyui.v2 import ComfyV2

PROFILES: dict[str, Callable[[GenerationConnection], GenerationSource]] = {
    "native": NativeComfyUi,
    "v2": ComfyV2,
}


def open_comfyui(connection: GenerationConnection) -> GenerationSource:
    """The adapter that `settings["profile"]` names, native without one. Raises ValueError for a strange setting.

    `settings["offers"]` are declared offers (see `offers`), each with a `workflow` in API format and `inputs` (see
    `workflows`); without any, two offers that need no model show that the server works.
    """
    profile = connection.settings.get("profile") or "native"
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ValueError('"profile" of a ComfyUI source is native or v2.')
    return PROFILES[profile](connection)
