"""Keeps the claim of a living job alive: that of a killed worker runs out within seconds, however slow remotes are."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connections

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 9.0
"""A claim that nobody has renewed for so long is free. The watch loop looks every 3 s, so work goes on within 15 s."""
RENEW_SECONDS = 2.5
"""Three renewals may be late before a claim is lost, which costs a second look at the remote and nothing else."""


@contextmanager
def kept_alive(renew: Callable[[], object], *, every_seconds: float = RENEW_SECONDS) -> Iterator[None]:
    """Call `renew` every few seconds from a thread of its own, with a database connection of its own, until the end.

    `renew` is a conditional update: late, after the claim has been given back, it changes nothing.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(ended, renew, every_seconds), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)


def _renew_until(ended: threading.Event, renew: Callable[[], object], every_seconds: float) -> None:
    try:
        while not ended.wait(every_seconds):
            try:
                renew()
            except DatabaseError as error:
                logger.warning("claim not renewed error=%s", error)
                connections.close_all()
    finally:
        connections.close_all()
