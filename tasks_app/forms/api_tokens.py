"""Making an API token."""

import uuid

from django import forms

FOR_EVER = "0"
DAYS = [("30", "30 days"), ("90", "90 days"), ("365", "A year"), (FOR_EVER, "Until I revoke it")]


class TokenForm(forms.Form):
    """The key makes a double click or a reload one token."""

    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    name = forms.CharField(
        max_length=60,
        label="What it is for",
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "name of a script or machine"}),
    )
    days = forms.ChoiceField(choices=DAYS, initial="90", label="Counts for")

    def chosen_days(self) -> int | None:
        """None when it has no end. Only for a valid form."""
        days: str = self.cleaned_data["days"]
        return None if days == FOR_EVER else int(days)
