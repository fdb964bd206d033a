"""How long ended tasks are kept: the one rule that the purge and the harvest go by, so that none comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from tasks_app.kinds import history_family
from tasks_app.models import RetentionPeriod

JUST_ENDED = timedelta(days=1)
"""What ended so lately stays, however long ago it began: nobody has had time to look at it."""


@dataclass(frozen=True, slots=True)
class Periods:
    """`kept_from`: family → tasks that began before it are past; families without a period are not in it."""

    at: datetime
    kept_from: Mapping[str, datetime] = field(default_factory=dict)

    def is_past(self, type: str, started_at: datetime, ended_at: datetime | None) -> bool:
        """Whether an ended task of this worker type has outlived the period of its family."""
        kept_from = self.kept_from.get(history_family(type)) if self.kept_from else None
        if kept_from is None or started_at >= kept_from:
            return False
        return ended_at is None or ended_at < self.at - JUST_ENDED


def kept_from(days: int, at: datetime) -> datetime:
    """Midnight (UTC) before `days` days ago: whole days, as the tally counts them."""
    return datetime.combine((at - timedelta(days=days)).astimezone(UTC), time.min, UTC)


def read_periods(at: datetime) -> Periods:
    """The periods in force. One query."""
    rows = RetentionPeriod.objects.values_list("family", "days")
    return Periods(at, {family: kept_from(days, at) for family, days in rows})
