"""The loop that keeps the portal's processes running and healthy until it is told to stop."""

import http.client
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from portal.supervisor.child import Child
from portal.supervisor.watchdog import Watchdog

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
STOP_WITHIN_SECONDS = 4.0  # promised are 5 s from Ctrl-C to no process left
TEND_WATCHERS_EVERY_SECONDS = 5.0
COMPLAIN_EVERY_SECONDS = 30.0
WEB_PROBE_EVERY_SECONDS = 5.0
WEB_SILENT_SECONDS = 20.0  # a page may be slow; a web process that answers nothing for so long hangs


class Supervisor:
    """Runs `children` until SIGINT, SIGTERM or SIGHUP (its terminal was closed); a second signal kills at once.

    `on_tick` is called every few seconds from the loop; an exception in it is logged and changes nothing.
    """

    def __init__(
        self,
        children: list[Child],
        *,
        web_address: tuple[str, int],
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.children = children
        self.watchdogs = {
            child.name: Watchdog(child.environ["Q_CLUSTER_NAME"])
            for child in children
            if "Q_CLUSTER_NAME" in child.environ
        }
        self.web_address = web_address
        self.on_tick = on_tick
        self._stopping = False
        self._next_tick = 0.0
        self._next_probe = 0.0
        self._next_complaint = 0.0
        self._web_answered_at = time.monotonic()

    def run(self) -> None:
        """Block until a signal comes. The caller stops the children."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while not self._stopping:
            self._look_after()
            time.sleep(TICK_SECONDS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            for child in self.children:
                child.signal_group(signal.SIGKILL)
            os._exit(128 + number)
        self._stopping = True

    def _look_after(self) -> None:
        for child in self.children:
            restarted = child.tend()
            watchdog = self.watchdogs.get(child.name)
            if watchdog is None:
                continue
            if restarted:
                watchdog.reset()
            elif child.is_running and self._guarded(watchdog.is_hung):
                child.kill("no answer to a ping")
                watchdog.reset()
        self._look_after_web()
        clock = time.monotonic()
        if self.on_tick and clock >= self._next_tick:
            self._next_tick = clock + TEND_WATCHERS_EVERY_SECONDS
            self._guarded(self.on_tick)

    def _look_after_web(self) -> None:
        clock = time.monotonic()
        if clock < self._next_probe:
            return
        self._next_probe = clock + WEB_PROBE_EVERY_SECONDS
        web = next((child for child in self.children if child.name == "web"), None)
        if web is None or not web.is_running or web.uptime < WEB_SILENT_SECONDS or answers(self.web_address):
            self._web_answered_at = clock
        elif clock - self._web_answered_at > WEB_SILENT_SECONDS:
            web.kill("no answer to /healthz")
            self._web_answered_at = clock

    def _guarded(self, action: Callable[[], object]) -> object:
        """The database may be away for a while; that must not end the supervisor, nor fill its log."""
        try:
            return action()
        except Exception as error:
            clock = time.monotonic()
            if clock >= self._next_complaint:
                self._next_complaint = clock + COMPLAIN_EVERY_SECONDS
                logger.error("supervisor check failed error=%s", error)
            return None


def answers(address: tuple[str, int], timeout: float = 2.0) -> bool:
    """Whether an HTTP server answers there with anything at all."""
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  everywhere includes here
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
