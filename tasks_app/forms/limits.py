"""Time limits as people write them: minutes and hours."""

from collections.abc import Mapping
from typing import Any

from django import forms

from tasks_app.kinds import FAMILIES, HOUR, MINUTE

LONGEST_MINUTES = 7 * 24 * 60


def minutes_words(seconds: int) -> str:
    """`4 h`, `90 min`: hours where they are whole."""
    return f"{seconds // HOUR} h" if seconds % HOUR == 0 else f"{seconds // MINUTE} min"


class LimitsForm(forms.Form):
    """One field for each family, in minutes."""

    def __init__(self, *args: Any, current: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, family in FAMILIES.items():
            self.fields[name] = forms.IntegerField(
                min_value=1,
                max_value=LONGEST_MINUTES,
                label=family.label,
                initial=current[name] // MINUTE,
                help_text=f"minutes; usually {minutes_words(family.seconds)}",
            )

    def seconds(self) -> dict[str, int]:
        """By family."""
        return {name: int(self.cleaned_data[name]) * MINUTE for name in FAMILIES}
