"""What people fill in, and what pages ask for, about one task."""

from django import forms
from django.http import QueryDict

LOG_PAGE_LINES = 500  # lines of one answer, and of a page without a script


class CancelForm(forms.Form):
    """Why, for the audit trail."""

    reason = forms.CharField(required=False, max_length=500)


class AcknowledgeForm(forms.Form):
    """What was found, for those who look later."""

    note = forms.CharField(required=False, max_length=500)


class LogForm(forms.Form):
    """Which lines: above `after`, or the ones just below `before`, or the numbers of those that hold `find`."""

    after = forms.IntegerField(required=False, min_value=0, max_value=2**31)
    before = forms.IntegerField(required=False, min_value=1, max_value=2**31)
    limit = forms.IntegerField(required=False, min_value=1, max_value=LOG_PAGE_LINES)
    find = forms.CharField(required=False, max_length=200, strip=False)
    only_errors = forms.BooleanField(required=False)

    def span(self, total: int) -> tuple[int, int]:
        """(after, limit); without a wish the last lines of `total`."""
        wish = self.cleaned_data
        limit = wish["limit"] or LOG_PAGE_LINES
        if wish["after"] is not None:
            return wish["after"], limit
        end = wish["before"] or total + 1
        after = max(0, end - 1 - limit)
        return after, max(0, end - 1 - after)


class AcknowledgeManyForm(AcknowledgeForm):
    """The failures that were ticked in a list, and the query of its address."""

    task = forms.TypedMultipleChoiceField(
        coerce=int, error_messages={"required": "Tick the failures that you have seen."}
    )
    query = forms.CharField(required=False, max_length=4000)

    _MOST = 200
    _LONGEST = 18  # digits of a key

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        field = self.fields["task"]
        assert isinstance(field, forms.TypedMultipleChoiceField)
        # Any key may be sent; what the person may not see is not found.
        field.choices = [(text, text) for text in data.getlist("task")[: self._MOST] if self._is_key(text)]

    def _is_key(self, text: str) -> bool:
        return text.isascii() and text.isdigit() and len(text) <= self._LONGEST
