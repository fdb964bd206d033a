"""Finds worker clusters that live but no longer work: a ping job must come back, saved, within a limit.

django-q2 has three known hangs (an idle worker killed while it held the queue's lock, a monitor that died, a pusher
that died); all look the same from here: a ping does not return through pusher, worker and monitor.
"""

import time

from tasks_app import queue

PING_EVERY_SECONDS = 3.0
ANSWER_WITHIN_SECONDS = 9.0  # a cured hang must be over 15 s after its cause: 9 + restart of about 2


class Watchdog:
    """Pings one cluster. `grace` lets a fresh cluster start."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._ping = ""
        self._sent_at = 0.0

    def reset(self) -> None:
        """Forget the ping under way: the cluster has been restarted."""
        self._ping = ""

    def is_hung(self) -> bool:
        """Whether a ping has been unanswered for too long although no worker is busy with a job."""
        clock = time.monotonic()
        if self._ping:
            if queue.has_answered(self._ping):
                self._ping = ""
                return False
            if clock - self._sent_at < ANSWER_WITHIN_SECONDS:
                return False
            # All workers may be busy with slow remotes: that is work, not a hang.
            return not queue.is_busy(self.cluster)
        if clock - self._sent_at >= PING_EVERY_SECONDS:
            self._sent_at = clock  # first: a database that is away is asked again after a pause
            self._ping = queue.send_ping(self.cluster)
        return False
