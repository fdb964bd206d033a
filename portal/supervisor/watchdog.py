"""Finds worker clusters that live but no longer work: a ping job must come back, saved, within a limit.

django-q2 has three known hangs (an idle worker killed while it held the queue's lock, a monitor that died, a pusher
that died); all look the same from here: a ping does not return through pusher, worker and monitor.
"""

import time

from tasks_app import queue

PING_EVERY_SECONDS = 3.0
# A hang must be over 15 s after its cause: up to 3 until the next ping, 6 for its answer (an idle cluster needs
# half a second), and about 4 for the new start.
ANSWER_WITHIN_SECONDS = 6.0
FIRST_ANSWER_WITHIN_SECONDS = 20.0  # a cluster that has just been started, on a busy machine


class Watchdog:
    """Pings one cluster."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self._ping = ""
        self._sent_at = 0.0
        self._within = FIRST_ANSWER_WITHIN_SECONDS

    def reset(self) -> None:
        """Forget the ping under way: the cluster has been restarted."""
        self._ping = ""
        self._within = FIRST_ANSWER_WITHIN_SECONDS

    def is_hung(self) -> bool:
        """Whether a ping has been unanswered for too long although no worker is busy with a job."""
        clock = time.monotonic()
        if self._ping:
            if queue.has_answered(self._ping):
                self._ping = ""
                self._within = ANSWER_WITHIN_SECONDS
                return False
            if clock - self._sent_at < self._within:
                return False
            # All workers may be busy with slow remotes: that is work, not a hang.
            return not queue.is_busy(self.cluster)
        if clock - self._sent_at >= PING_EVERY_SECONDS:
            self._sent_at = clock  # first: a database that is away is asked again after a pause
            self._ping = queue.send_ping(self.cluster)
        return False
