"""The form of the first start: who the first admin is."""

from typing import Any

from django import forms


class PasswordInput(forms.PasswordInput):
    """A new password: never sent back to the page, and password managers may suggest one."""

    def __init__(self) -> None:
        super().__init__(render_value=False, attrs={"autocomplete": "new-password"})


class SetupForm(forms.Form):
    """What the service says about the name and the password is added to these fields."""

    username = forms.CharField(
        max_length=150,
        initial="admin",
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    email = forms.EmailField(required=False, label="E-mail", help_text="For notices.")
    password = forms.CharField(
        strip=False,
        max_length=200,
        widget=PasswordInput,
        help_text="At least 10 characters. A sentence is good.",
    )
    password_again = forms.CharField(
        strip=False, max_length=200, widget=PasswordInput, label="Password once more"
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("password") and data["password"] != data.get("password_again"):
            self.add_error("password_again", "The two passwords differ.")
        return data
