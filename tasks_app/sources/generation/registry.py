"""Which adapter speaks which dialect. Adding one means one line here."""

from collections.abc import Callable

from tasks_app.sources.generation.base import GenerationConnection, GenerationSource

DIALECTS: dict[str, str] = {
    "task_api": "Task API",
    "openai_videos": "OpenAI-style videos",
    "comfyui": "ComfyUI",
    "fal": "fal queue",
    "replicate": "Replicate",
}


def open_source(kind: str, connection: GenerationConnection) -> GenerationSource:
    """The adapter for `kind`, a key of DIALECTS. Raises ValueError when the settings make no sense."""
    return _makers()[kind](connection)


def _makers() -> dict[str, Callable[[GenerationConnection], GenerationSource]]:
    from tasks_app.sources.generation.task_api import TaskApi

    return {"task_api": TaskApi}
