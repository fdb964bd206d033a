"""How much is kept of a cluster's logs."""

from typing import Any

from django import forms

from tasks_app.ingest.log_keeping import LARGEST_KB, SMALLEST_KB, LogKeeping


class LogKeepingForm(forms.Form):
    keeps_foreign = forms.BooleanField(
        required=False,
        label="Keep the logs of tasks that others started, too",
        help_text="Without it their tasks stay in the history, with error and new VMID, but not with their logs.",
    )
    limit_kb = forms.IntegerField(
        min_value=SMALLEST_KB,
        max_value=LARGEST_KB,
        label="Of one log at most (KB)",
        help_text="Counted before it is compressed. Of a longer one the beginning is kept, and labelled so.",
    )

    def __init__(self, *args: Any, keeping: LogKeeping, **kwargs: Any) -> None:
        initial = {"keeps_foreign": keeping.keeps_foreign, "limit_kb": keeping.limit_kb}
        super().__init__(*args, **(kwargs | {"initial": initial}))
