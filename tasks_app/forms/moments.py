"""A moment as it stands in an address: a day, a time of a day, or how long ago."""

import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import get_current_timezone, is_naive, make_aware, now

_AGO = re.compile(r"(\d{1,5})([hd])", re.ASCII)


class MomentField(forms.CharField):
    """`2026-11-20`, `2026-11-20T14:30` (with or without a zone), or `24h` and `7d` before now; cleans to a datetime.

    Without a zone it is the portal's. `is_end`: a day means its end, so that "until the 20th" has all of the 20th.
    """

    def __init__(self, *, is_end: bool = False, **kwargs: Any) -> None:
        super().__init__(max_length=40, **kwargs)
        self.is_end = is_end

    def clean(self, value: Any) -> datetime | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            moment = self._parse(text)
        except (ValueError, OverflowError):  # the 31st of February, a year before the first
            moment = None
        if moment is None:
            raise forms.ValidationError(
                "Give a day like 2026-11-20, a time like 2026-11-20T14:30, or 24h or 7d."
            )
        return moment

    def _parse(self, text: str) -> datetime | None:
        if ago := _AGO.fullmatch(text):
            number = int(ago[1])
            return now() - (timedelta(hours=number) if ago[2] == "h" else timedelta(days=number))
        moment: datetime | None
        if day := parse_date(text):
            moment = datetime(day.year, day.month, day.day) + timedelta(days=1 if self.is_end else 0)
        else:  # a plus in an address is a blank
            moment = parse_datetime(re.sub(r" (\d\d:\d\d)$", r"+\1", text))
        if moment is None or not 1970 <= moment.year <= 9000:
            return None
        return make_aware(moment, get_current_timezone()) if is_naive(moment) else moment
