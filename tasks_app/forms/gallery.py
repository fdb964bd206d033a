"""Which results the gallery shows. Everything stands in the address, and what is wrong there is left out."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from tasks_app.models import Generation, Source, Team
from tasks_app.models.generation import GenerationQuerySet

MINE = "mine"


class GalleryForm(forms.Form):
    q = forms.CharField(required=False, max_length=500, label="Search")
    whose = forms.ChoiceField(required=False, label="Whose")
    source = forms.ChoiceField(required=False, label="Source")
    kind = forms.ChoiceField(
        required=False, choices=[("", "Videos and images"), *Generation.Kind.choices], label="Kind"
    )
    kept = forms.ChoiceField(required=False, choices=[("", "Kept or not"), ("1", "Kept")], label="Kept")

    def __init__(self, data: Any, *, user: User, sources: QuerySet[Source], teams: QuerySet[Team]) -> None:
        super().__init__(data)
        self.user = user
        team_choices = [(f"team-{team.pk}", f"Team {team}") for team in teams]
        self._choose("whose", [("", "Mine and my teams’"), (MINE, "Mine"), *team_choices])
        self._choose("source", [("", "Any source"), *((str(each.pk), each.name) for each in sources)])
        self.is_valid()

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def chosen(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.cleaned_data.items() if value}

    @property
    def chosen_beside_text(self) -> int:
        """How many filters are set that are not the search text."""
        return len([name for name in self.chosen if name != "q"])

    @property
    def selects(self) -> list[forms.BoundField]:
        return [self[name] for name in ("whose", "kind", "source", "kept")]

    @property
    def chosen_words(self) -> list[str]:
        """The set filters for people."""
        words = []
        for name, value in self.chosen.items():
            field = self.fields[name]
            choices = dict(field.choices) if isinstance(field, forms.ChoiceField) else {}  # type: ignore[arg-type]
            words.append(f"{field.label}: {choices.get(value, value)}")
        return words

    def address(self, **changes: str) -> str:
        """The query of an address with these filters, some of them changed."""
        return urlencode({name: value for name, value in (self.chosen | changes).items() if value})

    def apply(self, made: GenerationQuerySet) -> GenerationQuerySet:
        chosen = self.chosen
        whose = chosen.get("whose", "")
        if whose == MINE:
            made = made.filter(actor=self.user)
        elif whose:
            made = made.filter(team=int(whose.removeprefix("team-")))
        if "source" in chosen:
            made = made.filter(task__source=int(chosen["source"]))
        if "kind" in chosen:
            made = made.filter(kind=chosen["kind"])
        if "kept" in chosen:
            made = made.filter(kept_at__isnull=False)
        for word in chosen.get("q", "").split():
            # SQLite compares only ASCII without regard to case; the task's text is in lower case already
            made = made.filter(Q(prompt__icontains=word) | Q(task__search_text__contains=word.lower()))
        return made
