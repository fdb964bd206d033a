"""Forms that only choose what is shown."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.db.models import Q

from portal.context import DENSITIES, THEMES
from tasks_app.kinds import KINDS
from tasks_app.models import Node, Source, Submission
from tasks_app.models.source import SourceQuerySet
from tasks_app.models.task import TaskQuerySet
from tasks_app.states import LABELS, State

# What can be asked for beside the states themselves.
WARNINGS, ATTENTION = "warnings", "attention"
STATE_CHOICES = [
    ("", "Any state"),
    *((state.value, LABELS[state]) for state in State),
    (WARNINGS, "Completed with warnings"),
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


class LooksForm(forms.Form):
    """One choice at a time, or several. `steps`: whether the dashboard shows the first steps."""

    theme = forms.ChoiceField(choices=[(name, name) for name in THEMES], required=False)
    density = forms.ChoiceField(choices=[(name, name) for name in DENSITIES], required=False)
    steps = forms.ChoiceField(choices=[("shown", "shown"), ("hidden", "hidden")], required=False)


class TaskFilterForm(forms.Form):
    """The filters of the task list, as they stand in the address. What is wrong in an address is left out."""

    q = forms.CharField(required=False, max_length=1000)
    state = forms.ChoiceField(required=False, choices=STATE_CHOICES)
    type = forms.ChoiceField(required=False)
    source = forms.ChoiceField(required=False)
    node = forms.ChoiceField(required=False)
    user = forms.CharField(required=False, max_length=200)
    since = forms.ChoiceField(required=False, choices=SPAN_CHOICES)

    def __init__(self, data: Any, *, sources: SourceQuerySet) -> None:
        super().__init__(data)
        self.sources: list[Source] = list(sources)
        nodes = Node.objects.filter(source__in=self.sources).order_by("name").values_list("name", flat=True)
        self._choose("source", "Any source", [(str(source.pk), source.name) for source in self.sources])
        self._choose("node", "Any node", [(name, name) for name in dict.fromkeys(nodes)])
        self._choose("type", "", TYPE_CHOICES)
        wanted = self.data.get("type", "")
        if wanted and len(wanted) <= 60 and wanted not in KINDS:
            # a type nobody has named yet
            self._choose("type", "", [*TYPE_CHOICES, (wanted, wanted)])
        self.is_valid()

    def _choose(self, name: str, empty: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", empty), *choices] if empty else choices

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
            words.append(f"{_NAMES[name]}: {choices.get(value, value)}")
        return words

    @property
    def selects(self) -> list[forms.BoundField]:
        """The choices beside text and person, in the order they are shown."""
        return [self[name] for name in ("state", "type", "source", "node", "since")]

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

    def apply(self, tasks: TaskQuerySet, *, today: datetime) -> TaskQuerySet:
        """The tasks that pass every filter."""
        return self._in_state(self.apply_besides_state(tasks), today)

    def apply_besides_state(self, tasks: TaskQuerySet) -> TaskQuerySet:
        """The tasks that pass the filters other than state and time; the chips count among these."""
        chosen = self.chosen
        plain = {"type": "type", "source": "source_id", "node": "node"}
        tasks = tasks.filter(**{field: chosen[name] for name, field in plain.items() if name in chosen})
        if "user" in chosen:
            portal = Submission.objects.filter(actor_name__icontains=chosen["user"])
            tasks = tasks.filter(
                Q(remote_user__icontains=chosen["user"]) | Q(submission__in=portal.values("pk"))
            )
        if "q" in chosen:
            tasks = tasks.filter(self._search(chosen["q"].strip()))
        return tasks

    def _in_state(self, tasks: TaskQuerySet, today: datetime) -> TaskQuerySet:
        chosen = self.chosen
        state = chosen.get("state", "")
        if state == WARNINGS:
            tasks = tasks.filter(state=State.COMPLETED, warnings__gt=0)
        elif state == ATTENTION:
            tasks = tasks.unacknowledged_failures()
        elif state == State.COMPLETED:
            # those with warnings are shown apart everywhere
            tasks = tasks.filter(state=state, warnings=0)
        elif state:
            tasks = tasks.filter(state=state)
        if "since" in chosen:
            tasks = tasks.filter(started_at__gte=today - SPANS[chosen["since"]])
        return tasks

    def _search(self, text: str) -> Q:
        """A pasted UPID finds its task, a number the guest, anything else what is written about the task."""
        if text.startswith("UPID:"):
            # with the sources, because that is how UPIDs are indexed
            return Q(remote_id=text, source__in=self.sources)
        if text.isascii() and text.isdigit() and len(text) <= 9:
            number = int(text)
            names = Q(object_name__contains=text) | Q(new_name__contains=text)
            return Q(vmid=number) | Q(new_vmid=number) | names
        return Q(search_text__contains=text.lower())


_NAMES = {
    "q": "Text",
    "state": "State",
    "type": "Type",
    "source": "Source",
    "node": "Node",
    "user": "By",
    "since": "Time",
}
