"""Which adapter speaks which dialect. Adding one means one word and one case here."""

from tasks_app.sources.generation.base import GenerationConnection, GenerationSource

DIALECTS: dict[str, str] = {
    "task_api": "Task API",
    "openai_videos": "OpenAI-style videos",
    "comfyui": "ComfyUI",
    "fal": "fal queue",
    "replicate": "Replicate",
}


def open_source(kind: str, connection: GenerationConnection) -> GenerationSource:
    """The adapter for `kind`, a key of DIALECTS. Raises ValueError when the settings make no sense.

    Each is imported when it is needed: a page that only names the dialects loads none.
    """
    match kind:
        case "task_api":
            from tasks_app.sources.generation.task_api import TaskApi

            return TaskApi(connection)
        case "openai_videos":
            from tasks_app.sources.generation.openai_videos import open_openai_videos

            return open_openai_videos(connection)
        case "fal":
            from tasks_app.sources.generation.fal import FalQueue

            return FalQueue(connection)
        case "comfyui":
            from tasks_app.sources.generation.comfyui import open_comfyui

            return open_comfyui(connection)
        case "replicate":
            from tasks_app.sources.generation.replicate import Replicate

            return Replicate(connection)
    raise ValueError(f'No adapter speaks "{kind[:60]}".')
