"""What the portal is compared to: one status request per running task, one after the other, then a sleep of 3 s.

This is `monitorMultipleTasks` of the Proxmox task guide for JavaScript, on our own client.
"""

import threading
import time
from collections.abc import Sequence

from bench.clusters import StartedTask
from tasks_app.sources.errors import SourceError
from tasks_app.sources.proxmox import Connection, ProxmoxSource

SLEEP_SECONDS = 3.0


class MonitorLoop:
    """Follows `tasks` in a thread until all have ended. `seen_at` is when it knew, by UPID, Unix seconds."""

    def __init__(self, connection: Connection, tasks: Sequence[StartedTask]) -> None:
        self.seen_at: dict[str, float] = {}
        self.errors = 0
        self._source = ProxmoxSource(connection)
        self._active = {task.upid: task.node for task in tasks}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, within_seconds: float) -> None:
        """Wait for the end of all its tasks; it is stopped after the limit."""
        self._thread.join(within_seconds)
        self._stop.set()
        self._thread.join(10)
        self._source.close()

    def _run(self) -> None:
        while self._active and not self._stop.is_set():
            ended = []
            for upid, node in self._active.items():
                try:
                    if self._source.fetch_task(node, upid).running is False:
                        self.seen_at[upid] = time.time()
                        ended.append(upid)
                except SourceError:
                    # The guide's loop gives such a task up as failed.
                    self.errors += 1
                    ended.append(upid)
            for upid in ended:
                del self._active[upid]
            if self._active:
                self._stop.wait(SLEEP_SECONDS)
