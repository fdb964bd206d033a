"""Forms about people, their passwords and their roles. The services judge names and passwords."""

from typing import Any

from django import forms

from tasks_app.forms.setup import PasswordInput
from tasks_app.models import Role, Source

ROLE_WORDS = {
    Role.VIEWER: "Viewer: sees tasks, logs and guests",
    Role.OPERATOR: "Operator: also starts, stops, clones, cancels and acknowledges",
    Role.AUDITOR: "Auditor: sees everything and the audit trail, changes nothing",
    Role.ADMIN: "Admin: everything an operator may, and changes the source; on all sources also people",
}


class AddPersonForm(forms.Form):
    """A person with a first password, which the admin hands over and the person then changes."""

    username = forms.CharField(
        max_length=150,
        help_text="Letters, digits and @ . + - _",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    email = forms.EmailField(required=False, label="E-mail")
    password = forms.CharField(
        strip=False,
        max_length=200,
        widget=PasswordInput,
        label="First password",
        help_text="At least 10 characters. Hand it over; they change it in the menu under their name.",
    )


class ChangePersonForm(forms.Form):
    email = forms.EmailField(required=False, label="E-mail")


class PasswordForm(forms.Form):
    password = forms.CharField(
        strip=False,
        max_length=200,
        widget=PasswordInput,
        label="New password",
        help_text="Ends all their sessions.",
    )


class GrantForm(forms.Form):
    """A role on one source, or on all of them when none is chosen."""

    role = forms.ChoiceField(choices=list(ROLE_WORDS.items()))
    source = forms.ModelChoiceField(
        queryset=Source.objects.none(), required=False, empty_label="All sources", label="On"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["source"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Source.objects.order_by("name")
