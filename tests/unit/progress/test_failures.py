"""The best known errors are recognised by the words Proxmox really uses."""

import json
from pathlib import Path

import pytest

from tasks_app.progress.failures import explain_failure

FOLDER = Path(__file__).parents[2] / "data" / "pve-task-logs"


@pytest.mark.parametrize(
    ("exit_text", "error_line", "title"),
    [
        (
            "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout",
            "",
            "Another operation holds guest 101",
        ),
        (
            "clone failed: cfs-lock 'storage-x' error: got lock request timeout",
            "",
            "A lock was not free in time",
        ),
        ("clone failed: write: No space left on device", "", "The storage is full"),
        ("lvcreate error: insufficient free space: 5 extents needed", "", "The storage is full"),
        ("unable to create VM 302: config file already exists", "", "This ID is taken"),
        (
            "close (rename) atomic file '/etc/pve/nodes/pve1/qemu-server/200.conf' failed: File exists",
            "",
            "This ID is taken",
        ),
        ("403 Permission check failed (/vms/500, VM.Backup)", "", "The privilege VM.Backup is missing"),
        ("cluster not ready - no quorum?", "", "The cluster has no quorum"),
        (
            "migration aborted",
            "ERROR: storage 'z' is not available on node 'b'",
            "A node or its storage was out of reach",
        ),
        (
            "migration aborted",
            "ERROR: Can't connect to destination address using public key",
            "The nodes do not trust each other's SSH key",
        ),
        ("migration aborted", "", "The migration was given up"),
        ("error: certificate verify failed", "", "A certificate is not trusted"),
        ("can't remove VM 100 - protection mode enabled", "", "The guest is protected"),
        (
            "base volume 'local:9000/base-9000-disk-0.qcow2' is still in use by linked cloned",
            "",
            "Linked clones still need this template",
        ),
        ("VM is locked (backup)", "", "The guest is locked (backup)"),
        (
            "start failed: QEMU exited with code 1",
            "kvm: device requires 1 bytes",
            "The virtual machine did not start",
        ),
        (
            "start failed: QEMU exited with code 1",
            "kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            "The node has too little memory",
        ),
        ("VM quit/powerdown failed - got timeout", "", "The guest did not react in time"),
        ("received interrupt", "", "The task was interrupted"),
        ("unexpected status", "some line about no space left", "How this task ended is unknown"),
        ("bridge 'vmbr0' does not exist", "", "The network bridge vmbr0 is missing on this node"),
        ("startup for container '100' failed", "lxc_start: 2007 Failed", "Container 100 did not start"),
        ("job errors", "", "Some guests were not backed up"),
    ],
)
def test_known_failures(exit_text, error_line, title):
    failure = explain_failure(exit_text, error_line)
    assert failure is not None
    assert failure.title == title
    assert failure.meaning.endswith(".") and failure.remedy.endswith(".")
    assert "{" not in failure.title + failure.meaning + failure.remedy


@pytest.mark.parametrize("exit_text", ["OK", "", "something nobody has seen", "x" * 300_000, "{vmid}"])
def test_other_texts_are_not_explained(exit_text):
    assert explain_failure(exit_text) is None


def test_words_of_the_remote_are_no_template():
    failure = explain_failure("Permission check failed (/vms/{privilege}, {path})")
    assert failure is None or "{privilege} on {path}" not in failure.title


def test_most_recorded_errors_are_known():
    entries = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))["logs"]
    failed = [entry["exitstatus"] for entry in entries if entry["outcome"] == "error" and entry["exitstatus"]]
    known = [text for text in failed if explain_failure(text)]
    assert len(known) >= 10
