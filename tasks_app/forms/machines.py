"""Forms about machines: finding them, and what is asked before something is done with one. The services judge."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.timezone import localtime

from tasks_app.forms.guests import GuestActionForm, SnapshotForm
from tasks_app.models import Submission
from tasks_app.sources.proxmox import Snapshot

SHOWS = [("mine", "Mine"), ("all", "All I may see"), ("gone", "Gone")]
MODES = [
    ("snapshot", "Snapshot: it keeps running"),
    ("suspend", "Suspend: it pauses for a moment"),
    ("stop", "Stop: it is shut down, saved, and started again"),
]


class MachineFilterForm(forms.Form):
    """`show` is never empty once cleaned."""

    q = forms.CharField(required=False, max_length=200, label="Search")
    show = forms.ChoiceField(choices=SHOWS, required=False, label="Show")

    def clean_show(self) -> str:
        return str(self.cleaned_data.get("show") or "mine")


class RollbackForm(GuestActionForm):
    """The names were read from the source for the dialog; whether one still exists is the source's to say."""

    name = forms.CharField(label="Snapshot", widget=forms.RadioSelect)
    start = forms.BooleanField(required=False, label="Start it afterwards")

    def offer(self, snapshots: Sequence[Snapshot]) -> None:
        """Show these to choose from."""
        newest_first = list(reversed(snapshots))
        widget = self.fields["name"].widget
        assert isinstance(widget, forms.RadioSelect)
        widget.choices = [(snapshot.name, _snapshot_words(snapshot)) for snapshot in newest_first]
        if newest_first:
            self.fields["name"].initial = newest_first[0].name


class BackupForm(GuestActionForm):
    storage = forms.CharField(widget=forms.RadioSelect)
    mode = forms.ChoiceField(choices=MODES, widget=forms.RadioSelect, initial="snapshot", label="How")

    def offer(self, storages: Sequence[str]) -> None:
        """Show these to choose from."""
        widget = self.fields["storage"].widget
        assert isinstance(widget, forms.RadioSelect)
        widget.choices = [(name, name) for name in storages]
        if storages:
            self.fields["storage"].initial = storages[0]


class DeleteForm(GuestActionForm):
    typed_name = forms.CharField(
        max_length=63,
        label="Name of the machine",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none", "autofocus": True}
        ),
    )


class ExtendForm(forms.Form):
    days = forms.IntegerField(min_value=1, label="Days from now")

    def __init__(self, *args: Any, most: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["days"].widget.attrs |= {"max": most, "autofocus": True}
        self.fields["days"].help_text = f"At most {most}."


class TransferForm(forms.Form):
    to = forms.ModelChoiceField(queryset=User.objects.none(), label="New owner", empty_label=None)

    def __init__(self, *args: Any, members: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["to"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = members


def machine_form(action: Submission.Action, data: Any = None) -> GuestActionForm:
    """The form that is asked before `action`."""
    if action is Submission.Action.SNAPSHOT:
        return SnapshotForm(data)
    if action is Submission.Action.ROLLBACK:
        return RollbackForm(data)
    if action is Submission.Action.BACKUP:
        return BackupForm(data)
    return GuestActionForm(data)


def _snapshot_words(snapshot: Snapshot) -> str:
    taken = (
        f", taken {localtime(snapshot.taken_at):%d %b %Y %H:%M}" if snapshot.taken_at else ", not complete"
    )
    note = f": {snapshot.description.strip()[:80]}" if snapshot.description.strip() else ""
    return f"{snapshot.name}{taken}{note}"
