"""The demo's generation service in the portal: what it offers, and the first things made there."""

from typing import Any

from django.contrib.auth.models import User

from tasks_app.models import Generation, Source, Team
from tasks_app.services import generation_sources
from tasks_app.services.generations import submit_generation

_PROMPT = {"name": "prompt", "label": "Prompt", "type": "long_text", "required": True, "max_length": 4000}
_DURATION = {
    "name": "duration",
    "label": "Duration",
    "type": "integer",
    "default": 5,
    "minimum": 1,
    "maximum": 10,
    "unit": "s",
}
_CAMERA = {
    "name": "camera_motion",
    "label": "Camera",
    "type": "choice",
    "default": "pan",
    "choices": [["static", "Still"], ["pan", "Pan"], ["tilt", "Tilt"], ["zoom", "Zoom"]],
}

SETTINGS: dict[str, Any] = {
    "offers": [
        {
            "key": "video",
            "kind": "video",
            "label": "Video from a prompt",
            "help": "Drawn and encoded on this machine's processor: balls and a camera move, no model.",
            "parameters": [
                _PROMPT,
                _DURATION,
                {
                    "name": "resolution",
                    "label": "Size",
                    "type": "choice",
                    "default": "1280x720",
                    "choices": ["1280x720", "640x360", "720x1280"],
                },
                _CAMERA,
                {
                    "name": "image",
                    "label": "Picture",
                    "type": "image",
                    "help": "Optional: what the camera moves over.",
                },
            ],
        },
        {
            "key": "image",
            "kind": "image",
            "label": "Image from a prompt",
            "path": "/api/v1/images/generate",
            "parameters": [
                _PROMPT,
                {
                    "name": "size",
                    "label": "Size",
                    "type": "choice",
                    "default": "1024x1024",
                    "choices": ["1024x1024", "1280x720", "720x1280"],
                },
            ],
        },
    ]
}
"""The task API's own video wants a picture; this service does without."""

# Who asks for what. The third waits in the portal: two videos are made at once.
_FIRST: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "alice",
        "video",
        {"prompt": "A lighthouse in the morning fog, the camera pans over the bay", "duration": 4},
    ),
    ("bob", "image", {"prompt": "A paper boat on a puddle, top view"}),
    (
        "alice",
        "video",
        {"prompt": "Lanterns rising over a lake at night", "duration": 8, "camera_motion": "zoom"},
    ),
    ("bob", "video", {"prompt": "Trailer for a forbidden film", "duration": 3}),
)


def seed(source: Source, team: Team) -> bool:
    """Open the source to `team` and let its members make the first videos; False when there are some already."""
    if Generation.objects.filter(task__source=source).exists():
        return False
    generation_sources.change_generation_source(source, actor=None, teams=[team])
    for number, (username, offer, parameters) in enumerate(_FIRST, start=1):
        submit_generation(
            source,
            actor=User.objects.get(username=username),
            offer=offer,
            parameters=parameters,
            uploads={},
            team=team,
            idempotency_key=f"demo-{number}",
        )
    return True
