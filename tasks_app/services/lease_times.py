"""When the owner of a machine is reminded of the end of its lease; pure."""

from datetime import timedelta

REMIND_DAYS = (7, 3, 1)
"""Before the end; 0 stands for the end itself."""


def told_at_first(lasts: timedelta) -> int | None:
    """What a lease that begins now counts as reminded of: nobody needs to hear at its start that it ends that soon."""
    return min((days for days in REMIND_DAYS if timedelta(days=days) >= lasts), default=None)


def due_reminder(left: timedelta, *, told: int | None) -> int | None:
    """The most urgent reminder that is due with `left` to go and was not told; None when there is none."""
    due = min((days for days in REMIND_DAYS if left <= timedelta(days=days)), default=None)
    return due if due is not None and (told is None or due < told) else None
