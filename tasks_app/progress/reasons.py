"""Finds the line of a log that says why a task failed, where its exit status does not."""

import re
from typing import Any

from tasks_app.progress.outcome import terminal_line, was_stopped

# Longer errors are cut; the whole line is in the log.
MAX_CHARS = 500

_HIDES_REASON = re.compile(
    r"job errors$|migration (?:aborted|problems)$|start failed: (?:QEMU|command)|startup for container '"
    r"|sync failed with some errors|verification failed - please|unexpected status$|.{0,4000}failed: exit code \d",
    re.DOTALL,
)
# Best first: a line of a lower number replaces none of a higher one.
_TELLING = (
    re.compile(r"ERROR: Backup of VM \d{1,9} failed - "),
    re.compile(r"(?:kvm|qemu-system-\w{1,20}): (?!warning|failed to find file)"),
    re.compile(r"(?:Starting|Stopping|Suspending|Migrating|Shutting down) (?:VM|CT) \d{1,9} failed"),
)
_ERROR = re.compile(r"ERROR: (?!could not notify|send notification)")
_LOOKS_WRONG = re.compile(
    r"error|fail|unable|cannot|can't|could not|denied|no space|not found|refused|time(?:d )?out|fatal|invalid"
    r"|doesn't|does not|exited with|no such|abort",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"\b0 errors|no lock found|Use of uninitialized|^\S{0,40} ?\[(?:INFO|WARN)\]|^WARN")
_SEARCHED_CHARS = 2000


class Reasons:
    """Candidates for the most telling line, kept while the log is read."""

    def __init__(self, type: str) -> None:
        self.type = type
        self.telling = ""
        self.telling_rank = 0
        self.first_warning = ""
        self.first_wrong = ""
        self.last_wrong = ""
        self.previous = ""
        self.terminal = ""

    def feed(self, line: str, *, is_progress: bool = False) -> None:
        """Read one line (see `logtext.searched`); one of progress can only be telling, not a last word."""
        exit_text = terminal_line(line)
        if exit_text is not None:
            self.terminal = exit_text[:MAX_CHARS]
            return
        line = line[:_SEARCHED_CHARS].strip()
        if not line:
            return
        self.terminal = ""
        if not is_progress:
            self.previous = line[:MAX_CHARS]
        if line.startswith("WARN: ") and not self.first_warning:
            self.first_warning = line[:MAX_CHARS]
        rank = self._rank(line)
        if rank > self.telling_rank:
            self.telling, self.telling_rank = line[:MAX_CHARS], rank
        if _LOOKS_WRONG.search(line) and not _HARMLESS.search(line):
            self.first_wrong = self.first_wrong or line[:MAX_CHARS]
            self.last_wrong = line[:MAX_CHARS]

    def _rank(self, line: str) -> int:
        if any(pattern.match(line) for pattern in _TELLING):
            return 3
        if _ERROR.match(line):
            # a migration stopped by hand says so in one of its ERROR lines only
            return 4 if self.type.endswith("migrate") and was_stopped(line) else 2
        return 0

    def best(self, exit_text: str = "") -> str:
        """The line to show for a task that ended with `exit_text`, else with the log's own last line."""
        exit_text = (exit_text or self.terminal)[:MAX_CHARS]
        if exit_text == "OK":
            return self.telling if self.telling_rank == 3 else ""
        if exit_text.startswith("WARNINGS: "):
            return self.first_warning or self.telling
        if exit_text and not _HIDES_REASON.match(exit_text):
            return exit_text
        is_first_best = exit_text.startswith(("startup for", "sync failed", "verification failed"))
        wrong = self.first_wrong if is_first_best else self.last_wrong
        if not exit_text:
            return self.telling
        return self.telling or wrong or self.previous or exit_text

    def to_state(self) -> dict[str, Any]:
        """JSON-able, a few lines of MAX_CHARS."""
        return {key: value for key, value in vars(self).items() if key != "type"}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `to_state`; raises TypeError, ValueError or KeyError on anything else."""
        for name in ("telling", "first_warning", "first_wrong", "last_wrong", "previous", "terminal"):
            setattr(self, name, str(state[name])[:MAX_CHARS])
        self.telling_rank = int(state["telling_rank"])
