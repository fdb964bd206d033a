"""How old entries are that shall go. The service judges the days."""

from django import forms

from tasks_app.services.audit_trail import SHORTEST_DAYS


class PurgeForm(forms.Form):
    days = forms.IntegerField(
        min_value=SHORTEST_DAYS,
        max_value=36_500,
        label="Remove what is older than",
        help_text=f"Days; at least {SHORTEST_DAYS}.",
    )
    reason = forms.CharField(
        required=False, max_length=500, label="Reason", help_text="It stands in the entry about the purge."
    )
    confirmed = forms.BooleanField(required=False)
