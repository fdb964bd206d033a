"""One process of the portal: started in a group of its own, restarted with back-off, stopped within a limit."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0  # so that everything is back within 15 s of a kill, even in a row of failures
STEADY_SECONDS = 10.0  # up that long, a process has earned a fresh back-off

_PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with_supervisor() -> None:
    """Runs in the child before exec: a killed supervisor must not leave a portal behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Child:
    """A process by name. `stop_signal` goes to the whole group.

    django-q2 hangs when its whole group gets SIGTERM (measured); SIGINT stops it cleanly. A child that runs `once`
    is started again only when it was killed, not when it has ended by itself.
    """

    name: str
    command: Sequence[str]
    stop_signal: signal.Signals = signal.SIGTERM
    environ: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    restarts: int = 0

    def start(self) -> None:
        """Start it now."""
        self.process = subprocess.Popen(  # noqa: S603  our own command lines only
            self.command,
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_supervisor,
        )
        self.started_at = time.monotonic()
        logger.debug("started name=%s pid=%s", self.name, self.process.pid)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def _was_killed(self) -> bool:
        return self.process is not None and (self.process.poll() or 0) < 0

    @property
    def uptime(self) -> float:
        """Seconds since its start; 0 while it is down."""
        return time.monotonic() - self.started_at if self.is_running else 0.0

    def tend(self) -> bool:
        """Restart it when it has died and its pause is over; whether it was restarted."""
        if self.once and not self._was_killed:
            return False
        if self.is_running:
            if self.uptime > STEADY_SECONDS:
                self.pause = FIRST_PAUSE_SECONDS
            return False
        clock = time.monotonic()
        if self.process is not None:
            logger.warning(
                "process ended name=%s code=%s restart_in=%.1fs",
                self.name,
                self.process.returncode,
                self.pause,
            )
            self.signal_group(signal.SIGKILL)  # what it may have left of its group
            self.process = None
            self.restart_at = clock + self.pause
            self.pause = min(self.pause * 2, LONGEST_PAUSE_SECONDS)
        if clock < self.restart_at:
            return False
        self.restarts += 1
        self.start()
        return True

    def signal_group(self, number: signal.Signals) -> None:
        """Send `number` to every process of the group; nothing happens when none is left."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def kill(self, reason: str) -> None:
        """Kill the whole group; `tend` starts it again."""
        logger.warning("killing hung process name=%s reason=%s", self.name, reason)
        self.signal_group(signal.SIGKILL)


def stop_all(children: Sequence[Child], *, within_seconds: float) -> None:
    """Ask all to stop, then kill what is left after the limit. No process remains."""
    for child in children:
        child.signal_group(child.stop_signal)
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline and any(child.is_running for child in children):
        time.sleep(0.05)
    for child in children:
        if child.is_running:
            logger.warning("did not stop in time, killed name=%s", child.name)
        child.signal_group(signal.SIGKILL)
        if child.process is not None:
            child.process.wait()
