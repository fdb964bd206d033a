"""Forms about orders: one machine, many machines, deeds on an order. The services judge names, limits and quotas."""

import uuid
from typing import Any

from django import forms
from django.db.models import QuerySet

from tasks_app.forms.orders_list import (
    MAX_CELL_CHARS,
    MAX_CHARS,
    MAX_ROWS,
    ListRow,
    UnreadableList,
    parse_rows,
)
from tasks_app.models import CatalogItem, Order, Team

CUSTOM = "custom"
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class OrderForm(forms.Form):
    """What one machine and many have in common. While nothing else was chosen, the item's own values stand."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    team = forms.ModelChoiceField(queryset=Team.objects.none(), empty_label=None, label="Team")
    size = forms.ChoiceField(label="Size", widget=forms.RadioSelect)
    cores = forms.IntegerField(min_value=1, max_value=1024, required=False, label="Cores")
    memory_gib = forms.DecimalField(
        min_value=0, max_value=10_000, max_digits=9, decimal_places=3, required=False, label="Memory (GiB)"
    )
    disk_gb = forms.IntegerField(min_value=0, max_value=1_000_000, required=False, label="Disk (GiB)")
    lease_days = forms.IntegerField(min_value=1, max_value=36_500, required=False, label="Days")
    reason = forms.CharField(required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, item: CatalogItem, teams: QuerySet[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.item = item
        team, size = self.fields["team"], self.fields["size"]
        assert isinstance(team, forms.ModelChoiceField)
        assert isinstance(size, forms.ChoiceField)
        team.queryset = teams
        team.initial = teams.first()
        choices = [(str(each["key"]), str(each.get("label") or each["key"])) for each in item.sizes]
        if item.allows_custom:
            choices.append((CUSTOM, "Custom"))
        size.choices = choices
        size.initial = choices[0][0] if choices else ""
        first = item.sizes[0] if item.sizes else {"cores": 1, "memory_mb": 1024, "disk_gb": 0}
        self.fields["cores"].initial = first["cores"]
        self.fields["memory_gib"].initial = f"{first['memory_mb'] / 1024:g}"
        self.fields["disk_gb"].initial = first["disk_gb"] or item.template_disk_gb
        self.fields["lease_days"].initial = item.lease_days
        self.fields["lease_days"].required = item.max_lease_days is not None
        for name, most in (("cores", item.max_cores), ("disk_gb", item.max_disk_gb)):
            self.fields[name].widget.attrs["max"] = most
        self.fields["memory_gib"].widget.attrs |= {"max": f"{item.max_memory_mb / 1024:g}", "step": "0.5"}
        self.fields["disk_gb"].widget.attrs["min"] = item.template_disk_gb
        if item.max_lease_days is not None:
            self.fields["lease_days"].widget.attrs["max"] = item.max_lease_days

    def clean(self) -> dict[str, Any]:
        """A custom size is told whole."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("size") == CUSTOM:
            for name in ("cores", "memory_gib"):
                if name not in self.errors and not cleaned.get(name):
                    self.add_error(name, "Say how much.")
        return cleaned

    def chosen_size(self) -> dict[str, Any]:
        """`key`, `cores`, `memory_mb` and `disk_gb` of the chosen size; only for a valid form."""
        given = self.cleaned_data
        if given["size"] == CUSTOM:
            return {
                "key": CUSTOM,
                "cores": given["cores"],
                "memory_mb": int(given["memory_gib"] * 1024),
                "disk_gb": given["disk_gb"] or 0,
            }
        chosen = next(each for each in self.item.sizes if str(each["key"]) == given["size"])
        return {name: chosen[name] for name in ("key", "cores", "memory_mb", "disk_gb")}


class OneForm(OrderForm):
    """One machine."""

    name = forms.CharField(
        max_length=MAX_CELL_CHARS,
        required=False,
        label="Name",
        help_text="A host name: letters, digits and -. Empty: the next free name of the pattern.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    suggested = forms.CharField(max_length=MAX_CELL_CHARS, required=False, widget=forms.HiddenInput)


class ManyForm(OrderForm):
    """Many machines: how their rows come about, and the rows themselves as repeated fields `name` and `owner`."""

    COUNT, LIST = "count", "list"
    how = forms.ChoiceField(
        choices=[(COUNT, "A number"), (LIST, "A list")],
        initial=COUNT,
        widget=forms.RadioSelect,
        label="Machines",
    )
    count = forms.IntegerField(min_value=1, max_value=MAX_ROWS, initial=5, required=False, label="How many")
    pasted = forms.CharField(
        required=False,
        label="List",
        strip=False,
        help_text="One name per line, or CSV: name,owner. The owner is a user name or address of a member.",
        widget=forms.Textarea(
            attrs=_PLAIN
            | {"rows": 6, "maxlength": MAX_CHARS, "class": "code", "placeholder": "web-01,ann\nweb-02,bob"}
        ),
    )
    filled = forms.CharField(required=False, widget=forms.HiddenInput, max_length=2_000, strip=False)
    on_failure = forms.ChoiceField(
        choices=Order.OnFailure.choices, initial=Order.OnFailure.GO_ON, label="When one fails"
    )
    stop_after = forms.IntegerField(
        min_value=1, max_value=MAX_ROWS, initial=3, required=False, label="How many failures"
    )

    def clean_pasted(self) -> str:
        """Read once here, so that what cannot be read stands on the field."""
        text: str = self.cleaned_data["pasted"]
        if self.cleaned_data.get("how") == self.LIST:
            try:
                self.listed = parse_rows(text)
            except UnreadableList as error:
                raise forms.ValidationError(str(error)) from None
            if not self.listed:
                raise forms.ValidationError("The list is empty.")
        return text

    def clean(self) -> dict[str, Any]:
        """What a choice needs is asked for where that choice was made."""
        cleaned = super().clean()
        if cleaned.get("how") == self.COUNT and "count" not in self.errors and not cleaned.get("count"):
            self.add_error("count", "Say how many.")
        if (
            cleaned.get("on_failure") == Order.OnFailure.STOP_AFTER
            and "stop_after" not in self.errors
            and not cleaned.get("stop_after")
        ):
            self.add_error("stop_after", "Say after how many.")
        return cleaned

    def origin(self) -> str:
        """What the rows are made from, short: when it changes, they are made anew."""
        given = self.cleaned_data
        if given["how"] == self.COUNT:
            return f"count {given['count']}"
        # a browser sends CRLF where a script sends LF
        lines = "\n".join(given["pasted"].splitlines())
        return f"list {uuid.uuid5(uuid.NAMESPACE_OID, lines)}"

    def rows(self) -> list[ListRow]:
        """The rows as they stand in the preview; as counted or pasted where that has changed since.

        Rows that are there survive a changed number. Only for a valid form.
        """
        shown = self._shown()
        given = self.cleaned_data
        if shown and given["filled"] == self.origin():
            return shown
        if given["how"] == self.COUNT:
            kept = shown[: given["count"]] if given["filled"].startswith("count ") else []
            return kept + [ListRow()] * (given["count"] - len(kept))
        return self.listed

    def _shown(self) -> list[ListRow]:
        """What the preview's fields hold; names beyond what may be ordered are not read."""
        if not hasattr(self.data, "getlist"):
            return []
        names, owners = self.data.getlist("name")[:MAX_ROWS], self.data.getlist("owner")
        owners += [""] * (len(names) - len(owners))
        return [ListRow(_tidy(name), _tidy(owner)) for name, owner in zip(names, owners, strict=False)]


def _tidy(cell: str) -> str:
    return " ".join(cell.replace("\0", "\ufffd").split())[:MAX_CELL_CHARS]


class OrderFilterForm(forms.Form):
    """Which orders the list shows."""

    q = forms.CharField(required=False, max_length=200, label="Search")
    whose = forms.ChoiceField(
        choices=[("", "All I may see"), ("mine", "Mine"), ("waiting", "Waiting for approval")],
        required=False,
        label="Whose",
    )


class DeedForm(forms.Form):
    """A deed on an order. The key makes a double click one deed."""

    idempotency_key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)


class RollBackForm(forms.Form):
    """Rolling back removes machines, so its name is typed."""

    typed = forms.CharField(
        max_length=120,
        label="Name of the order",
        widget=forms.TextInput(attrs=_PLAIN | {"autofocus": True}),
    )


class DecisionForm(forms.Form):
    """Approving; a reason may be given."""

    reason = forms.CharField(
        required=False, max_length=1000, label="Reason", widget=forms.Textarea(attrs={"rows": 2})
    )


class RejectionForm(DecisionForm):
    """Rejecting; the requester is told why."""

    reason = forms.CharField(
        max_length=1000,
        label="Reason",
        help_text="The requester reads it.",
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
    )
