"""Quotas of teams: what is used is summed from machines, under a lock of the team's row where it decides anything."""

from dataclasses import dataclass

from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce

from tasks_app.errors import Refused
from tasks_app.models import Machine, Team


class QuotaExceeded(Refused):
    """The team has not enough left for what was asked."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Machines that exist or may come to exist, and what they take together. Also an amount that is wanted."""

    machines: int = 0
    cores: int = 0
    memory_mb: int = 0
    disk_gb: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.machines + other.machines,
            self.cores + other.cores,
            self.memory_mb + other.memory_mb,
            self.disk_gb + other.disk_gb,
        )


@dataclass(frozen=True, slots=True)
class QuotaLine:
    """One limit before and after; `limit` None is no limit. Numbers in `unit`: "" (a count), MiB or GiB."""

    key: str
    name: str
    unit: str
    used: int
    wanted: int
    limit: int | None

    @property
    def after(self) -> int:
        return self.used + self.wanted

    @property
    def fits(self) -> bool:
        return self.limit is None or self.after <= self.limit

    @property
    def refusal(self) -> str:
        """Why it does not fit, for people."""
        if self.limit is None or self.fits:
            return ""
        left = _amount(self.key, max(0, self.limit - self.used))
        return f"The team has only {left} left of {_amount(self.key, self.limit)}."


def usage(team: Team) -> Usage:
    """What the team uses now. It decides something only after `lock`."""
    row = (
        Machine.objects.filter(team=team)
        .holding_quota()
        .aggregate(
            machines=Count("pk"),
            cores=Coalesce(Sum("cores"), 0),
            memory_mb=Coalesce(Sum("memory_mb"), 0),
            disk_gb=Coalesce(Sum("disk_gb"), 0),
        )
    )
    return Usage(**row)


def lines(team: Team, used: Usage, wanted: Usage) -> list[QuotaLine]:
    """All four, limited or not."""
    return [
        QuotaLine("machines", "Machines", "", used.machines, wanted.machines, team.max_machines),
        QuotaLine("cores", "Cores", "", used.cores, wanted.cores, team.max_cores),
        QuotaLine("memory_mb", "Memory", "MiB", used.memory_mb, wanted.memory_mb, team.max_memory_mb),
        QuotaLine("disk_gb", "Disk", "GiB", used.disk_gb, wanted.disk_gb, team.max_disk_gb),
    ]


def refusal(team: Team, used: Usage, wanted: Usage) -> str:
    """The first limit that does not fit, in words; "" when all do."""
    return next((line.refusal for line in lines(team, used, wanted) if not line.fits), "")


def lock(team: Team) -> Team:
    """Lock the team's row until the transaction ends, on both databases; the row as it is now.

    Whoever reserves quota counts this row up first, so two requests at once are added up one after the other.
    """
    Team.objects.filter(pk=team.pk).update(quota_lock=F("quota_lock") + 1)
    return Team.objects.select_related("group").get(pk=team.pk)


def _amount(key: str, number: int) -> str:
    match key:
        case "machines":
            return f"{number} machine{'' if number == 1 else 's'}"
        case "cores":
            return f"{number} core{'' if number == 1 else 's'}"
        case "memory_mb":
            is_small = 0 < number < 1024
            return f"{number} MiB of memory" if is_small else f"{number / 1024:g} GiB of memory"
        case _:
            return f"{number} GiB of disk"
