"""Forms about sources: the steps of the wizard, and what is changed on a source later."""

import re
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from django import forms

from tasks_app.models import Source
from tasks_app.sources.proxmox import parse_address, pveum_commands
from tasks_app.sources.proxmox.inventory import Version

MAX_ADDRESSES = 8
MAX_PEM_BYTES = 64 * 1024


class AddressesField(forms.CharField):
    """One address per line; its value is a list of base URLs without repetition, in the given order."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {
            "rows": 3,
            "placeholder": "pve1.example.com",
            "spellcheck": "false",
            "autocapitalize": "none",
        }
        super().__init__(max_length=4000, widget=forms.Textarea(attrs=attrs), **kwargs)

    def clean(self, value: Any) -> list[str]:
        lines = re.split(r"[\s,;]+", super().clean(value))
        urls: dict[str, None] = {}
        problems = []
        for line in filter(None, lines):
            try:
                urls[parse_address(line)] = None
            except ValueError as error:
                problems.append(f"{line}: {error}")
        if problems:
            raise forms.ValidationError(problems)
        if not urls:
            raise forms.ValidationError("Enter at least one address.")
        if len(urls) > MAX_ADDRESSES:
            raise forms.ValidationError(f"{MAX_ADDRESSES} addresses are enough; one that answers will do.")
        return list(urls)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class AddressForm(forms.Form):
    urls = AddressesField(
        label="Addresses",
        help_text="A host, or the address you open Proxmox with. One per line: with several nodes of the same "
        "cluster the portal goes on when one is down. Port 8006 is added.",
    )


class MatchesForm(forms.Form):
    """For each fingerprint that a node shows: somebody compared it and says that it matches."""

    # not "matches": a field of that name hides a method of its form from scripts
    compared = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "required": "Compare the fingerprint on the node, then tick “Matches”.",
            "invalid_choice": "A certificate has changed while you compared. Compare it again.",
        },
    )

    def __init__(self, *args: Any, fingerprints: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fingerprints = list(fingerprints)
        field = self.fields["compared"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [
            (fingerprint, "Matches: I compared it on the node") for fingerprint in self.fingerprints
        ]

    def clean_compared(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["compared"]
        if set(chosen) != set(self.fingerprints):
            raise forms.ValidationError("Compare every certificate, or go back and leave that address out.")
        return chosen

    def boxes(self) -> dict[str, Any]:
        """Fingerprint → its check box."""
        return dict(zip(self.fingerprints, self["compared"], strict=True))


class AuthorityForm(forms.Form):
    """A CA to trust, pasted or as a file; its `ca_pem` is the PEM text."""

    ca_pem = forms.CharField(
        required=False,
        max_length=MAX_PEM_BYTES,
        label="CA certificate (PEM)",
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "placeholder": "-----BEGIN CERTIFICATE-----",
                "spellcheck": "false",
                "class": "code",
            }
        ),
    )
    ca_file = forms.FileField(
        required=False, label="or a file", widget=forms.FileInput(attrs={"accept": ".pem,.crt"})
    )

    def clean_ca_file(self) -> str:
        upload = self.cleaned_data.get("ca_file")
        if upload is None:
            return ""
        if upload.size > MAX_PEM_BYTES:
            raise forms.ValidationError("The file is larger than 64 KiB; a CA certificate has about 2 KiB.")
        return str(upload.read().decode("ascii", "replace"))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        pem = data.get("ca_file") or data.get("ca_pem") or ""
        if self.errors:
            return data
        if not pem.strip():
            raise forms.ValidationError("Paste the CA certificate or choose its file.")
        if "PRIVATE KEY" in pem:
            raise forms.ValidationError(
                "This holds a private key. Paste the certificate only (pve-root-ca.pem)."
            )
        try:
            x509.load_pem_x509_certificates(pem.encode())
        except ValueError:
            raise forms.ValidationError("This is not a certificate in PEM form.") from None
        data["ca_pem"] = pem.strip() + "\n"
        return data


class TokenForm(forms.Form):
    """A token. The secret goes in and never comes out again."""

    token_id = forms.RegexField(
        r"^[^\s:/=!@]+@[A-Za-z][\w.\-]+![A-Za-z][\w.\-]+$",
        max_length=200,
        label="Token ID",
        help_text="user@realm!name, for instance portal@pve!web",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
        error_messages={"invalid": "A token ID has the form user@realm!name, for instance portal@pve!web."},
    )
    token_secret = forms.RegexField(
        r"^[\x21-\x7e]+$",
        max_length=200,
        label="Secret",
        help_text="Shown once by Proxmox when the token is made. Stored encrypted, never shown again.",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        error_messages={"invalid": "A secret has no blanks and only plain characters."},
    )

    def clean_token_secret(self) -> str:
        secret: str = self.cleaned_data["token_secret"]
        if "=" in secret or "!" in secret:
            raise forms.ValidationError("Paste only the secret, without the token ID before it.")
        return secret


class CommandsForm(forms.Form):
    """What the portal shall be able to do; the commands that make such a token follow from it."""

    version = forms.TypedChoiceField(
        choices=[(9, "Proxmox VE 9"), (8, "Proxmox VE 8"), (7, "Proxmox VE 7")],
        coerce=int,
        initial=9,
        label="Version",
        help_text="Proxmox tells it only after signing in; its web page shows it at the top.",
    )
    power = forms.BooleanField(required=False, initial=True, label="Start, stop and reboot guests")
    snapshots = forms.BooleanField(required=False, initial=True, label="Make snapshots")
    clone = forms.BooleanField(required=False, initial=True, label="Clone guests")
    backups = forms.BooleanField(required=False, initial=True, label="Back up guests")
    cancel_others = forms.BooleanField(required=False, initial=True, label="Cancel tasks that others started")
    pool = forms.CharField(
        required=False, max_length=100, label="Only guests of this pool", help_text="Empty: all guests."
    )
    templates = forms.CharField(
        required=False,
        max_length=400,
        label="Templates to clone",
        help_text="Their VM IDs, for instance 9000 9001.",
    )
    storages = forms.CharField(
        required=False, max_length=400, label="Storages for clones", help_text="For instance local-lvm."
    )
    bridges = forms.CharField(
        required=False, max_length=400, label="Bridges for clones", help_text="For instance vmbr0."
    )
    user = forms.CharField(max_length=100, initial="portal@pve", label="User to make")
    token = forms.CharField(max_length=60, initial="web", label="Token name")

    def clean_templates(self) -> list[int]:
        words = _words(self.cleaned_data["templates"])
        if not all(word.isdecimal() and len(word) < 10 for word in words):
            raise forms.ValidationError("Write VM IDs as numbers, with blanks between them.")
        return [int(word) for word in words]

    def clean_storages(self) -> list[str]:
        return _words(self.cleaned_data["storages"])

    def clean_bridges(self) -> list[str]:
        return _words(self.cleaned_data["bridges"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors:
            try:
                self.commands = _commands(data)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from None
        return data

    @property
    def token_id(self) -> str:
        return f"{self.cleaned_data['user']}!{self.cleaned_data['token']}"

    @classmethod
    def usual_data(cls) -> dict[str, Any]:
        """What the form holds before anybody has chosen anything."""
        return {name: field.initial for name, field in cls.base_fields.items() if field.initial is not None}


def _words(text: str) -> list[str]:
    return list(filter(None, re.split(r"[\s,;]+", text)))


def _commands(data: dict[str, Any]) -> str:
    major = data["version"]
    choices = {name: value for name, value in data.items() if name != "version"}
    return pveum_commands(Version(f"{major}.0", f"{major}.0", major), **choices)


class NameForm(forms.Form):
    name = forms.CharField(
        max_length=60, label="Name", help_text="How people will call this cluster, for instance prod."
    )

    def __init__(self, *args: Any, source: Source | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.source = source

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = Source.objects.exclude(pk=self.source.pk) if self.source else Source.objects.all()
        if others.filter(name__iexact=name).exists():
            raise forms.ValidationError("Another source has this name.")
        return name


class ChangeSourceForm(NameForm):
    urls = AddressesField(
        label="Addresses",
        help_text="One per line, in the order they are tried. All must belong to this cluster.",
    )


class RemoveSourceForm(forms.Form):
    """Removing asks for the name, so that nobody removes the wrong one by a click."""

    name = forms.CharField(
        max_length=60, label="Type its name to confirm", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, source: Source, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.source = source

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.source.name:
            raise forms.ValidationError(f"That is not its name. It is called “{self.source.name}”.")
        return name
