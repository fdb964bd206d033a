"""The form that makes a video or an image, drawn from what its source declares. The service judges again."""

import json
import math
import uuid
from collections.abc import Iterable
from typing import Any, NoReturn

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet

from tasks_app.errors import InvalidInput
from tasks_app.models import Team
from tasks_app.services.generations import MAX_MINUTES
from tasks_app.sources.generation.base import Offer, Parameter, Upload
from tasks_app.sources.generation.parameters import MAX_JSON, MAX_TEXT

PICTURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_PREFIX = "p-"
_CHOICE_CARDS = 4  # more choices than this become a list to choose from


class PictureField(forms.FileField):
    """A picture within the size limit; its value is an Upload. The type is read from the bytes, not believed."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"accept": ",".join(PICTURES), "data-picture": "", "data-max-bytes": max_upload_bytes()}
        super().__init__(
            max_length=200,
            widget=forms.FileInput(attrs=attrs),
            error_messages={
                "max_length": "The name of the file is longer than 200 characters.",
                "empty": "The file is empty.",
                "required": "Choose a picture.",
            },
            **kwargs,
        )

    def clean(self, data: Any, initial: Any = None) -> Any:
        file = super().clean(data, initial)
        return self._upload(file) if isinstance(file, UploadedFile) else None

    def _upload(self, file: Any) -> Upload:
        if (file.size or 0) > max_upload_bytes():
            size = (file.size or 0) / 1_000_000
            raise forms.ValidationError(
                f"The picture has {size:.1f} MB; at most {settings.UPLOAD_MAX_MB} MB are allowed. "
                "Make it smaller, then choose it again."
            )
        content = file.read()
        media_type = picture_type(content)
        if not media_type:
            raise forms.ValidationError("This is no PNG, JPEG, GIF or WebP picture.")
        name = "".join(each if each.isprintable() else "\ufffd" for each in file.name or "")
        return Upload(name=name or "picture", media_type=media_type, content=content)


def max_upload_bytes() -> int:
    return settings.UPLOAD_MAX_MB * 1_000_000


def picture_type(content: bytes) -> str:
    """The media type by the first bytes; "" for anything but a picture we send."""
    for media_type, beginnings in PICTURES.items():
        if content.startswith(beginnings) and (media_type != "image/webp" or content[8:12] == b"WEBP"):
            return media_type
    return ""


class JsonField(forms.CharField):
    """Text that holds JSON; its value is what it says, None when it is empty."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                f"This is no JSON: {error.msg}, line {error.lineno}, column {error.colno}."
            ) from None
        except (ValueError, RecursionError):
            raise forms.ValidationError("This is no JSON that can be used.") from None

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else json.dumps(value, indent=2)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


class GenerateForm(forms.Form):
    """What is asked besides the offer's own parameters, which stand in fields named `p-<parameter>`.

    The hidden key is made when the form is drawn and stays when it is drawn again with errors.
    """

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    team = forms.ModelChoiceField(queryset=Team.objects.none(), label="For team")
    minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_MINUTES,
        label="Cancel it if it takes longer than",
        help_text="Counted from now. Empty: it may take as long as it takes.",
    )

    def __init__(
        self, *args: Any, offer: Offer, teams: QuerySet[Team], needs_team: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.offer = offer
        team = self.fields["team"]
        assert isinstance(team, forms.ModelChoiceField)
        team.queryset = teams
        team.required = needs_team
        team.empty_label = None if needs_team else "No team"
        if needs_team:
            team.initial = teams.first()
        for parameter in offer.parameters:
            field = field_of(parameter)
            field.widget.attrs["data-parameter"] = parameter.name
            self.fields[_PREFIX + parameter.name] = field
            self.initial.setdefault(_PREFIX + parameter.name, parameter.default)

    def parameter_fields(self) -> Iterable[tuple[forms.BoundField, Parameter]]:
        """The offer's own fields with their declarations, in the declared order."""
        return [(self[_PREFIX + parameter.name], parameter) for parameter in self.offer.parameters]

    def parameters(self) -> dict[str, Any]:
        """What was given, by parameter; only for a valid form."""
        given = {}
        for parameter in self.offer.parameters:
            value = self.cleaned_data[_PREFIX + parameter.name]
            if parameter.type != "image" and value not in (None, ""):
                given[parameter.name] = value
        return given

    def uploads(self) -> dict[str, Upload]:
        chosen = {name: self.cleaned_data[_PREFIX + name] for name in self._pictures()}
        return {name: upload for name, upload in chosen.items() if upload is not None}

    def lost_pictures(self) -> list[str]:
        """Labels of pictures that were sent with a form that comes back: a browser forgets them."""
        sent = set(self.files) if self.is_bound and self.errors else set()
        return [str(self.fields[_PREFIX + name].label) for name in self._pictures() if _PREFIX + name in sent]

    def refuse(self, error: InvalidInput) -> None:
        """Put what the service refused onto its fields; what has no field stands above the form."""
        for name, text in error.fields.items():
            field = _PREFIX + name if _PREFIX + name in self.fields else name
            self.add_error(field if field in self.fields else None, text)

    def _pictures(self) -> list[str]:
        return [parameter.name for parameter in self.offer.parameters if parameter.type == "image"]


def field_of(parameter: Parameter) -> forms.Field:
    """The field for one declared parameter, with its bounds in native attributes too."""
    common: dict[str, Any] = {
        "label": parameter.label,
        "required": parameter.required,
        "help_text": _help(parameter),
    }
    if parameter.type == "integer":
        low = None if parameter.minimum is None else math.ceil(parameter.minimum)
        high = None if parameter.maximum is None else math.floor(parameter.maximum)
        return forms.IntegerField(min_value=low, max_value=high, **common)
    if parameter.type == "number":
        widget = forms.NumberInput(attrs={"step": "any"})
        return forms.FloatField(
            min_value=parameter.minimum, max_value=parameter.maximum, widget=widget, **common
        )
    if parameter.type == "choice":
        return _choice_field(parameter, common)
    if parameter.type == "boolean":
        return forms.BooleanField(**(common | {"required": False}))
    if parameter.type == "image":
        return PictureField(**common)
    rows = {"long_text": 5, "json": 8}.get(parameter.type)
    attrs: dict[str, Any] = {"rows": rows} if rows else {}
    longest = parameter.max_length or MAX_TEXT
    if parameter.type == "json":
        attrs |= {"class": "code", "spellcheck": "false"}
        return JsonField(max_length=MAX_JSON, widget=forms.Textarea(attrs=attrs), **common)
    if parameter.type == "long_text":
        return forms.CharField(max_length=longest, widget=forms.Textarea(attrs=attrs), **common)
    return forms.CharField(max_length=longest, **common)


def _choice_field(parameter: Parameter, common: dict[str, Any]) -> forms.ChoiceField:
    choices = list(parameter.choices)
    if not parameter.required and parameter.default in (None, ""):
        choices.insert(0, ("", "The provider’s choice"))
    widget = forms.RadioSelect if len(choices) <= _CHOICE_CARDS else forms.Select
    return forms.ChoiceField(choices=choices, widget=widget, **common)


def _help(parameter: Parameter) -> str:
    """The declared help, and the bounds in words."""
    words = [parameter.help.strip()] if parameter.help.strip() else []
    low, high = parameter.minimum, parameter.maximum
    unit = f" {parameter.unit}" if parameter.unit else ""
    if low is not None and high is not None:
        words.append(f"{low:g} to {high:g}{unit}.")
    elif high is not None:
        words.append(f"At most {high:g}{unit}.")
    elif low is not None:
        words.append(f"At least {low:g}{unit}.")
    elif parameter.type == "image":
        words.append(f"PNG, JPEG, GIF or WebP, at most {settings.UPLOAD_MAX_MB} MB.")
    return " ".join(words)


class RetryForm(forms.Form):
    """Making it again. Where nobody knows whether it was made already, somebody must have looked."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    confirmed = forms.BooleanField(
        required=False,
        label="I looked at the provider: it was not made, or may be made twice",
        error_messages={"required": "Tick this when you have looked."},
    )

    def __init__(self, *args: Any, is_unknown: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["confirmed"].required = is_unknown
