"""An order whose answer was lost may still be on its way: not being there yet proves nothing."""

from datetime import UTC, datetime

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.generation.base import Order


def wait_for_stragglers(order: Order, seconds: float) -> None:
    """Raises SourceUnavailable (too_early) until `seconds` after the order was first sent."""
    if order.asked_at is None:
        return
    left = seconds - (datetime.now(UTC) - order.asked_at).total_seconds()
    if left > 0:
        raise SourceUnavailable(
            "The order may still be on its way.", kind="too_early", retry_after=min(left, seconds)
        )
