"""What can be chosen of the audit trail, and how it is exported."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils.datastructures import MultiValueDict

from tasks_app.audit.actions import Action
from tasks_app.audit.filters import AuditFilters
from tasks_app.audit.formats import Format
from tasks_app.forms.moments import MomentField
from tasks_app.models import AuditEntry

_NAMES = {
    "q": "Text",
    "actor": "Person",
    "action": "Deed",
    "result": "Result",
    "source": "Source",
    "target": "Object",
    "request": "Request",
    "since": "From",
    "until": "Until",
}


class AuditFilterForm(forms.Form):
    """The filters of the audit trail, as they stand in the address. What is wrong in an address is left out.

    Names are those that the entries have kept: sources and people that are gone can be asked for. See AuditFilters.
    """

    q = forms.CharField(required=False, max_length=1000)
    actor = forms.CharField(required=False, max_length=200)
    action = forms.ChoiceField(
        required=False, choices=[("", "Any deed"), *((action.value, action.value) for action in Action)]
    )
    result = forms.ChoiceField(required=False, choices=[("", "Any result"), *AuditEntry.Result.choices])
    source = forms.CharField(required=False, max_length=60)
    target = forms.CharField(required=False, max_length=400)
    request = forms.CharField(required=False, max_length=40)
    since = MomentField(required=False)
    until = MomentField(required=False, is_end=True)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()

    @property
    def filters(self) -> AuditFilters:
        """The same as values."""
        chosen = dict(self.cleaned_data)
        return AuditFilters(text=chosen.pop("q", ""), **chosen)

    @property
    def chosen(self) -> dict[str, str]:
        """Filters that are set, by name, as they stand in the address."""
        return {name: str(self.data[name]).strip() for name, value in self.cleaned_data.items() if value}

    @property
    def chosen_words(self) -> list[str]:
        """The set filters for people: `Result: Refused`."""
        labels = dict(AuditEntry.Result.choices)
        return [
            f"{_NAMES[name]}: {labels.get(value, value) if name == 'result' else value}"
            for name, value in self.chosen.items()
        ]

    @property
    def query(self) -> str:
        """These filters as the query of an address."""
        return self.address()

    def address(self, **changes: str) -> str:
        """The query of an address with these filters, some of them changed; "" when none is left."""
        return urlencode({name: value for name, value in (self.chosen | changes).items() if value})


class ExportForm(forms.Form):
    """How an export is written. `bom`: a byte order mark before CSV, which some spreadsheets take for UTF-8."""

    format = forms.ChoiceField(choices=[(format.value, format.label) for format in Format])
    bom = forms.BooleanField(required=False)

    def __init__(self, data: "MultiValueDict[str, Any]") -> None:
        super().__init__(data)
        self.is_valid()
