"""How many videos and images a team may have open at once and ask for in a day; counted under the team's lock."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils.timezone import now

from tasks_app.models import Generation, Team
from tasks_app.services.quotas import QuotaExceeded, QuotaLine

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """None is without limit. `per_day` counts what was asked for in the last 24 hours, whatever became of it."""

    at_once: int | None = None
    per_day: int | None = None


def limits_of(team: Team) -> GenerationLimits:
    return GenerationLimits(team.max_generations, team.max_generations_per_day)


def lines(team: Team, *, wanted: int = 0) -> list[QuotaLine]:
    """Both limits with what is used now. It decides something only after `quotas.lock`."""
    rows = Generation.objects.filter(team=team).order_by()
    limits = limits_of(team)
    today = rows.filter(asked_at__gt=now() - DAY)
    return [
        QuotaLine("generations", "Open", "", rows.unfinished().count(), wanted, limits.at_once),
        QuotaLine("generations_per_day", "Last 24 hours", "", today.count(), wanted, limits.per_day),
    ]


def require_room(team: Team) -> None:
    """For one more. `team` is locked by the caller, who wants the numbers as they are now. Raises QuotaExceeded."""
    team = Team.objects.select_related("group").get(pk=team.pk)
    if team.max_generations is None and team.max_generations_per_day is None:
        return
    at_once, per_day = lines(team, wanted=1)
    if not at_once.fits:
        raise QuotaExceeded(
            f"{team} may have {_tasks(at_once.limit)} open at once, and has {at_once.used}. "
            "Wait for one to end, or withdraw one."
        )
    if not per_day.fits:
        raise QuotaExceeded(
            f"{team} may ask for {_tasks(per_day.limit)} in 24 hours, and has asked for {per_day.used}."
        )


def _tasks(number: int | None) -> str:
    return f"{number} video or image task{'' if number == 1 else 's'}"
