"""Every format of a line with numbers is read, old spellings included."""

import pytest

from tasks_app.progress.formats import Progress, disk_of_job, parse_duration, parse_progress, parse_size
from tasks_app.progress.logtext import line_kind, printable, searched

GIB = 1024**3


@pytest.mark.parametrize(
    ("line", "kind", "percent", "done", "total"),
    [
        ("transferred 4.5 GiB of 111.8 GiB (4.00%)", "A", 4.0, int(4.5 * GIB), int(111.8 * GIB)),
        ("drive-scsi0: transferred 4.0 GiB of 8.0 GiB (48.63%) in 4s", "B", 48.63, 4 * GIB, 8 * GIB),
        ("restore-drive-scsi0: transferred 1.0 GiB of 2.0 GiB (50.00%) in 4m 14s", "B", 50, GIB, 2 * GIB),
        ("transferred: 1 bytes remaining: 3 bytes total: 4 bytes progression: 25.00 %", "A", 25, 1, 4),
        ("INFO:  58% (1.0 GiB of 2.0 GiB) in 1m 9s, read: 1.2 GiB/s, write: 0 B/s", "D", 58, GIB, 2 * GIB),
        ("INFO: status: 12% (12/100), sparse 3% (3), duration 9, read/write 45/40 MB/s", "D", 12, 12, 100),
        ("INFO: progress 20% 472317952/2361393152 159371264", "E", 20, 472317952, 2361393152),
        ("progress 12% (read 2577072128 bytes, duration 1 sec)", "F", 12, 2577072128, None),
        ("progress 30% (read 300 bytes, zeroes = 62% (160 bytes), duration 2 sec)", "G", 30, 300, None),
        (
            "2025-01-04 00:34:32 migration active, transferred 1.0 GiB of 4.0 GiB VM-state, 1 GiB/s",
            "H",
            25,
            GIB,
            4 * GIB,
        ),
        ("migration status: active (transferred 9, remaining 25), total 100)", "H", 75, 75, 100),
        (
            "2024-01-01 00:00:03 4521984 bytes (4.5 MB, 4.3 MiB) copied, 0.826864 s, 5.5 MB/s",
            "I1",
            None,
            4521984,
            None,
        ),
        ("total estimated size is 84.4G", "I2", None, None, int(84.4 * GIB)),
        ("19:53:10   1.5G   rpool/x@__migration__", "I3", None, int(1.5 * GIB), None),
        ("994.37 MiB in 1s", "J", None, int(994.37 * 1024**2), None),
        ("INFO: processed 2.000 GiB in 1m, uploaded 1.393 GiB", "K", None, 2 * GIB, None),
        (" 32768K ........ ........ ........ ........ 46% 6.83M 9s", "L", 46, 32768 * 1024, None),
        ("131072K ........                           100% 8.16M=22s", "L", 100, 131072 * 1024, None),
        ("2026-09-06T09:51:54-05:00: percentage done: 32.46% (6/19 groups, x)", "M", 32.46, None, None),
        ("Percentage done: 33.33% (1/3 groups)", "M", 33.33, None, None),
        ("marked 12% (3 of 25 index files)", "N1", 12, None, None),
        ("processed 1% (219 chunks)", "N2", 1, None, None),
        ("percentage done: phase1 10% (12 of 120 index files)", "N1", 10, None, None),
        ("percentage done: 7, chunk count: 12", "N0", 7, None, None),
        ("Chunkstore create: 12%", "O", 12, None, None),
    ],
)
def test_numbers_of_a_line(line, kind, percent, done, total):
    progress = parse_progress(searched(line))
    assert progress is not None
    assert (progress.kind, progress.percent, progress.done, progress.total) == (kind, percent, done, total)


def test_old_mirror_line_names_its_disk_and_is_ready():
    line = "drive-scsi0: transferred: 8 bytes remaining: 0 bytes total: 8 bytes progression: 100.00 % busy: 0 ready: 1"
    assert parse_progress(line) == Progress("B", 100.0, 8, 8, "scsi0", is_ready=True)


def test_ready_mirror():
    progress = parse_progress("mirror-scsi0: transferred 1.0 GiB of 1.0 GiB (100.00%) in 7m 23s, ready")
    assert progress is not None and progress.is_ready and progress.job == "scsi0"


@pytest.mark.parametrize(
    "line",
    [
        "Removing image: 12% complete...",
        "INFO: transferred 8.00 GiB in 46 seconds (178.1 MiB/s)",
        "Creating filesystem with 2097152 4k blocks and 524288 inodes",
        "transferred 1.1.1 GiB of 2.0 GiB (4.00%)",
        "transferred",
        "",
    ],
)
def test_lines_without_numbers_of_the_task(line):
    assert parse_progress(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "9" * 300_000,
        "INFO: " + " " * 300_000 + "% (",
        "0K" + " ." * 150_000 + " 5% ",
        "\x1b[" + "1;" * 150_000,
        "\x1b]" * 150_000,
        "\r " * 150_000,
        "drive-" * 50_000 + ": transferred 1 GiB of",
        "a failed" * 40_000,
        "update VM 1: " + "-name " * 50_000,
        "restore proxmox backup image: " + "drive-" * 50_000,
    ],
)
def test_hostile_lines_of_300_000_characters_are_survived(line):
    assert parse_progress(searched(line)) is None
    assert line_kind(line) in ("normal", "error")
    assert len(printable(line)) <= len(line)


def test_sizes_and_durations():
    assert [parse_size(text) for text in ("0.0 B", "84.4G", "1.5 TiB", "12", "x", "1 2")] == [
        0, int(84.4 * GIB), int(1.5 * 1024**4), 12, None, None,
    ]  # fmt: skip
    assert parse_duration("1w 2d 3h 4m 5s") == 788_645
    assert parse_duration("5 s") is None


def test_job_names_become_disk_names():
    names = ["drive-scsi0", "mirror-scsi0", "restore-drive-scsi0", "commit-virtio1", "drive-"]
    assert [disk_of_job(name) for name in names] == ["scsi0", "scsi0", "scsi0", "virtio1", "drive-"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cr 10%\rcr 50%\rcr 100%", "cr 100%"),
        ("cr 100%\r", "cr 100%"),
        ("half\r\x1b[K", "half"),
        ("\x1b[31mred\x1b[0m nul [\x00]", "red nul []"),
        ("\x1b]0;title\x07text", "text"),
        ("tab\there", "tab\there"),
        ("a\u202etxt.exe\u2066b\u2069 \u05e9", "atxt.exeb \u05e9"),
        ("cut \x1b[3", "cut 3"),
        ("", ""),
    ],
)
def test_a_line_is_shown_as_a_terminal_left_it(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("TASK OK", "end"),
        ("2024-08-19T23:27:40+02:00: TASK ERROR: x", "end"),
        ("transferred 0.0 B of 2.0 GiB (0.00%)", "progress"),
        ("a\rtransferred 0.0 B of 2.0 GiB (0.00%)", "progress"),
        ("WARN: no efidisk configured! Using temporary efivars disk.", "warning"),
        ("  WARNING: Sum of all thin volume sizes exceeds", "warning"),
        ("2019-09-25 11:16:53 ERROR: Failed to sync data", "error"),
        ("TrueNAS [ERROR] : MatchNotFound()", "error"),
        ("kvm: device requires 67108864 bytes", "error"),
        ("verified 0.19/0.47 MiB in 0.12 seconds (0 errors)", "normal"),
        ("creating a clone of VM 100 with ID 110", "normal"),
    ],
)
def test_kind_of_a_line(line, kind):
    assert line_kind(line) == kind
