"""Forms about sources that make videos and images. The service and the adapter judge what is in them."""

import json
from typing import Any

from django import forms
from django.db.models import QuerySet

from tasks_app.forms.generate import JsonField
from tasks_app.forms.sources import MAX_PEM_BYTES
from tasks_app.models import Source, Team
from tasks_app.services.generation_sources import LIMITS, MAX_KEY_CHARACTERS, MAX_LIMIT

_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
# What a new source of the dialect starts with. {}: what its adapter offers when nothing is declared.
USUAL: dict[str, dict[str, Any]] = {
    "task_api": {},
    "openai_videos": {},
    "comfyui": {},
    "fal": {"models": ["fal-ai/flux/schnell"]},
    "replicate": {"models": ["black-forest-labs/flux-schnell"]},
}
_PROMPT = {"name": "prompt", "type": "long_text", "required": True, "max_length": 2000}
_SECONDS = {"name": "duration", "type": "integer", "unit": "s", "minimum": 1, "maximum": 10, "default": 5}
# Shown beside the field, to take from.
SAMPLES: dict[str, dict[str, Any]] = {
    "task_api": {
        "offers": [
            {
                "key": "video",
                "kind": "video",
                "label": "Short video",
                "parameters": [_PROMPT, _SECONDS],
                "price": {"amount": 0.1, "currency": "USD", "per": "duration"},
            }
        ]
    },
    "openai_videos": {
        "offers": [
            {
                "key": "video",
                "kind": "video",
                "label": "Video",
                "fixed": {"model": "the-model"},
                "parameters": [
                    _PROMPT,
                    {"name": "seconds", "type": "choice", "choices": ["4", "8", "12"], "default": "4"},
                ],
            }
        ]
    },
    "comfyui": {
        "offers": [
            {
                "key": "picture",
                "kind": "image",
                "label": "Picture",
                "parameters": [_PROMPT],
                "workflow": {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}}},
                "inputs": {"prompt": ["6", "text"]},
            }
        ]
    },
    "fal": {
        "offers": [
            {
                "key": "flux",
                "kind": "image",
                "label": "Flux schnell",
                "app": "fal-ai/flux/schnell",
                "parameters": [
                    _PROMPT,
                    {"name": "image_size", "choices": ["square", "landscape_16_9"], "default": "square"},
                ],
            }
        ]
    },
    "replicate": {"models": ["black-forest-labs/flux-schnell"]},
}
EXAMPLES = {
    "task_api": "http://127.0.0.1:8500",
    "openai_videos": "https://api.example.com/v1",
    "comfyui": "http://127.0.0.1:8188",
    "fal": "https://queue.fal.run",
    "replicate": "https://api.replicate.com/v1",
}
FIXED_ADDRESS = frozenset({"fal", "replicate"})
"""Hosted services: their address is filled in, and may be changed to that of a gateway."""
PROFILES: dict[str, list[tuple[str, str]]] = {
    "openai_videos": [
        ("plain", "Plain"),
        ("vllm_omni", "vLLM-Omni"),
        ("openrouter", "OpenRouter"),
        ("xai", "xAI"),
    ],
    "comfyui": [("native", "ComfyUI itself"), ("v2", "Comfy API v2")],
}
KEYS_OPTIONAL = frozenset({"task_api", "openai_videos", "comfyui"})


def _secret_field(label: str, help_text: str) -> forms.CharField:
    widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"})
    return forms.CharField(
        required=False, max_length=MAX_KEY_CHARACTERS, label=label, help_text=help_text, widget=widget
    )


class GenerationSourceForm(forms.Form):
    """A source as it stands; without its key, which has a form of its own once it is stored."""

    name = forms.CharField(
        max_length=60, label="Name", help_text="How people will call it, for instance studio."
    )
    url = forms.CharField(max_length=500, label="Address", widget=forms.TextInput(attrs=_PLAIN))
    profile = forms.ChoiceField(label="Profile", help_text="Which relative of the dialect it speaks.")
    teams = forms.ModelMultipleChoiceField(
        queryset=Team.objects.none(),
        required=False,
        label="Teams that may use it",
        help_text="Who has a role on the source may use it without a team.",
        widget=forms.CheckboxSelectMultiple,
    )
    limit_total = forms.IntegerField(required=False, min_value=1, max_value=MAX_LIMIT, label="All")
    limit_image = forms.IntegerField(required=False, min_value=1, max_value=MAX_LIMIT, label="Images")
    limit_video = forms.IntegerField(required=False, min_value=1, max_value=MAX_LIMIT, label="Videos")
    webhook = forms.BooleanField(
        required=False,
        label="Ask it to call the portal when something changes",
        help_text="Only where it can reach the portal's address. Without it the portal asks, which always works.",
    )
    settings = JsonField(
        required=False,
        max_length=600_000,
        label="Offers and settings (JSON)",
        widget=forms.Textarea(attrs={"rows": 16, "spellcheck": "false", "class": "code settings-area"}),
    )
    fingerprints = forms.CharField(
        required=False,
        max_length=1000,
        label="Pinned certificate (SHA-256)",
        help_text="For a self-signed certificate: compare the fingerprint on the server, then paste it here.",
        widget=forms.Textarea(attrs={"rows": 2, "class": "code", "spellcheck": "false"}),
    )
    ca_pem = forms.CharField(
        required=False,
        max_length=MAX_PEM_BYTES,
        label="or the CA that vouches for it (PEM)",
        widget=forms.Textarea(
            attrs={
                "rows": 3,
                "class": "code",
                "spellcheck": "false",
                "placeholder": "-----BEGIN CERTIFICATE-----",
            }
        ),
    )

    def __init__(self, *args: Any, kind: str, teams: QuerySet[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        team = self.fields["teams"]
        assert isinstance(team, forms.ModelMultipleChoiceField)
        team.queryset = teams
        if not teams:
            del self.fields["teams"]
        if kind not in PROFILES:
            del self.fields["profile"]
        else:
            profile = self.fields["profile"]
            assert isinstance(profile, forms.ChoiceField)
            profile.choices = PROFILES[kind]
        self.fields["url"].widget.attrs["placeholder"] = EXAMPLES[kind]
        self.sample = json.dumps(SAMPLES[kind], indent=2)

    def clean_settings(self) -> dict[str, Any]:
        value = self.cleaned_data["settings"]
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise forms.ValidationError("The settings are a JSON object: {…}.")
        return value

    def clean_fingerprints(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["fingerprints"].splitlines() if line.strip()]

    def values(self) -> dict[str, Any]:
        """What the service takes besides the key; only for a valid form."""
        given = self.cleaned_data
        settings = {name: value for name, value in given["settings"].items() if name not in _OWN}
        limits = {name: given[f"limit_{name}"] for name in LIMITS if given[f"limit_{name}"] is not None}
        if limits:
            settings["limits"] = limits
        if given["webhook"]:
            settings["webhooks"] = True
        if given.get("profile"):
            settings["profile"] = given["profile"]
        return {
            "name": given["name"],
            "url": given["url"],
            "settings": settings,
            "teams": given.get("teams") or [],
            "fingerprints": given["fingerprints"],
            "ca_pem": given["ca_pem"],
        }


class NewGenerationSourceForm(GenerationSourceForm):
    """The same with the key, which goes in and never comes out again."""

    key = _secret_field("Key", "Stored encrypted, never shown again.")
    webhook_secret = _secret_field(
        "Secret of its webhooks", "With it the portal checks who calls. Stored encrypted, never shown again."
    )

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, kind=kind, **kwargs)
        if kind in KEYS_OPTIONAL:
            self.fields["key"].help_text = f"Empty for a server without one. {self.fields['key'].help_text}"
        else:
            self.fields["key"].required = True

    def values(self) -> dict[str, Any]:
        secrets = {name: self.cleaned_data[name] for name in ("key", "webhook_secret")}
        return super().values() | secrets


class KeyForm(forms.Form):
    """Another key. Left empty, what is stored stays; a box removes it."""

    key = _secret_field("New key", "Stored encrypted, never shown again. Empty: the stored one stays.")
    remove_key = forms.BooleanField(required=False, label="It needs no key: remove the stored one")
    webhook_secret = _secret_field("New secret of its webhooks", "Empty: the stored one stays.")
    remove_webhook_secret = forms.BooleanField(
        required=False, label="Remove the stored secret of its webhooks"
    )

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for name in ("key", "webhook_secret"):
            if given.get(name) and given.get(f"remove_{name}"):
                self.add_error(name, "Either a new one, or none.")
        if not any(given.values()) and not self.errors:
            raise forms.ValidationError("Nothing was given to change.")
        return given

    def wanted(self, name: str) -> str | None:
        """The new secret, "" to remove it, None to leave it; only for a valid form."""
        if self.cleaned_data[f"remove_{name}"]:
            return ""
        return self.cleaned_data[name] or None


# Settings with a field of their own; the JSON shows the rest.
_OWN = frozenset({"limits", "webhooks", "profile"})


def first_values(kind: str) -> dict[str, Any]:
    """What the form of a new source holds."""
    return {
        "url": EXAMPLES[kind] if kind in FIXED_ADDRESS else "",
        "settings": json.dumps(USUAL[kind], indent=2, ensure_ascii=False),
    }


def stored_values(source: Source) -> dict[str, Any]:
    """What the form of a stored source holds."""
    limits = source.settings.get("limits") or {}
    rest = {name: value for name, value in source.settings.items() if name not in _OWN}
    return {
        "name": source.name,
        "url": source.urls[0],
        "profile": source.settings.get("profile"),
        "teams": [team.pk for team in source.teams.all()],
        **{f"limit_{name}": limits.get(name) for name in LIMITS},
        "webhook": bool(source.settings.get("webhooks")),
        "settings": json.dumps(rest, indent=2, ensure_ascii=False),
        "fingerprints": "\n".join(source.fingerprints),
        "ca_pem": source.ca_pem,
    }
