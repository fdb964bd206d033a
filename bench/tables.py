"""Figures for people: percentiles, and tables on the terminal."""

import math
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}")
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def print_goals(goals: Sequence[tuple[str, float, float, str]]) -> bool:
    """One line for each (what, seen, at most, unit); whether all were met."""
    print()
    is_met = True
    for what, seen, most, unit in goals:
        is_this_met = seen <= most
        is_met &= is_this_met
        print(
            f"{'met   ' if is_this_met else 'MISSED'}  {what}: {seen:.2f} {unit}, goal at most {most:g} {unit}"
        )
    return is_met


def print_machine() -> None:
    """What it runs on, and how busy that was before we began: figures of a busy machine are worse."""
    memory = next(
        (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")),
        "MemTotal: 0",
    )
    gib = int(memory.split()[1]) / 1024**2
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {os.cpu_count()} cores · {gib:.0f} GiB · "
        f"Python {platform.python_version()} · load {os.getloadavg()[0]:.2f} before the start",
        flush=True,
    )
