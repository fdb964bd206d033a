"""Forms about teams. The services judge names, limits and ceilings."""

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import QuerySet

from tasks_app.models import CatalogItem, Team
from tasks_app.services.generation_quotas import GenerationLimits
from tasks_app.services.teams import MAX_SLUG_CHARACTERS, Limits

MIB_PER_GIB = 1024
_MAX_GIB = 1_000_000


def _limit(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        required=False,
        min_value=0,
        max_value=_MAX_GIB,
        label=label,
        help_text=help_text,
        widget=forms.NumberInput(attrs={"placeholder": "no limit", "inputmode": "numeric"}),
    )


class QuotaForm(forms.Form):
    """How much the team may take together; memory in GiB."""

    max_machines = _limit("Machines")
    max_cores = _limit("Cores")
    max_memory_gib = _limit("Memory in GiB")
    max_disk_gb = _limit("Disk in GiB")

    @property
    def quota(self) -> Limits:
        return limits_of(self.cleaned_data, "max")

    @staticmethod
    def of(team: Team) -> dict[str, Any]:
        """What the team has, as the form shows it."""
        return shown(team, "max")


class TeamForm(QuotaForm):
    """Everything that only admins of the portal decide, and the quota to start with."""

    name = forms.CharField(max_length=150, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    slug = forms.CharField(
        max_length=MAX_SLUG_CHARACTERS,
        label="Short name",
        help_text="Stands in the names of its machines: small letters, digits and -.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false", "class": "code"}
        ),
    )
    ceiling_machines = _limit("Machines")
    ceiling_cores = _limit("Cores")
    ceiling_memory_gib = _limit("Memory in GiB")
    ceiling_disk_gb = _limit("Disk in GiB")
    max_parallel_clones = forms.IntegerField(
        min_value=1,
        max_value=64,
        initial=4,
        label="Clones at the same time",
        help_text="Further ones wait in the queue, so that one team's batch leaves room for the others.",
    )
    max_generations = _limit("Open at once", "Waiting and running together.")
    max_generations_per_day = _limit("In 24 hours", "Whatever becomes of them.")
    field_order = ("name", "slug")

    @property
    def ceiling(self) -> Limits:
        return limits_of(self.cleaned_data, "ceiling")

    @property
    def generations(self) -> GenerationLimits:
        return GenerationLimits(
            self.cleaned_data.get("max_generations"), self.cleaned_data.get("max_generations_per_day")
        )

    @staticmethod
    def of(team: Team) -> dict[str, Any]:
        own = {
            "name": team.group.name,
            "slug": team.slug,
            "max_parallel_clones": team.max_parallel_clones,
            "max_generations": team.max_generations,
            "max_generations_per_day": team.max_generations_per_day,
        }
        return own | shown(team, "max") | shown(team, "ceiling")


class MemberForm(forms.Form):
    """Somebody who can sign in and is not in the team."""

    person = forms.ModelChoiceField(queryset=User.objects.none(), empty_label="Choose somebody")

    def __init__(self, *args: Any, people: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["person"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = people


class ItemChoice(forms.ModelChoiceField):  # type: ignore[type-arg]  # it takes no parameter when it runs
    """Items with their source: two sources may have items of one title."""

    def label_from_instance(self, obj: CatalogItem) -> str:
        return f"{obj} on {obj.source}"


class GrantItemForm(forms.Form):
    """An item that the team may not order yet."""

    item = ItemChoice(queryset=CatalogItem.objects.none(), empty_label="Choose an item")

    def __init__(self, *args: Any, items: QuerySet[CatalogItem], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["item"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = items


def limits_of(cleaned: dict[str, Any], prefix: str) -> Limits:
    """Limits of a form's fields; memory comes in GiB."""
    memory_gib = cleaned.get(f"{prefix}_memory_gib")
    return Limits(
        machines=cleaned.get(f"{prefix}_machines"),
        cores=cleaned.get(f"{prefix}_cores"),
        memory_mb=None if memory_gib is None else memory_gib * MIB_PER_GIB,
        disk_gb=cleaned.get(f"{prefix}_disk_gb"),
    )


def shown(team: Team, prefix: str) -> dict[str, Any]:
    """The reverse: what the fields of `prefix` show."""
    memory_mb = getattr(team, f"{prefix}_memory_mb")
    return {
        f"{prefix}_machines": getattr(team, f"{prefix}_machines"),
        f"{prefix}_cores": getattr(team, f"{prefix}_cores"),
        f"{prefix}_memory_gib": None if memory_mb is None else memory_mb // MIB_PER_GIB,
        f"{prefix}_disk_gb": getattr(team, f"{prefix}_disk_gb"),
    }
