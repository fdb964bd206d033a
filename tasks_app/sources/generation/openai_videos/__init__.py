"""OpenAI-style videos: one dialect with four profiles, chosen by `settings["profile"]`.

`plain` (the default) is what most resellers speak, `vllm_omni` a server of one's own, `openrouter` and `xai` are close
relatives. The address may end where the API does (`https://host/api/v1`); a bare host gets the profile's usual path.

Settings: `profile`, `offers` (an offer may hold `fixed` values, such as its model), `model` or `models` for the offer
that is made when none is declared, `path` of the collection when it is not `…/videos`, `words` for status words,
`headers`, `encoding` of orders (auto, json, multipart), `lists` false where the remote has no list.
"""

from tasks_app.sources.generation import configured
from tasks_app.sources.generation.base import GenerationConnection, GenerationSource
from tasks_app.sources.generation.openai_videos.openrouter import OpenRouterVideos
from tasks_app.sources.generation.openai_videos.plain import PlainVideos, VllmOmniVideos
from tasks_app.sources.generation.openai_videos.source import VideosSource
from tasks_app.sources.generation.openai_videos.xai import XaiVideos

PROFILES: dict[str, type[VideosSource]] = {
    "plain": PlainVideos,
    "vllm_omni": VllmOmniVideos,
    "openrouter": OpenRouterVideos,
    "xai": XaiVideos,
}


def open_openai_videos(connection: GenerationConnection) -> GenerationSource:
    """The adapter of the profile. Raises ValueError when the settings make no sense."""
    profile = configured.text(connection.settings, "profile", "plain")
    if profile not in PROFILES:
        raise ValueError(f'"profile" is one of {", ".join(PROFILES)}.')
    return PROFILES[profile](connection)
