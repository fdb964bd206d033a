"""How long tasks may take before they are overdue: the defaults of their families, and what admins changed."""

import time

from tasks_app.kinds import FAMILIES, kind_of
from tasks_app.models import TimeLimit

CACHE_SECONDS = 30.0
"""A changed limit counts in every process after this; one read serves thousands of tasks until then."""

_changed: dict[str, int] = {}
_read_at: float | None = None


def limit_seconds(type: str) -> int:
    """For tasks of this worker type. At most one query in 30 s and process."""
    global _read_at
    at = time.monotonic()
    if _read_at is None or at - _read_at > CACHE_SECONDS:
        found = dict(TimeLimit.objects.values_list("family", "seconds"))
        _changed.clear()
        _changed.update(found)
        _read_at = at
    family = kind_of(type).family
    return _changed.get(family, FAMILIES[family].seconds)


def forget_limits() -> None:
    """Read them anew at the next question; for the process that has changed one."""
    global _read_at
    _read_at = None
