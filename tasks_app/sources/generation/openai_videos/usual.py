"""What each profile offers when a source's settings declare no offers of their own."""

from tasks_app.sources.generation.base import Offer, Parameter

ASPECT_RATIOS = ("16:9", "9:16", "1:1")


def plain_offer(models: list[str]) -> Offer:
    return _video(
        *_model(models),
        _choice("seconds", "Duration", ("4", "8", "12"), unit="s"),
        _choice("size", "Size", ("720x1280", "1280x720", "1024x1792", "1792x1024"), default="1280x720"),
        _picture(
            "input_reference", "First picture", "The video starts from it; it must have the size above."
        ),
    )


def vllm_offer(models: list[str]) -> Offer:
    return _video(
        Parameter("negative_prompt", "What to avoid", "long_text", max_length=4000),
        *_model(models),
        Parameter("width", "Width", "integer", minimum=64, maximum=4096, unit="px"),
        Parameter("height", "Height", "integer", minimum=64, maximum=4096, unit="px"),
        Parameter("num_frames", "Frames", "integer", minimum=1, maximum=1000),
        Parameter("fps", "Frames per second", "integer", minimum=1, maximum=120),
        Parameter("num_inference_steps", "Steps", "integer", minimum=1, maximum=200),
        Parameter("guidance_scale", "Guidance", "number", minimum=0, maximum=30),
        Parameter("seed", "Seed", "integer", minimum=0, maximum=2**31 - 1),
        _picture("input_reference", "Picture", "For models that start from a picture."),
    )


def openrouter_offer(models: list[str]) -> Offer:
    return _video(
        *_model(models, required=True),
        Parameter("duration", "Duration", "integer", minimum=1, maximum=60, unit="s"),
        _choice("resolution", "Resolution", ("480p", "720p", "1080p")),
        _choice("aspect_ratio", "Shape", ASPECT_RATIOS),
        Parameter("seed", "Seed", "integer", minimum=0, maximum=2**31 - 1),
        _picture("first_frame", "First picture", "The video starts from it."),
        _picture("last_frame", "Last picture", "The video ends with it."),
    )


def xai_offer(models: list[str]) -> Offer:
    return _video(
        *_model(models or ["grok-imagine-video"], required=True),
        Parameter("duration", "Duration", "integer", default=8, minimum=1, maximum=15, unit="s"),
        _choice("resolution", "Resolution", ("480p", "720p")),
        _choice("aspect_ratio", "Shape", (*ASPECT_RATIOS, "4:3", "3:4", "3:2", "2:3")),
        _picture("image", "First picture", "The video starts from it."),
    )


def _video(*parameters: Parameter) -> Offer:
    prompt = Parameter("prompt", "Prompt", "long_text", required=True, max_length=4000)
    return Offer("video", "video", "Video", (prompt, *parameters))


def _model(models: list[str], *, required: bool = False) -> tuple[Parameter, ...]:
    """A choice among the settings' models; a text where the settings name none and one must be named."""
    if models:
        return (_choice("model", "Model", tuple(models), default=models[0]),)
    return (Parameter("model", "Model", required=True, max_length=200),) if required else ()


def _choice(
    name: str, label: str, values: tuple[str, ...], *, default: str | None = None, unit: str = ""
) -> Parameter:
    choices = tuple((value, value) for value in values)
    return Parameter(name, label, "choice", default=default, choices=choices, unit=unit)


def _picture(name: str, label: str, help_: str) -> Parameter:
    return Parameter(name, label, "image", help=help_)
