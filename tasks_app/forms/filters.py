"""Forms that only choose what is shown."""

from django import forms

from portal.context import DENSITIES, THEMES


class LooksForm(forms.Form):
    """One choice at a time, or both."""

    theme = forms.ChoiceField(choices=[(name, name) for name in THEMES], required=False)
    density = forms.ChoiceField(choices=[(name, name) for name in DENSITIES], required=False)
