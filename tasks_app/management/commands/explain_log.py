"""`manage.py explain_log`: what the portal makes of a task log in a file; needs no database."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tasks_app.progress.explain import Explanation, explain
from tasks_app.progress.logtext import printable

# A log larger than this is not a task log.
_MAX_BYTES = 512 * 1024**2
_SHOWN_CHARS = 100


def _sizes(text: str) -> list[int]:
    """`N,N,…` in bytes."""
    try:
        sizes = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        sizes = [-1]
    if any(size < 0 for size in sizes):
        raise argparse.ArgumentTypeError("sizes are whole numbers of bytes, separated by commas")
    return sizes


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise argparse.ArgumentTypeError("the number of guests is a whole number, 0 if unknown")
    return int(text)


class Command(BaseCommand):
    """Prints the percentage after each line, then how the task ended."""

    help = "Read a Proxmox task log from a file and print its progress line by line, and its outcome."
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the log; - reads standard input")
        parser.add_argument("--type", required=True, help="worker type of the task, such as qmclone")
        parser.add_argument("--product", choices=["pve", "pbs"], default="pve")
        parser.add_argument("--exitstatus", help="exit status of the task, if the log does not tell")
        parser.add_argument("--disk-bytes", type=_sizes, default=[], help="sizes of the disks: N,N,…")
        parser.add_argument("--guests", type=_count, help="number of guests of the task, 0 if unknown")
        parser.add_argument("--cancel-requested", action="store_true", help="this task was asked to stop")
        parser.add_argument("--json", action="store_true", help="one JSON object per line")

    def handle(self, *args: Any, **options: Any) -> None:
        lines = _read_lines(options["file"])
        explanation = explain(
            lines,
            type=options["type"],
            product=options["product"],
            exit_text=options["exitstatus"],
            disk_bytes=options["disk_bytes"],
            guests=options["guests"] or None,
            cancel_requested=options["cancel_requested"],
        )
        write_out = self._write_json if options["json"] else self._write_table
        write_out(explanation, lines)

    def _write_json(self, explanation: Explanation, lines: list[str]) -> None:
        for line in explanation.lines:
            percent = None if line.percent is None else round(line.percent, 2)
            self._write({"line": line.line, "percent": percent, "step": line.step})
        self._write(
            {
                "outcome": explanation.outcome,
                "exitstatus": explanation.exit_text,
                "new_vmid": explanation.new_vmid,
                "error": explanation.error,
            }
        )

    def _write(self, row: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(row, ensure_ascii=False))

    def _write_table(self, explanation: Explanation, lines: list[str]) -> None:
        self.stdout.write(f"{'line':>6}  {'percent':>7}  {'step':<36}  text")
        for line, text in zip(explanation.lines, lines, strict=True):
            percent = "–" if line.percent is None else f"{line.percent:.1f} %"
            shown = printable(text)[:_SHOWN_CHARS]
            self.stdout.write(f"{line.line:>6}  {percent:>7}  {line.step[:36]:<36}  {shown}")
        self.stdout.write("")
        self.stdout.write(f"outcome      {explanation.outcome}")
        self.stdout.write(f"exit status  {printable(explanation.exit_text) or '–'}")
        if explanation.new_vmid is not None:
            self.stdout.write(f"new guest    {explanation.new_vmid}")
        if explanation.error:
            self.stdout.write(f"error        {printable(explanation.error)}")


def _read_lines(name: str) -> list[str]:
    """Lines of the file, split at LF only, as Proxmox does; bytes that are no UTF-8 are replaced."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CommandError(f"cannot read {name!r}: {reason}") from error
    if len(data) > _MAX_BYTES:
        raise CommandError(f"{name!r} is larger than {_MAX_BYTES // 1024**2} MiB, which no task log is")
    text = data.decode("utf-8-sig", errors="replace")
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
