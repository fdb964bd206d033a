"""Threads for passes, as daemons: a remote that hangs never keeps the worker process from stopping."""

import logging
import queue
import threading
from collections.abc import Callable

from django.db import connections

logger = logging.getLogger(__name__)


class Pool:
    """Up to `size` threads, started when needed; each closes its database connections when it ends."""

    def __init__(self, size: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._size = size
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` soon. What it raises is logged, it has to report its result itself."""
        with self._lock:
            self._busy += 1
            if self._busy > len(self._threads) and len(self._threads) < self._size:
                thread = threading.Thread(target=self._serve, name=f"pass-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._work.put(work)

    def close(self, timeout_seconds: float) -> None:
        """Let every thread end after what it is doing; wait at most so long in all."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout_seconds / len(self._threads))

    def _serve(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                try:
                    work()
                except Exception:
                    logger.exception("a pass broke off")
                    connections.close_all()  # a broken connection would break the next pass too
                finally:
                    with self._lock:
                        self._busy -= 1
        finally:
            connections.close_all()
