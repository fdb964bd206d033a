"""Forms about guests: finding them, and what is asked before something is started on one. The services judge names."""

import uuid
from typing import Any

from django import forms
from django.db.models import QuerySet

from tasks_app.models import Guest, Source, Submission
from tasks_app.sources.proxmox import Permissions
from tasks_app.sources.proxmox.permissions import parse_permissions

STATES = [("", "Any state"), ("running", "Running"), ("stopped", "Stopped"), ("template", "Template")]


class GuestFilterForm(forms.Form):
    q = forms.CharField(required=False, max_length=200, label="Search")
    source = forms.ModelChoiceField(
        queryset=Source.objects.none(), required=False, empty_label="All sources", label="Source"
    )
    state = forms.ChoiceField(choices=STATES, required=False, label="State")

    def __init__(self, *args: Any, sources: QuerySet[Source], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["source"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = sources


class GuestActionForm(forms.Form):
    """Start, stop, shut down, reboot: nothing is asked. The key makes a double click one deed."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def parameters(self) -> dict[str, Any]:
        """What is sent besides the guest; empty values are left out."""
        given = {name: value for name, value in self.cleaned_data.items() if name != "idempotency_key"}
        return {name: value for name, value in given.items() if value not in ("", None)}


class SnapshotForm(GuestActionForm):
    name = forms.CharField(
        max_length=40,
        help_text="2 to 40 letters, digits, - and _; begins with a letter.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autofocus": True}),
    )
    description = forms.CharField(required=False, max_length=500, widget=forms.Textarea(attrs={"rows": 2}))


class CloneForm(GuestActionForm):
    name = forms.CharField(
        max_length=63,
        label="Name of the new guest",
        help_text="A host name: letters, digits and -.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autofocus": True}),
    )
    mode = forms.ChoiceField(label="Copy", widget=forms.RadioSelect)
    storage = forms.CharField(
        required=False,
        max_length=100,
        label="Storage",
        help_text="Empty: where the original lies. Full clone only.",
    )
    pool = forms.CharField(
        required=False,
        max_length=100,
        label="Pool",
        help_text="Empty: none. A restricted token may need one.",
    )

    def __init__(self, *args: Any, guest: Guest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        full = ("full", "Full: an independent copy; takes as long as copying its disks")
        linked = ("linked", "Linked: ready in seconds, keeps depending on the template")
        mode = self.fields["mode"]
        assert isinstance(mode, forms.ChoiceField)
        mode.choices = [linked, full] if guest.is_template else [full]
        mode.initial = mode.choices[0][0]
        permissions = parse_permissions(guest.source.permissions)
        self._narrow("pool", permissions, "/pool", "VM.Allocate", everywhere="/vms")
        self._narrow("storage", permissions, "/storage", "Datastore.AllocateSpace", everywhere="/storage")

    def _narrow(
        self, name: str, permissions: Permissions, root: str, privilege: str, *, everywhere: str
    ) -> None:
        """Offer what the token may use; a token that may use everything leaves the field free."""
        if permissions.allows(everywhere, privilege):
            return
        paths = [path for path in sorted(permissions.by_path) if path.startswith(f"{root}/")]
        usable = [path.removeprefix(f"{root}/") for path in paths if permissions.allows(path, privilege)]
        if not usable:
            return
        # a guest outside every pool is out of reach for such a token; a storage may be the original's own
        first = [("", "Where the original lies")] if name == "storage" else []
        self.fields[name] = forms.ChoiceField(
            choices=first + [(word, word) for word in usable],
            required=not first,
            label=self.fields[name].label,
            help_text="The token may use these.",
        )

    def parameters(self) -> dict[str, Any]:
        given = super().parameters()
        return given | {"full": given.pop("mode") == "full"}


def action_form(action: Submission.Action, guest: Guest, data: Any = None) -> GuestActionForm:
    """The form that is asked before `action` is started on `guest`."""
    if action is Submission.Action.CLONE:
        return CloneForm(data, guest=guest)
    if action is Submission.Action.SNAPSHOT:
        return SnapshotForm(data)
    return GuestActionForm(data)
