"""Settings of a generation source with every type of parameter, for tests of its pages."""

from typing import Any

VIDEO: dict[str, Any] = {
    "key": "video",
    "kind": "video",
    "label": "Short video",
    "price": {"amount": 0.1, "currency": "USD", "per": "duration"},
    "parameters": [
        {"name": "prompt", "type": "long_text", "required": True, "max_length": 2000},
        {"name": "duration", "type": "integer", "unit": "s", "minimum": 1, "maximum": 8, "default": 4},
        {"name": "guidance", "type": "number", "minimum": 0, "maximum": 10},
        {"name": "aspect_ratio", "type": "choice", "choices": ["16:9", "9:16"], "default": "16:9"},
        {"name": "style", "type": "choice", "choices": ["a", "b", "c", "d", "e"]},
        {"name": "first_frame", "type": "image"},
        {"name": "audio", "type": "boolean", "default": True},
        {"name": "negative", "type": "text", "max_length": 300},
        {"name": "extra", "type": "json"},
    ],
}
IMAGE: dict[str, Any] = {
    "key": "image",
    "kind": "image",
    "label": "Picture",
    "price": {"amount": 0.02, "currency": "USD"},
    "parameters": [{"name": "prompt", "type": "long_text", "required": True}],
}
SETTINGS: dict[str, Any] = {"offers": [VIDEO, IMAGE]}
