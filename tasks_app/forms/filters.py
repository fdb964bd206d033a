"""Forms that only choose what is shown."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms

from portal.context import DENSITIES, THEMES
from tasks_app.kinds import KINDS
from tasks_app.models import Node, Source, TaskRollup
from tasks_app.models.source import SourceQuerySet
from tasks_app.services.history_filters import HistoryFilters
from tasks_app.states import ATTENTION, LABELS, OUTCOMES, WARNINGS, State

STATE_CHOICES = [
    ("", "Any state"),
    *((state.value, LABELS[state]) for state in State),
    (WARNINGS, OUTCOMES[WARNINGS]),
    (ATTENTION, "Needs attention"),
]
SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
SPAN_CHOICES = [("", "Any time"), ("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "Last 30 days")]


def _type_choices() -> list[tuple[str, str]]:
    """Kinds by their names; where two types share one, the type itself tells them apart."""
    shared = Counter(kind.label for kind in KINDS.values())
    named = [
        (t, f"{kind.label} ({t})" if shared[kind.label] > 1 else kind.label) for t, kind in KINDS.items()
    ]
    return [("", "Any type"), *sorted(named, key=lambda choice: choice[1].lower())]


TYPE_CHOICES = _type_choices()


def _pairs(field: forms.ChoiceField) -> list[tuple[str, str]]:
    """The choices of a field without groups."""
    return list(field.choices)  # type: ignore[arg-type]


def _has_history(node: str) -> bool:
    return TaskRollup.objects.filter(grain=TaskRollup.Grain.YEAR, node=node).exists()


class LooksForm(forms.Form):
    """One choice at a time, or several. `steps`: whether the dashboard shows the first steps."""

    theme = forms.ChoiceField(choices=[(name, name) for name in THEMES], required=False)
    density = forms.ChoiceField(choices=[(name, name) for name in DENSITIES], required=False)
    steps = forms.ChoiceField(choices=[("shown", "shown"), ("hidden", "hidden")], required=False)


class FilterForm(forms.Form):
    """What every list of tasks can be filtered by, as it stands in the address. What is wrong there is left out."""

    q = forms.CharField(required=False, max_length=1000, label="Text")
    type = forms.ChoiceField(required=False, label="Type")
    source = forms.ChoiceField(required=False, label="Source")
    node = forms.ChoiceField(required=False, label="Node")
    user = forms.CharField(required=False, max_length=200, label="By")

    def __init__(self, data: Any, *, sources: SourceQuerySet) -> None:
        super().__init__(data)
        self.sources: list[Source] = list(sources)
        nodes = Node.objects.filter(source__in=self.sources).order_by("name").values_list("name", flat=True)
        self._choose("source", [("", "Any source"), *((str(each.pk), each.name) for each in self.sources)])
        node_choices = [("", "Any node"), *((name, name) for name in dict.fromkeys(nodes))]
        # types that nobody has named yet, and nodes that are gone
        self._choose_or_keep("type", TYPE_CHOICES, lambda _: True)
        self._choose_or_keep("node", node_choices, _has_history)

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def _choose_or_keep(
        self, name: str, choices: list[tuple[str, str]], is_known: Callable[[str], bool]
    ) -> None:
        wanted = self.data.get(name, "")
        is_new = 0 < len(wanted) <= 60 and "\0" not in wanted and wanted not in dict(choices)
        self._choose(name, [*choices, (wanted, wanted)] if is_new and is_known(wanted) else choices)

    @property
    def chosen(self) -> dict[str, str]:
        """Filters that are set, by name."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value}

    @property
    def chosen_words(self) -> list[str]:
        """The set filters for people: `State: Failed`."""
        words = []
        for name, value in self.chosen.items():
            field = self.fields[name]
            choices = dict(_pairs(field)) if isinstance(field, forms.ChoiceField) else {}
            words.append(f"{field.label}: {choices.get(value, value)}")
        return words

    @property
    def chosen_beside_text(self) -> int:
        """How many filters are set that are not the search text."""
        return len([name for name in self.chosen if name != "q"])

    @property
    def query(self) -> str:
        """These filters as the query of an address."""
        return self.address()

    def address(self, **changes: str) -> str:
        """The query of an address with these filters, some of them changed; "" when none is left."""
        return urlencode({name: value for name, value in (self.chosen | changes).items() if value})

    @property
    def filters(self) -> HistoryFilters:
        """The filters as values."""
        chosen = self.chosen
        return HistoryFilters(
            text=chosen.get("q", ""),
            source=int(chosen["source"]) if "source" in chosen else None,
            node=chosen.get("node", ""),
            type=chosen.get("type", ""),
            user=chosen.get("user", ""),
        )

    @property
    def too_short(self) -> str:
        """What to tell somebody whose text cannot be looked up; "" when it can."""
        return "Type at least three characters of a word." if self.filters.is_too_short else ""


class TaskFilterForm(FilterForm):
    """The filters of the task list."""

    state = forms.ChoiceField(required=False, choices=STATE_CHOICES, label="State")
    since = forms.ChoiceField(required=False, choices=SPAN_CHOICES, label="Time")

    field_order = ("q", "state", "type", "source", "node", "user", "since")

    def __init__(self, data: Any, *, sources: SourceQuerySet, today: datetime) -> None:
        super().__init__(data, sources=sources)
        self.today = today
        self.is_valid()

    @property
    def selects(self) -> list[forms.BoundField]:
        """The choices beside text and person, in the order they are shown."""
        return [self[name] for name in ("state", "type", "source", "node", "since")]

    @property
    def filters(self) -> HistoryFilters:
        since = self.chosen.get("since")
        return dataclasses.replace(
            super().filters,
            outcome=self.chosen.get("state", ""),
            since=self.today - SPANS[since] if since else None,
        )
