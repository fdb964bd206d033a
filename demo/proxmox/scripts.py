"""Pieces of task logs in the wording of Proxmox VE 9.2, with the seconds at which they are printed.

A piece is built on a `Tape`, which knows the time of the line to come; rates are bytes a second.
"""

import math
import random
import time
from dataclasses import dataclass, field

from demo.proxmox.tasks import Script

KIB, MIB, GIB = 1024, 1024**2, 1024**3
# qemu-img reports at least every percent, in steps of its 2 MiB buffer.
_COPY_STEP = 2 * MIB


def format_bytes(size: float, digits: int = 1) -> str:
    """As PVE::Format::render_bytes: `21.9 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.{digits}f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """As PVE::Format::render_duration: `1h 2m 5s`, zero parts left out."""
    left = int(seconds)
    parts = []
    for unit, length in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def format_clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours:02}:{rest // 60:02}:{rest % 60:02}"


@dataclass
class Tape:
    """Lines being written; `started` and `scale` turn their seconds into wall-clock stamps."""

    started: float
    scale: float = 1.0
    at: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)

    def say(self, *texts: str, wait: float = 0.0) -> None:
        for text in texts:
            self.lines.append((self.at, text))
        self.at += wait

    def stamp(self, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        return time.strftime(form, time.gmtime(self.started + self.at * self.scale))

    def say_stamped(self, *texts: str, wait: float = 0.0) -> None:
        self.say(*(f"{self.stamp()} {text}" for text in texts), wait=wait)

    def script(
        self,
        end: str = "OK",
        *,
        stop_end: str = "received interrupt",
        stop_lines: tuple[str, ...] = (),
        stop_seconds: float = 1.0,
    ) -> Script:
        return Script(tuple(self.lines), self.at, end, stop_end, stop_lines, stop_seconds)


def error_script(text: str, *before: str, seconds: float = 0.05) -> Script:
    return Script(tuple((0.0, line) for line in before), seconds, text)


def quick_script(*lines: str, seconds: float = 0.3) -> Script:
    return Script(tuple((seconds / 2, line) for line in lines), seconds)


def say_copy(tape: Tape, size: int, rate: float) -> None:
    """Format A: an offline copy by qemu-img, about one line per percent, the last one twice."""
    step = max(_COPY_STEP, math.ceil(size / 100 / _COPY_STEP) * _COPY_STEP)
    done = 0
    while done < size:
        tape.say(f"transferred {format_bytes(done)} of {format_bytes(size)} ({done / size:.2%})")
        chunk = min(step, size - done)
        done += chunk
        tape.at += chunk / rate
    line = f"transferred {format_bytes(size)} of {format_bytes(size)} (100.00%)"
    tape.say(line, line)


def say_mirror(tape: Tape, disk: str, size: int, rate: float) -> None:
    """Format B: a block job that copies a disk of a running VM, one line a second."""
    job = f"mirror-{disk}"
    tape.say(f"drive mirror is starting for {job}")
    seconds, done = 0, 0.0
    while done < size:
        tape.say(
            f"{job}: transferred {format_bytes(done)} of {format_bytes(size)} ({done / size:.2%})"
            f" in {format_duration(seconds)}",
            wait=1.0,
        )
        seconds += 1
        done += rate
    tape.say(
        f"{job}: transferred {format_bytes(size)} of {format_bytes(size)} (100.00%)"
        f" in {format_duration(seconds)}, ready",
        "all 'mirror' jobs are ready",
    )


def say_ram(tape: Tape, memory: int, rate: float) -> None:
    """Format H: RAM of a live migration, one stamped line a second; ends below the total, as zeros are skipped."""
    wanted = memory * 0.92
    done, first = 0.0, tape.at
    while done + rate < wanted:
        done += rate
        tape.at += 1.0
        tape.say_stamped(
            f"migration active, transferred {format_bytes(done)} of {format_bytes(memory)} VM-state,"
            f" {format_bytes(rate)}/s"
        )
    tape.at += 1.0
    average = memory / max(1.0, tape.at - first)
    tape.say_stamped(
        f"average migration speed: {format_bytes(average)}/s - downtime 59 ms",
        f"migration completed, transferred {format_bytes(wanted)} VM-state",
        "migration status: completed",
    )


def say_vm_backup(tape: Tape, size: int, rate: float, rng: random.Random) -> None:
    """Format D: all disks of one VM together, a line every 3 s."""
    done, seconds, zeros = 0.0, 0, 0.0
    while True:
        read = rate * rng.uniform(0.7, 1.3)
        write = read * rng.uniform(0.2, 0.9)
        # Holes in the disk are read quickly and not written.
        if rng.random() < 0.12:
            read, write = read * 3, write * 0.1
        step = min(3.0, (size - done) / read)
        tape.at += step
        seconds += max(1, round(step))
        done = min(size, done + read * step)
        zeros += max(0.0, read - write) * step
        tape.say(
            f"INFO: {int(done * 100 / size):3}% ({format_bytes(done)} of {format_bytes(size)})"
            f" in {format_duration(seconds)}, read: {format_bytes(read)}/s, write: {format_bytes(write)}/s"
        )
        if done >= size:
            break
    sparse = int(zeros * 100 / size)
    tape.say(
        f"INFO: backup is sparse: {format_bytes(zeros, 2)} ({min(99, sparse)}%) total zero data",
        f"INFO: transferred {format_bytes(size, 2)} in {seconds} seconds ({format_bytes(size / seconds)}/s)",
    )


def say_dd(tape: Tape, size: int, rate: float) -> None:
    """Format I: a volume streamed by dd, reported after 3, 10, then every 30 seconds and at the end."""
    total = size / rate
    moments = [moment for moment in (3.0, 10.0) if moment < total]
    moments += [30.0 * n for n in range(1, int(total // 30) + 1)]
    first = tape.at
    for moment in [*moments, total]:
        tape.at = first + moment
        done = min(size, int(rate * moment))
        tape.say(
            f"{done} bytes ({done / 1e9:.1f} GB, {done / GIB:.1f} GiB) copied, {moment:.6g} s,"
            f" {done / moment / 1e6:.1f} MB/s",
        )


def say_download(tape: Tape, url: str, path: str, size: int, rate: float) -> None:
    """Format L: wget in dot style, 32 MiB a line."""
    host = url.split("/")[2]
    tape.say(
        f"downloading {url} to {path}",
        f"--{tape.stamp()}--  {url}",
        f"Resolving {host} ({host})... 192.0.2.34, 2001:db8::34",
        f"Connecting to {host} ({host})|192.0.2.34|:443... connected.",
        wait=0.4,
    )
    tape.say(
        "HTTP request sent, awaiting response... 200 OK",
        f"Length: {size} ({size // MIB}M) [application/octet-stream]",
        f"Saving to: '{path}.tmp_dwnl.177197'",
        "",
    )
    line, first = 32 * MIB, tape.at
    for start in range(0, size, line):
        chunk = min(line, size - start)
        tape.at += chunk / rate
        dots = " ".join(["........"] * 4) if chunk == line else "........".ljust(35)
        left = (size - start - chunk) / rate
        end = f" {format_duration(left)}" if left else f"={format_duration(tape.at - first)}"
        tape.say(f"{start // KIB:6}K {dots} {int((start + chunk) * 100 / size):3}% {rate / MIB:.2f}M{end}")
    tape.say(
        "",
        f"{tape.stamp()} ({rate / 1e6:.2f} MB/s) - '{path}.tmp_dwnl.177197' saved [{size}/{size}]",
        "",
        "calculating checksum...OK, checksum verified",
        f"download of '{url}' to '{path}' finished",
    )
