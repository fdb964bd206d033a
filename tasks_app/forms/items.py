"""The form of a catalogue item: what the cluster has is picked, never typed; the service judges the rest."""

from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory

from tasks_app.errors import InvalidInput
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import CatalogItem
from tasks_app.services.item_input import (
    ICONS,
    MAX_SIZES,
    MAX_VMID,
    MIN_VMID,
    AddressPool,
    ItemSettings,
    Size,
)
from tasks_app.services.source_offers import Offer, StorageOffer, Template

MIB_PER_GIB = 1024
_GIB = 1 << 30
Kind = CatalogItem.Kind
CLONE_WORDS = (
    ("full", "Full clone: an independent copy; takes minutes and all of the disk's space"),
    (
        "linked",
        "Linked clone: ready in seconds and small; the template can never be removed while one exists",
    ),
)
_START_SIZES = (
    {"key": "S", "label": "Small", "cores": 1, "memory_gib": 1, "disk_gb": 0},
    {"key": "M", "label": "Medium", "cores": 2, "memory_gib": 4, "disk_gb": 0},
    {"key": "L", "label": "Large", "cores": 4, "memory_gib": 8, "disk_gb": 0},
)
_CODE = {"class": "code", "autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


def _code(
    label: str, *, placeholder: str = "", help_text: str = "", max_length: int = 100
) -> forms.CharField:
    widget = forms.TextInput(attrs=_CODE | ({"placeholder": placeholder} if placeholder else {}))
    return forms.CharField(
        required=False, label=label, help_text=help_text, max_length=max_length, widget=widget
    )


def _number(label: str, *, help_text: str = "", placeholder: str = "", least: int = 0) -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"placeholder": placeholder} if placeholder else {})
    return forms.IntegerField(
        required=False,
        label=label,
        help_text=help_text,
        min_value=least,
        max_value=999_999_999,
        widget=widget,
    )


def _gib(label: str, *, placeholder: str = "") -> forms.FloatField:
    attrs = {"step": "any"} | ({"placeholder": placeholder} if placeholder else {})
    return forms.FloatField(
        required=False, label=label, min_value=0, max_value=8192, widget=forms.NumberInput(attrs=attrs)
    )


class SizeForm(forms.Form):
    """One size. A row whose names are both empty is no size."""

    key = forms.CharField(required=False, max_length=12, label="Short name")
    label = forms.CharField(required=False, max_length=40, label="Name")
    cores = forms.IntegerField(required=False, min_value=1, max_value=512, label="Cores")
    memory_gib = _gib("Memory in GiB")
    disk_gb = forms.IntegerField(required=False, min_value=0, max_value=131_072, label="Disk in GiB")

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if self.is_filled:
            for name in ("key", "cores", "memory_gib"):
                if not cleaned.get(name) and name not in self.errors:
                    self.add_error(name, "Fill this in.")
        return cleaned

    @property
    def is_filled(self) -> bool:
        return bool(self.cleaned_data.get("key") or self.cleaned_data.get("label"))


SizeFormSet: "type[BaseFormSet[SizeForm]]" = formset_factory(
    SizeForm, extra=2, max_num=MAX_SIZES, absolute_max=MAX_SIZES + 2
)


class ItemForm(forms.Form):
    """Everything about an item but what it is made from, which is picked before."""

    title = forms.CharField(max_length=80)
    slug = _code("Short name", max_length=30, help_text="Stands in the names of machines, where {item} is.")
    description = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What is it good for?",
    )
    icon = forms.ChoiceField(
        choices=[(icon, icon) for icon in ICONS], widget=forms.RadioSelect, initial="box"
    )

    full_clone = forms.ChoiceField(
        choices=CLONE_WORDS, widget=forms.RadioSelect, label="How it is cloned", initial="full"
    )
    storage = forms.ChoiceField(required=False)
    placement = forms.ChoiceField(
        choices=CatalogItem.Placement.choices, widget=forms.RadioSelect, label="On which node", initial="same"
    )
    nodes = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple, label="Nodes")
    pool = forms.ChoiceField(required=False, label="Resource pool")
    vmid_from = _number("VMIDs from")
    vmid_to = _number("to")
    name_pattern = _code(
        "Name pattern",
        max_length=80,
        help_text="{team}, {item} and a counter: {nn}, or {nn:02} for 01, 02, …",
    )

    allows_custom = forms.BooleanField(required=False, label="Members may also choose their own size, up to")
    max_cores = _number("Cores")
    max_memory_gib = _gib("Memory in GiB")
    max_disk_gb = _number("Disk in GiB")

    ci_user = _code("User", placeholder="as the template has it", max_length=32)
    takes_ssh_keys = forms.BooleanField(
        required=False, label="Put in the SSH keys from the member's profile", initial=True
    )
    ip_mode = forms.ChoiceField(
        choices=CatalogItem.IpMode.choices, widget=forms.RadioSelect, label="Address", initial="none"
    )
    ip_network = _code("Network", placeholder="10.20.30.0/24", max_length=60)
    ip_first = _code("First address", placeholder="10.20.30.50", max_length=60)
    ip_last = _code("Last address", placeholder="10.20.30.99", max_length=60)
    ip_gateway = _code("Gateway", placeholder="10.20.30.1", max_length=60)
    bridge = forms.ChoiceField(required=False, label="Bridge")
    starts = forms.BooleanField(required=False, label="Start it when it is made", initial=True)

    lease_days = _number("Lease in days", placeholder="no end", least=1)
    max_lease_days = _number("Extended to at most", placeholder="no limit", least=1)
    deletes_after_lease = forms.BooleanField(
        required=False, label="Delete the machine after its lease, once these days of grace are over"
    )
    grace_days = _number("Days of grace")
    cancels_overdue = forms.BooleanField(
        required=False, label="Cancel a clone that takes longer than its time limit"
    )

    approval = forms.ChoiceField(
        choices=CatalogItem.Approval.choices,
        widget=forms.RadioSelect,
        label="Needs approval",
        initial="never",
    )
    approval_above_count = _number("More machines than", placeholder="any")
    approval_above_cores = _number("More cores than", placeholder="any")
    approval_above_memory_gib = _gib("More GiB of memory than", placeholder="any")
    approval_above_disk_gb = _number("More GiB of disk than", placeholder="any")

    def __init__(
        self, data: Any = None, *, template: Template, offer: Offer, item: CatalogItem | None = None
    ) -> None:
        super().__init__(data, initial=_initial_of(item) if item else _start(template))
        self.template, self.size_problem = template, ""
        for name in ("slug", "name_pattern", "vmid_from", "vmid_to", "grace_days"):
            self.fields[name].required = True
        self._narrow(offer, item)
        sizes = [_shown_size(size) for size in item.sizes] if item else [dict(size) for size in _START_SIZES]
        self.sizes = SizeFormSet(data, prefix="sizes", initial=sizes)

    def _narrow(self, offer: Offer, item: CatalogItem | None) -> None:
        """Only what the cluster has can be chosen, and what the item already says; what does not apply goes."""
        kind = self.template.kind
        content = "images" if kind == Kind.QEMU_CLONE else "rootdir"
        storages = [storage for storage in offer.storages if content in storage.content]
        beside = [] if kind == Kind.LXC_CREATE else [("", "Where the template's disks are")]
        self._choose(
            "storage", beside + [(s.name, storage_words(s)) for s in storages], item.storage if item else ""
        )
        self._choose("pool", [("", "No pool"), *((p, p) for p in offer.pools)], item.pool if item else "")
        self._choose(
            "bridge", [("", "Choose a bridge"), *((b, b) for b in offer.bridges)], item.bridge if item else ""
        )
        nodes = [(name, name) for name in sorted({*offer.nodes, *(item.nodes if item else ())})]
        self._field("nodes").choices = nodes
        if kind == Kind.LXC_CREATE or not self.template.is_template:
            del self.fields["full_clone"]
        if kind == Kind.LXC_CREATE:
            self._field("placement").choices = CatalogItem.Placement.choices[1:]
        if kind == Kind.QEMU_CLONE:
            del self.fields["bridge"]
        else:
            del self.fields["ci_user"]
        if kind == Kind.LXC_CLONE:
            del self.fields["takes_ssh_keys"]

    def _field(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        return field

    def _choose(self, name: str, choices: list[tuple[str, str]], current: str) -> None:
        if current and current not in dict(choices):
            choices = [*choices, (current, f"{current} (not seen on the cluster now)")]
        self._field(name).choices = choices

    def is_valid(self) -> bool:
        """Also the sizes."""
        own, sizes = super().is_valid(), self.sizes.is_valid()
        return own and sizes

    @property
    def settings(self) -> ItemSettings:
        """What a valid form says."""
        given = self.cleaned_data
        taken: dict[str, Any] = {
            name: given[name]
            for name in (
                "title", "description", "icon", "storage", "placement", "pool", "allows_custom", "ip_mode", "starts",
                "lease_days", "max_lease_days", "deletes_after_lease", "approval", "approval_above_count",
                "approval_above_cores", "approval_above_disk_gb", "cancels_overdue",
            )
        }  # fmt: skip
        full_clone = given.get("full_clone", "full") == "full"
        taken["storage"] = given["storage"] if full_clone else ""
        return ItemSettings(
            slug=given["slug"],
            name_pattern=given["name_pattern"],
            full_clone=full_clone,
            nodes=tuple(given["nodes"]),
            sizes=tuple(_size(row.cleaned_data) for row in self.sizes if row.is_filled),
            ci_user=given.get("ci_user", ""),
            takes_ssh_keys=given.get("takes_ssh_keys", False),
            ip_pool=AddressPool(
                given["ip_network"], given["ip_first"], given["ip_last"], given["ip_gateway"]
            ),
            bridge=given.get("bridge", ""),
            approval_above_memory_mb=_mib(given["approval_above_memory_gib"]),
            max_memory_mb=_mib(given["max_memory_gib"]) or 0,
            vmid_from=given["vmid_from"] or MIN_VMID,
            vmid_to=given["vmid_to"] or MAX_VMID,
            max_cores=given["max_cores"] or 0,
            max_disk_gb=given["max_disk_gb"] or 0,
            grace_days=given["grace_days"] or 0,
            **taken,
        )

    def show_refusal(self, error: InvalidInput) -> None:
        """Memory stands in GiB on the page, and sizes in their own table."""
        fields = {name.replace("memory_mb", "memory_gib"): text for name, text in error.fields.items()}
        self.size_problem = fields.pop("sizes", "")
        show_refusal(self, InvalidInput(**fields))


def storage_words(storage: StorageOffer) -> str:
    """`local-lvm · 120 GiB free · only on pve1`."""
    where = "on every node that shares it" if storage.is_shared else f"on {', '.join(storage.nodes)}"
    return f"{storage.name} · {storage.free // _GIB} GiB free · {where}"


def _mib(gib: float | None) -> int | None:
    return None if gib is None else round(gib * MIB_PER_GIB)


def _shown_gib(mib: int | None) -> float | None:
    """Whole numbers without a point."""
    if mib is None:
        return None
    return mib // MIB_PER_GIB if mib % MIB_PER_GIB == 0 else mib / MIB_PER_GIB


def _size(row: dict[str, Any]) -> Size:
    return Size(
        key=row["key"].strip(),
        label=row["label"].strip(),
        cores=row["cores"],
        memory_mb=_mib(row["memory_gib"]) or 0,
        disk_gb=row["disk_gb"] or 0,
    )


def _shown_size(size: dict[str, Any]) -> dict[str, Any]:
    return size | {"memory_gib": _shown_gib(size.get("memory_mb"))}


def _start(template: Template) -> dict[str, Any]:
    """What a new item of this template most likely is."""
    name = template.name.removesuffix(".zst").removesuffix(".gz").removesuffix(".xz").removesuffix(".tar")
    words = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return {
        "title": name[:80],
        "slug": "-".join(part for part in words.split("-") if part)[:30].rstrip("-"),
        "vmid_from": 100,
        "vmid_to": 999_999_999,
        "name_pattern": "{team}-{item}-{nn:02}",
        "placement": "automatic" if template.kind == Kind.LXC_CREATE else "same",
        "max_cores": 4,
        "max_memory_gib": 8,
        "max_disk_gb": max(100, template.disk_gb),
        "bridge": template.bridges[0] if template.bridges else "",
        "lease_days": 30,
        "grace_days": 7,
    }


def _initial_of(item: CatalogItem) -> dict[str, Any]:
    own = {field.name: getattr(item, field.name) for field in item._meta.concrete_fields}
    return own | {
        "full_clone": "full" if item.full_clone else "linked",
        "max_memory_gib": _shown_gib(item.max_memory_mb),
        "approval_above_memory_gib": _shown_gib(item.approval_above_memory_mb),
        **{f"ip_{name}": item.ip_pool.get(name, "") for name in ("network", "first", "last", "gateway")},
    }
