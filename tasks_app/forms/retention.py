"""How long ended tasks are kept, as people write it: days for each kind, or nothing for ever."""

from collections.abc import Mapping
from typing import Any

from django import forms

from tasks_app.kinds import HISTORY_FAMILIES
from tasks_app.services.retention import LONGEST_DAYS, SHORTEST_DAYS


class RetentionForm(forms.Form):
    """One field for each family. `previewed` holds the periods whose preview the person has in front of them."""

    previewed = forms.CharField(required=False, max_length=2000, widget=forms.HiddenInput)

    def __init__(self, *args: Any, current: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for family, label in HISTORY_FAMILIES.items():
            self.fields[family] = forms.IntegerField(
                required=False,
                min_value=SHORTEST_DAYS,
                max_value=LONGEST_DAYS,
                label=label,
                initial=current.get(family),
                widget=forms.NumberInput(attrs={"placeholder": "for ever"}),
            )

    def periods(self) -> dict[str, int]:
        """Days by family; only of a valid form."""
        days = {family: self.cleaned_data[family] for family in HISTORY_FAMILIES}
        return {family: int(value) for family, value in days.items() if value is not None}

    @property
    def is_previewed(self) -> bool:
        """Whether what is sent is what the preview was of."""
        return bool(self.cleaned_data["previewed"] == as_words(self.periods()))


def as_words(periods: Mapping[str, int]) -> str:
    """`backup=365 start=30`, the same for the same periods; "-" for none."""
    return " ".join(f"{family}={days}" for family, days in sorted(periods.items())) or "-"
