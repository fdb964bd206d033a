"""The filters of the history. Everything stands in the address; what is wrong there is left out."""

import dataclasses
from typing import TYPE_CHECKING, Any

from django import forms

from tasks_app.forms.filters import STATE_CHOICES, FilterForm
from tasks_app.forms.moments import MomentField
from tasks_app.models import Source, Team
from tasks_app.services.history_filters import UNKNOWN, HistoryFilters
from tasks_app.states import ATTENTION, OUTCOMES

if TYPE_CHECKING:
    from django.contrib.auth.models import User

OUTCOME_CHOICES = [("", "Any outcome"), (ATTENTION, dict(STATE_CHOICES)[ATTENTION]), *OUTCOMES.items()]


class HistoryFilterForm(FilterForm):
    outcome = forms.ChoiceField(required=False, choices=OUTCOME_CHOICES, label="Outcome")
    person = forms.CharField(required=False, max_length=200, label="Person")
    vmid = forms.IntegerField(required=False, min_value=1, max_value=999_999_999, label="VMID")
    team = forms.ChoiceField(required=False, label="Team")
    since = MomentField(required=False, label="From")
    until = MomentField(required=False, is_end=True, label="Until")
    request = forms.CharField(required=False, max_length=40, label="Request")

    field_order = (
        *("q", "outcome", "type", "source", "node", "user", "person"),
        *("vmid", "team", "since", "until", "request"),
    )

    def __init__(self, data: Any, *, user: "User") -> None:
        super().__init__(data, sources=Source.objects.visible_to(user))
        self.fields["user"].label = "Proxmox user"
        teams = Team.objects.visible_to(user).select_related("group")
        self._choose("team", [("", "Any team"), *((str(team.pk), str(team)) for team in teams)])
        self.is_valid()

    @property
    def chosen(self) -> dict[str, str]:
        # As they were written, so that "7d" in a saved view goes on meaning the last seven days.
        written = {
            name: self.data[name].strip() for name in ("since", "until") if self.cleaned_data.get(name)
        }
        return super().chosen | written

    @property
    def selects(self) -> list[forms.BoundField]:
        """The choices, in the order they are shown."""
        return [self[name] for name in ("outcome", "type", "source", "node", "team")]

    @property
    def chosen_words(self) -> list[str]:
        unknown = f"Person: {UNKNOWN}"
        return ["Person: not known" if words == unknown else words for words in super().chosen_words]

    @property
    def filters(self) -> HistoryFilters:
        chosen = self.chosen
        return dataclasses.replace(
            super().filters,
            outcome=chosen.get("outcome", ""),
            person=chosen.get("person", ""),
            vmid=int(chosen["vmid"]) if "vmid" in chosen else None,
            team=int(chosen["team"]) if "team" in chosen else None,
            request=chosen.get("request", ""),
            since=self.cleaned_data.get("since"),
            until=self.cleaned_data.get("until"),
        )
