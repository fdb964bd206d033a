"""Forms about whose a Proxmox user or token is. The service judges names."""

from typing import Any

from django import forms

from tasks_app.models import Source

_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class PersonForm(forms.Form):
    """Who it is; the page offers the names of those who can sign in."""

    person_name = forms.CharField(
        max_length=200,
        label="Person",
        help_text="The name with which they sign in here joins both; anybody else by any name.",
        widget=forms.TextInput(attrs=_PLAIN | {"list": "people"}),
    )


class IdentityForm(PersonForm):
    """A user or token, and who it is."""

    source = forms.ModelChoiceField(
        queryset=Source.objects.none(), required=False, empty_label="Every cluster", label="On"
    )
    remote_user = forms.CharField(
        max_length=301,
        label="Proxmox user",
        help_text="With its realm: ann@pve",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    remote_token = forms.CharField(
        max_length=100,
        required=False,
        label="Token",
        help_text="Its name, where a token is meant. A token is an identity of its own: it may be in other hands.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    field_order = ("source", "remote_user", "remote_token", "person_name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["source"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Source.objects.filter(kind=Source.PROXMOX).order_by("name")
