"""The tracker's percentages by the rules and worked examples for each kind of task."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.progress.outcome import classify
from tasks_app.progress.tracker import Tracker, can_show_progress, final_percent

GIB = 1024**3
MIB = 1024**2


def fed(type, *lines, **known):
    tracker = Tracker(type, **known)
    for line in lines:
        tracker.feed(line)
    return tracker


def percents(type, *lines, **known):
    tracker = Tracker(type, **known)
    found = []
    for line in lines:
        tracker.feed(line)
        found.append(None if tracker.percent is None else round(tracker.percent, 1))
    return found


TWO_DISKS = (
    "create full clone of drive scsi0 (local-lvm:vm-100-disk-0)",
    "transferred 32.0 GiB of 32.0 GiB (100.00%)",
    "create full clone of drive scsi1 (local-lvm:vm-100-disk-1)",
    "transferred 10.0 GiB of 100.0 GiB (10.00%)",
    "transferred 100.0 GiB of 100.0 GiB (100.00%)",
)


@pytest.mark.parametrize(
    "sizes", [[32 * GIB, 100 * GIB], [100 * GIB, 32 * GIB], {"scsi0": 32 * GIB, "scsi1": 100 * GIB}]
)
def test_disks_weigh_by_their_size(sizes):
    assert percents("qmclone", *TWO_DISKS, disk_bytes=sizes) == [None, 24.2, 24.2, 31.8, 99.0]
    tracker = fed("qmclone", *TWO_DISKS[:4], disk_bytes=sizes)
    assert (tracker.step, tracker.bytes_done, tracker.bytes_total) == (
        "disk 2 of 2 · scsi1",
        42 * GIB,
        132 * GIB,
    )


def test_a_disk_nobody_announced_takes_the_number_away():
    assert percents("qmclone", *TWO_DISKS) == [None, 99.0, None, None, 99.0]


def test_efi_variables_say_nothing_about_other_disks():
    lines = (
        "create full clone of drive efidisk0 (zfs:vm-1-disk-0)",
        "transferred 528.0 KiB of 528.0 KiB (100.00%)",
        "create full clone of drive scsi0 (zfs:vm-1-disk-1)",
        "transferred 16.0 GiB of 32.0 GiB (50.00%)",
    )
    assert percents("qmclone", *lines) == [None, None, None, 50.0]


def test_ready_jobs_that_are_printed_again_do_not_lower_or_raise_the_number():
    line = "drive-{}: transferred: {} bytes remaining: {} bytes total: {} bytes progression: {} % busy: {} ready: {}"
    ready = line.format("efidisk0", 131072, 0, 131072, "100.00", 0, 1)
    busy = line.format("scsi0", 1338572800, 7251361792, 8589934592, "15.58", 1, 0)
    assert percents("qmclone", ready, busy, ready, disk_bytes=[131072, 8589934592]) == [0.0, 15.6, 15.6]


def test_a_growing_disk_never_takes_progress_back():
    line = "drive-scsi0: transferred 50.0 GiB of {}.0 GiB ({}%) in 4s"
    assert percents("qmmove", line.format(60, "83.33"), line.format(70, "71.43")) == [83.3, 83.3]


def test_disks_before_the_head_of_a_partial_log_are_done():
    lines = ("transferred 10.0 GiB of 100.0 GiB (10.00%)",)
    assert percents("qmclone", *lines, disk_bytes=[32 * GIB, 100 * GIB]) == [31.8]


def test_copied_is_99_until_the_task_ends():
    tracker = fed(
        "qmmove", "drive-scsi0: transferred 60.0 GiB of 60.0 GiB (100.00%) in 7m 23s, ready", "TASK OK"
    )
    assert tracker.percent == 99.0
    assert tracker.finish(classify("OK")) == 100.0
    assert final_percent(40.0, classify("job errors")) == 40.0
    assert final_percent(None, classify("WARNINGS: 1")) == 100.0


def test_incremental_backup_counts_dirty_data():
    lines = (
        "INFO: starting new backup job: vzdump 100 --mode snapshot",
        "INFO: Starting Backup of VM 100 (qemu)",
        "INFO: using fast incremental mode (dirty-bitmap), 19.8 GiB dirty of 320.0 GiB total",
        "INFO:   4% (972.0 MiB of 19.8 GiB) in 3s, read: 324.0 MiB/s, write: 324.0 MiB/s",
        "INFO: 100% (19.8 GiB of 19.8 GiB) in 90s, read: 324.0 MiB/s, write: 324.0 MiB/s",
        "INFO: 100% (19.8 GiB of 19.8 GiB) in 1m 30s, read: 324.0 MiB/s, write: 324.0 MiB/s",
        "INFO: Waiting for server to finish backup validation...",
    )
    assert percents("vzdump", *lines)[3:] == [4.0, 99.0, 99.0, 99.0]


def test_fifth_of_eight_guests():
    lines = ["INFO: starting new backup job: vzdump --all 1"]
    for vmid in (100, 101, 102, 103):
        lines.append(f"INFO: Starting Backup of VM {vmid} (qemu)")
        lines.append(f"INFO: Finished Backup of VM {vmid} (00:00:02)")
    lines.append("INFO: Starting Backup of VM 104 (qemu)")
    lines.append("INFO:  58% (18.9 GiB of 32.0 GiB) in 1m 9s, read: 1.2 GiB/s, write: 36.0 MiB/s")
    tracker = fed("vzdump", *lines, guests=8)
    assert tracker.percent == pytest.approx(57.25)
    assert tracker.step == "guest 5 of 8 · VM 104"
    assert fed("vzdump", *lines).percent is None
    assert fed("vzdump", *lines).step == "guest 5 · VM 104"


def test_a_failed_guest_counts_as_done_and_external_ones_do_not_count():
    lines = (
        "INFO: starting new backup job: vzdump 100 101 102 --storage x",
        "INFO: skip external VMs: 102",
        "INFO: Starting Backup of VM 100 (lxc)",
        "ERROR: Backup of VM 100 failed - no space",
        "INFO: Failed at 2026-04-23 22:02:56",
        "INFO: Starting Backup of VM 101 (lxc)",
        "INFO: Backup job finished with errors",
        "TASK ERROR: job errors",
    )
    assert percents("vzdump", *lines) == [None, None, 0.0, 50.0, 50.0, 50.0, 99.0, 99.0]
    assert fed("vzdump", *lines).error_line == "ERROR: Backup of VM 100 failed - no space"


def test_the_only_guest_that_fails_keeps_its_number():
    lines = (
        "INFO: starting new backup job: vzdump 100 --storage x",
        "INFO: Starting Backup of VM 100 (qemu)",
        "INFO:  44% (8.8 GiB of 20.0 GiB) in 7s, read: 1.2 GiB/s, write: 1.1 GiB/s",
        "ERROR: Backup of VM 100 failed - backup write data failed",
        "INFO: Backup job finished with errors",
        "TASK ERROR: job errors",
    )
    assert percents("vzdump", *lines) == [None, None, 44.0, 44.0, 44.0, 44.0]


def test_an_interrupted_backup_keeps_its_number():
    lines = (
        "INFO: starting new backup job: vzdump 100 101 --storage x",
        "INFO: Starting Backup of VM 100 (qemu)",
        "INFO:  44% (8.8 GiB of 20.0 GiB) in 7s, read: 1.2 GiB/s, write: 1.1 GiB/s",
        "ERROR: Backup of VM 100 failed - interrupted by signal",
        "ERROR: Backup job failed - interrupted by signal",
        "TASK ERROR: interrupted by signal",
    )
    assert percents("vzdump", *lines) == [None, 0.0, 22.0, 22.0, 22.0, 22.0]


def test_place_among_guests_is_unknown_when_the_head_is_missing():
    line = "INFO:  58% (18.9 GiB of 32.0 GiB) in 1m 9s, read: 1.2 GiB/s, write: 36.0 MiB/s"
    assert percents("vzdump", line, guests=8) == [None]
    assert percents("vzdump", line, guests=1) == [58.0]


def test_archive_of_two_disks():
    lines = (
        "DEV: dev_id=1 size: 540672 devname: drive-efidisk0",
        "DEV: dev_id=2 size: 21474844672 devname: drive-scsi0",
        "progress 12% (read 2577072128 bytes, duration 1 sec)",
    )
    tracker = fed("qmrestore", *lines)
    assert (tracker.percent, tracker.bytes_total) == (12.0, 540672 + 21474844672)


def test_restore_from_backup_server_starts_again_per_disk():
    lines = (
        "restore proxmox backup image: pbs-restore vm/1 drive-efidisk0.img.fidx /dev/x --verbose",
        "progress 100% (read 67108864 bytes, zeroes = 0% (0 bytes), duration 0 sec)",
        "restore image complete (bytes=67108864, duration=0.01s, speed=50MB/s)",
        "restore proxmox backup image: pbs-restore vm/1 drive-scsi0.img.fidx /dev/y --verbose",
        "progress 30% (read 10309599232 bytes, zeroes = 62% (1602224128 bytes), duration 2 sec)",
    )
    for sizes in ([64 * MIB, 32 * GIB], {"efidisk0": 64 * MIB, "scsi0": 32 * GIB}):
        assert percents("qmrestore", *lines, disk_bytes=sizes)[-1] == 30.1
    volumes = [f"new volume ID is 'local-lvm:vm-1-disk-{n}'" for n in (0, 1)]
    assert percents("qmrestore", *volumes, *lines)[-1] == pytest.approx(30.1, abs=0.5)


def test_live_restore_sums_jobs_that_run_together():
    lines = (
        "new volume ID is 'local-lvm:vm-1-disk-0'",
        "new volume ID is 'local-lvm:vm-1-disk-1'",
        "restore-drive-scsi0: transferred 15.0 GiB of 45.0 GiB (33.33%) in 4m 14s",
        "restore-drive-scsi1: transferred 5.0 GiB of 5.0 GiB (100.00%) in 4m 14s, ready",
    )
    assert percents("qmrestore", *lines)[-1] == 40.0


MIGRATION = (
    "2024-01-01 00:00:00 found local disk 'local-lvm:vm-100-disk-0' (attached)",
    "2024-01-01 00:00:00 starting VM 100 on remote node 'b'",
    "2024-01-01 00:00:00 volume 'local-lvm:vm-100-disk-0' is 'local-lvm:vm-100-disk-0' on the target",
    "drive mirror is starting for drive-scsi0",
    "drive-scsi0: transferred 15.0 GiB of 30.0 GiB (50.00%) in 20s",
    "drive-scsi0: transferred 30.0 GiB of 30.0 GiB (100.00%) in 40s, ready",
    "all 'mirror' jobs are ready",
    "2024-01-01 00:00:42 migration active, transferred 2.0 GiB of 8.0 GiB VM-state, 399.1 MiB/s",
    "2024-01-01 00:00:44 migration status: completed",
)


def test_memory_comes_after_the_disks_and_shares_their_bar():
    found = percents("qmigrate", *MIGRATION, ram_bytes=8 * GIB)
    assert found == [None, None, None, None, 39.5, 78.9, 78.9, 84.2, 99.0]
    assert percents("qmigrate", *MIGRATION)[-2:] == [84.2, 99.0]
    assert fed("qmigrate", *MIGRATION[:-1]).step == "copying RAM"


def test_memory_alone_is_capped_when_the_guest_keeps_writing():
    lines = (
        "2024-01-01 00:00:42 migration active, transferred 1.1 GiB of 4.0 GiB VM-state, 399.1 MiB/s",
        "2024-01-01 00:00:43 migration active, transferred 6.1 GiB of 4.0 GiB VM-state, 399.1 MiB/s",
    )
    assert percents("qmigrate", *lines) == [27.5, 99.0]


def test_volumes_of_an_offline_migration():
    lines = (
        "2024-01-01 00:00:00 found local disk 'rpool:vm-100-disk-0' (attached)",
        "2024-01-01 00:00:00 found local disk 'rpool:vm-100-disk-1' (attached)",
        "2024-01-01 00:00:03 1073741824 bytes (1.1 GB, 1.0 GiB) copied, 3 s, 94.1 MB/s",
        "2024-01-01 00:00:13 successfully imported 'rpool:vm-100-disk-0'",
        "2024-01-01 00:00:13 volume 'rpool:vm-100-disk-0' is 'rpool:vm-100-disk-0' on the target",
        "2024-01-01 00:00:14 successfully imported 'rpool:vm-100-disk-1'",
    )
    assert percents("qmigrate", *lines) == [None, None, 0.0, 50.0, 50.0, 99.0]
    assert percents("qmigrate", *lines, disk_bytes=[2 * GIB, 6 * GIB]) == [None, None, 12.5, 25.0, 25.0, 99.0]


def test_zfs_stream_is_measured_by_its_estimate():
    lines = (
        "full send of rpool/vm-1-disk-0@__migration__ estimated size is 84.4G",
        "total estimated size is 84.4G",
        "19:53:10   21.1G   rpool/vm-1-disk-0@__migration__",
    )
    assert percents("qmigrate", *lines) == [None, 0.0, 25.0]


def test_snapshot_has_a_number_only_when_the_memory_is_known():
    assert percents("qmsnapshot", "994.37 MiB in 1s") == [None]
    assert percents("qmsnapshot", "994.37 MiB in 1s", ram_bytes=8 * GIB) == [12.1]


def test_garbage_collection_has_two_phases():
    lines = (
        "2024-01-01T00:00:00Z: Start GC phase1 (mark used chunks)",
        "2024-01-01T00:00:00Z: marked 12% (3 of 25 index files)",
        "2024-01-01T00:00:00Z: Start GC phase2 (sweep unused chunks)",
        "2024-01-01T00:00:00Z: processed 1% (219 chunks)",
        "2024-01-01T00:00:00Z: Removed garbage: 0 B",
    )
    assert percents("garbage_collection", *lines, product="pbs") == [None, 6.0, 50.0, 50.5, 99.0]


def test_second_namespace_of_a_sync_makes_the_whole_unknown():
    lines = (
        "percentage done: 36.84% (7/19 groups)",
        "Percentage done: 100.00% (19/19 groups)",
        "Percentage done: 50.00% (1/2 groups)",
    )
    assert percents("syncjob", *lines, product="pbs") == [36.8, 99.0, None]
    assert fed("syncjob", *lines, product="pbs").step == "part 2 · 50 % · 1/2 groups"


def test_bulk_tasks_count_their_guests():
    lines = (
        "Starting VM 100",
        "Waiting for 30 seconds (startup delay)",
        "Starting CT 101",
        "Starting CT 101 failed: x",
    )
    assert percents("startall", *lines, guests=2) == [0.0, 0.0, 50.0, 50.0]
    assert percents("startall", *lines) == [None] * 4


@pytest.mark.parametrize(
    ("type", "line"),
    [
        ("cephcreateosd", "209715200 bytes (210 MB, 200 MiB) copied, 0.0956093 s, 2.2 GB/s"),
        ("qmdestroy", "Removing image: 12% complete...\rRemoving image: 99% complete..."),
        ("vzcreate", "Creating filesystem with 524288 4k blocks and 131072 inodes"),
        ("imgcopy", "file size is: 43018"),
    ],
)
def test_numbers_that_are_not_the_tasks(type, line):
    assert percents(type, line) == [None]


def test_the_new_guest_of_a_clone():
    assert fed("qmclone", "creating a clone of VM 9000 with ID 411").new_vmid == 411
    assert fed("vzclone", "creating a clone of container 500 with ID 510").new_vmid == 510
    assert fed("qmclone", "allocated target volume 'local:110/vm-110-disk-0.qcow2'").new_vmid == 110
    assert fed("qmmove", "allocated target volume 'local:110/vm-110-disk-0.qcow2'").new_vmid is None
    assert fed("qmconfig", "update VM 301: -cores 2 -name web-01 -memory 512").new_name == "web-01"


@pytest.mark.parametrize(
    ("type", "lines", "error"),
    [
        (
            "qmstart",
            ["kvm: no disk", "x", "TASK ERROR: start failed: QEMU exited with code 1"],
            "kvm: no disk",
        ),
        (
            "qmstart",
            ["bridge missing", "TASK ERROR: bridge 'vmbr0' does not exist"],
            "bridge 'vmbr0' does not exist",
        ),
        ("vzdump", ["ERROR: could not notify via target `x`: y"], ""),
        (
            "qmigrate",
            ["May 02 10:57:01 ERROR: a", "May 02 10:57:02 ERROR: b", "TASK ERROR: migration aborted"],
            "ERROR: a",
        ),
        (
            "x",
            ["first failed", "last failed", "done", "TASK ERROR: command 'y' failed: exit code 1"],
            "last failed",
        ),
        ("x", ["plain words", "TASK ERROR: command 'y' failed: exit code 1"], "plain words"),
        ("x", ["some failed", "TASK OK"], ""),
    ],
)
def test_the_most_telling_error(type, lines, error):
    assert fed(type, *lines).error_line == error


def test_rate_and_time_left_of_a_steady_copy():
    tracker = Tracker("qmmove")
    for second in range(31):
        tracker.feed(f"transferred {second}.0 GiB of 100.0 GiB ({second}.00%)", at=1000.0 + second)
        if second < 10:
            assert tracker.seconds_left is None
    assert tracker.rate_bytes_per_second == pytest.approx(GIB)
    assert tracker.seconds_left == pytest.approx(70, abs=1)


def test_no_time_left_while_the_speed_varies():
    tracker = Tracker("qmmove")
    done = 0.0
    for second in range(0, 60, 5):
        done += 4 if second > 30 else 0.4
        tracker.feed(f"transferred {done:.1f} GiB of 100.0 GiB ({done:.2f}%)", at=float(second))
    assert tracker.seconds_left is None


def test_a_slow_backup_in_whole_percent_still_has_a_time_left():
    tracker = Tracker("vzdump", guests=1)
    for minute in range(0, 60):
        percent = minute // 2
        tracker.feed(
            f"INFO: {percent:3}% ({percent}.0 GiB of 100.0 GiB) in 1m, read: 1 B/s, write: 1 B/s",
            at=60.0 * minute,
        )
    assert tracker.seconds_left == pytest.approx(71 * 120, rel=0.25)


def test_lines_of_one_answer_share_a_time_without_harm():
    tracker = Tracker("qmmove")
    for percent in range(10):
        tracker.feed(f"transferred 1.0 GiB of 9.0 GiB ({percent}.00%)", at=5.0)
    assert (tracker.rate_bytes_per_second, tracker.seconds_left) == (None, None)


@pytest.mark.parametrize(
    "garbage",
    [None, [], "x", {}, {"version": 1, "type": "qmclone"}, {"version": 99, "type": "vzdump", "lines": 5}],
)
def test_garbage_in_the_stored_state_starts_afresh(garbage):
    tracker = Tracker.from_state(garbage)
    tracker.feed("x")
    assert tracker.lines == 1 and tracker.percent is None


TYPES = ["qmclone", "qmmove", "qmrestore", "qmigrate", "vzdump", "qmsnapshot", "download", "syncjob",
         "garbage_collection", "startall", "vzmigrate", "qmconfig"]  # fmt: skip
NUMBERS = [
    *TWO_DISKS,
    *MIGRATION,
    "drive-scsi9: transferred 1.0 GiB of 3.0 GiB (33.33%) in 4s",
    "restore proxmox backup image: x drive-scsi0.img.fidx y",
    "restore image complete (bytes=67108864, duration=0.01s, speed=50MB/s)",
    "progress 12% (read 2577072128 bytes, duration 1 sec)",
    "progress 99% (read 300 bytes, zeroes = 62% (160 bytes), duration 2 sec)",
    "total estimated size is 0.0B",
    "total estimated size is 84.4G",
    "19:53:10   21.1G   rpool/x@__migration__",
    "5600186368 bytes (5.6 GB, 5.2 GiB) copied, 60 s, 93.3 MB/s",
    "INFO: starting new backup job: vzdump 1 2 3 --x",
    "INFO: Starting Backup of VM 2 (qemu)",
    "INFO:  58% (18.9 GiB of 32.0 GiB) in 1m 9s, read: 1.2 GiB/s, write: 36.0 MiB/s",
    "INFO: Finished Backup of VM 2 (00:00:01)",
    "ERROR: Backup of VM 3 failed - x",
    "INFO: Backup job finished successfully",
    "Percentage done: 99.99% (1/2 groups)",
    "percentage done: 1% (1/2 groups)",
    "marked 12% (3 of 25 index files)",
    "processed 99% (219 chunks)",
    "Start GC phase1",
    " 32768K ........ ........ 46% 6.83M 9s",
    "Starting VM 100",
    "TASK OK",
    "transferred 0.0 B of 0.0 B (0.00%)",
]


@settings(max_examples=150, deadline=None)
@given(
    type=st.sampled_from(TYPES),
    lines=st.lists(st.one_of(st.sampled_from(NUMBERS), st.text(max_size=60)), max_size=40),
    sizes=st.lists(st.integers(0, 2**50), max_size=3),
    guests=st.one_of(st.none(), st.integers(0, 5)),
    cut=st.integers(0, 40),
)
def test_never_backwards_never_100_and_storable_whatever_the_log_says(type, lines, sizes, guests, cut):
    product = "pbs" if type in ("syncjob", "garbage_collection") else "pve"
    tracker = Tracker(type, product=product, disk_bytes=sizes, guests=guests)
    highest = 0.0
    for number, line in enumerate(lines):
        tracker.feed(line, at=float(number * 7))
        if number == cut:
            stored = Tracker.from_state(json.loads(json.dumps(tracker.to_state())))
            assert (stored.percent, stored.step, stored.lines) == (
                tracker.percent,
                tracker.step,
                tracker.lines,
            )
            assert stored.to_state() == tracker.to_state()
            tracker = stored
        if tracker.percent is not None:
            assert highest <= tracker.percent <= 99
            highest = tracker.percent
        assert tracker.seconds_left is None or tracker.seconds_left >= 0


def test_the_stored_state_stays_small_under_a_hostile_log():
    rng = random.Random(7)
    tracker = Tracker("qmigrate")
    for number in range(3000):
        tracker.feed(
            f"drive-x{rng.randrange(10**9)}: transferred 1.0 GiB of 9.0 GiB (5.00%) in 4s", at=float(number)
        )
        tracker.feed("ERROR: " + "x" * 5000)
    assert len(json.dumps(tracker.to_state())) < 16_000


def test_types_that_can_show_progress():
    assert can_show_progress("qmclone") and can_show_progress("vzdump") and can_show_progress("download")
    assert can_show_progress("garbage_collection", "pbs") and can_show_progress("syncjob", "pbs")
    assert not any(
        map(can_show_progress, ("qmstart", "vzclone", "vzcreate", "imgcopy", "syncjob", "nonsense"))
    )
    assert not can_show_progress("backup", "pbs")
