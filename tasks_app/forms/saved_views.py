"""What people fill in to keep a search under a name."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict

from tasks_app.forms.audit import AuditFilterForm
from tasks_app.forms.history import HistoryFilterForm
from tasks_app.models import Team
from tasks_app.services.saved_views import AUDIT, MOST_NAME_CHARACTERS, MOST_QUERY_CHARACTERS, TASKS


class ViewNameForm(forms.Form):
    """Opens over the page of the search, whose fields have ids of their own."""

    name = forms.CharField(
        max_length=MOST_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )

    def __init__(self, data: Any = None, *, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial, auto_id="view_%s")


class SaveViewForm(ViewNameForm):
    """`query` is that of the page's address; what is wrong in it is left out. Whose: nobody else's, or a team's."""

    team = forms.ModelChoiceField(
        Team.objects.none(), required=False, label="Who sees it", empty_label="Only me"
    )
    on = forms.ChoiceField(choices=[(TASKS, TASKS), (AUDIT, AUDIT)], required=False, widget=forms.HiddenInput)
    query = forms.CharField(
        required=False,
        max_length=MOST_QUERY_CHARACTERS,
        widget=forms.HiddenInput,
        error_messages={"max_length": "This search is too long to be kept."},
    )

    def __init__(self, data: Any = None, *, user: User, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        self.user = user
        teams = self.fields["team"]
        assert isinstance(teams, forms.ModelChoiceField)
        teams.queryset = Team.objects.of(user).select_related("group")

    @property
    def words(self) -> list[str]:
        """The search in words for people."""
        return self._search.chosen_words

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        cleaned["query"] = self._search.query
        return cleaned

    @property
    def _search(self) -> HistoryFilterForm | AuditFilterForm:
        query = QueryDict(str(self["query"].value() or "")[:MOST_QUERY_CHARACTERS])
        if self["on"].value() == AUDIT:
            return AuditFilterForm(query)
        return HistoryFilterForm(query, user=self.user)
