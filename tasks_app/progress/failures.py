"""The errors met most often: what each means, and what can be done about it, in plain words."""

import re
from dataclasses import dataclass

_SEARCHED_CHARS = 4000


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Sentences for the card above a failed task's log."""

    title: str
    meaning: str
    remedy: str


# The first that matches wins, so the special stand before the general. `{name}` takes the named group.
_KNOWN: tuple[tuple[str, KnownFailure], ...] = (
    (
        r"can't lock file '[^']{0,200}/lock-(?P<vmid>\d{1,9})\.conf'.{0,40}got timeout",
        KnownFailure(
            "Another operation holds guest {vmid}",
            "The node waited ten seconds for the lock of guest {vmid}, but another task was still working on it.",
            "Wait until that task has ended, then start this one again. Clones of a running VM exclude each other.",
        ),
    ),
    (
        r"(?:can't lock file|cfs[- ]lock|trying to (?:acquire|get) .{0,40}lock|can't acquire lock)"
        r".{0,200}(?:timeout|timed out)"
        r"|got lock (?:request )?timeout|'storage-[^']{1,80}'-locked command timed out",
        KnownFailure(
            "A lock was not free in time",
            "Another task, perhaps on another node, was using the same storage or file for too long.",
            "Start the task again when less is going on. If nothing runs, look at the storage: "
            "it may answer slowly.",
        ),
    ),
    (
        r"no space left|not enough (?:free )?space|insufficient (?:free|disk) space"
        r"|out of (?:disk )?space|disk quota exceeded"
        r"|enospc|free space .{0,40}not sufficient|storage .{0,80} is full",
        KnownFailure(
            "The storage is full",
            "The target storage had no room for the data this task wanted to write.",
            "Delete what is not needed there (old backups, unused disks, snapshots) or choose another storage.",
        ),
    ),
    (
        r"config file already exists|unable to create (?:VM|CT) \d{1,9}.{0,60}already exists"
        r"|\d{1,9}\.conf'? failed: File exists|(?:VM|CT) \d{1,9} already exists",
        KnownFailure(
            "This ID is taken",
            "A VM or container with the chosen ID exists already, perhaps on another node.",
            "Start again with a free ID.",
        ),
    ),
    (
        r"permission check failed \((?P<path>[^,()]{1,200}), ?(?P<privilege>[\w.|, ]{1,200})\)",
        KnownFailure(
            "The privilege {privilege} is missing",
            "The account or API token used for this task may not do this: it lacks {privilege} on {path}.",
            "Ask an administrator of the cluster for a role with {privilege} on {path}. "
            "A token with separated privileges needs it too, not only its user.",
        ),
    ),
    (
        r"permission (?:check failed|denied)|only root can|not a privileged user|403 ",
        KnownFailure(
            "Permission denied",
            "The account of this task, or the service that did the work, was not allowed to read or write something.",
            "Look in the log for the file or object named there and check its rights.",
        ),
    ),
    (
        r"no quorum|not quorate|cluster not ready",
        KnownFailure(
            "The cluster has no quorum",
            "Too few nodes of the cluster see each other, so configuration is read-only.",
            "Bring the missing nodes or their network back. Until then nothing can be changed.",
        ),
    ),
    (
        r"no route to host|\b59[5-9]\b.{0,60}(?:error|connection|timed out|refused)"
        r"|node '[^']{1,80}' (?:is )?(?:offline|not online)"
        r"|unable to (?:reach|contact) node|is not available on node",
        KnownFailure(
            "A node or its storage was out of reach",
            "The task needed another node, or a storage on it, which did not answer or is not set up there.",
            "Check that the node is up and that the storage is available on it, then start the task again.",
        ),
    ),
    (
        r"host key verification failed|can't connect to destination address using public key",
        KnownFailure(
            "The nodes do not trust each other's SSH key",
            "The connection to the target node was refused before anything was copied.",
            "An administrator can repair this with “pvecm updatecerts” on the nodes.",
        ),
    ),
    (
        r"certificate (?:verify failed|has expired)"
        r"|fingerprint .{0,120}(?:not verified|mismatch|doesn't match)"
        r"|ssl(?:v3)? (?:routines|error)|tls_process",
        KnownFailure(
            "A certificate is not trusted",
            "The other side showed a certificate that has expired, has changed, or is not the one on record.",
            "If the change was intended, store the new fingerprint where the connection is configured.",
        ),
    ),
    (
        r"is protected|protection mode (?:is )?(?:enabled|set)|can't remove (?:VM|CT) \d{1,9} - protection",
        KnownFailure(
            "The guest is protected",
            "Its protection option is on. It forbids removing the guest or its disks.",
            "Switch the option off first, if the guest may really go.",
        ),
    ),
    (
        r"base volume '(?P<volume>[^']{1,200})' is still in use",
        KnownFailure(
            "Linked clones still need this template",
            "Other guests were made as linked clones and read from {volume}.",
            "Remove those clones, or move their disks to make them independent, before removing the template.",
        ),
    ),
    (
        r"(?:VM|CT) is locked \((?P<lock>[\w-]{1,40})\)",
        KnownFailure(
            "The guest is locked ({lock})",
            "A “{lock}” operation on this guest is still running, or was killed and left its lock behind.",
            "If a task is at work, wait for it. If none is, an administrator can remove the lock "
            "with “qm unlock” or “pct unlock”.",
        ),
    ),
    (
        r"is a template|if it's a template",
        KnownFailure(
            "Templates cannot run",
            "The guest is a template, which can only be cloned.",
            "Clone it and start the clone.",
        ),
    ),
    (
        r"cannot allocate memory|out of memory|oom-kill",
        KnownFailure(
            "The node has too little memory",
            "There was not enough free memory on the node to give the guest what it is configured with.",
            "Stop or move other guests, or give this one less memory.",
        ),
    ),
    (
        r"volume '(?P<volume>[^']{1,200})' does not exist"
        r"|(?:no such|unable to find) (?:logical volume|volume|storage)"
        r"|storage '(?P<storage>[^']{1,80})' does not exist",
        KnownFailure(
            "A disk or file is missing",
            "Something this task needs is not on the storage (any more).",
            "Check the name in the log and that the storage is mounted on this node.",
        ),
    ),
    (
        r"bridge '(?P<bridge>[^']{1,40})' does not exist",
        KnownFailure(
            "The network bridge {bridge} is missing on this node",
            "The guest is connected to a bridge that this node does not have.",
            "Create the bridge, or connect the guest to one that exists here.",
        ),
    ),
    (
        r"received interrupt|interrupted by (?:unexpected )?signal|got signal 15|abort requested|task aborted"
        r"|sync aborted|job aborted|shutdown requested - aborting",
        KnownFailure(
            "The task was interrupted",
            "Somebody stopped it, or the management service of the node was restarted while it ran.",
            "Start it again if it was not stopped on purpose. Check that nothing half-made was left behind.",
        ),
    ),
    (
        r"guest-ping|qga command|guest agent.{0,40}(?:not running|timeout)|quit/powerdown failed",
        KnownFailure(
            "The guest did not react in time",
            "The request to shut down or to freeze was not answered: no guest agent runs, or the system hangs.",
            "Install and start the QEMU guest agent inside, or stop the guest the hard way.",
        ),
    ),
    (
        r"qmp command '(?P<command>[\w-]{1,60})' failed - (?:got timeout|unable to connect)",
        KnownFailure(
            "The virtual machine's process did not answer",
            "QEMU did not answer “{command}” in time; most often its storage is too slow or hangs.",
            "Check the storage of this guest. If the guest itself hangs too, it must be stopped and started.",
        ),
    ),
    (
        r"doesn't support requested feature|cpuid",
        KnownFailure(
            "The processor lacks a feature",
            "The CPU type chosen for this guest has features the node's processor cannot offer.",
            "Choose a more modest CPU type, such as x86-64-v2-AES or the node's own generation.",
        ),
    ),
    (
        r"doesn't match checksum|checksum (?:mismatch|error|failed)|decoding error",
        KnownFailure(
            "The data is damaged",
            "A checksum did not fit: the file was damaged when it was written, stored or transferred.",
            "Use another copy, and check the storage it came from.",
        ),
    ),
    (
        r"input/output error|err -5\b",
        KnownFailure(
            "A disk could not be read or written",
            "The storage reported an input/output error, which often means failing hardware or a lost connection.",
            "Check the storage and the node's system log before trying again.",
        ),
    ),
    (
        r"already running",
        KnownFailure(
            "The guest runs already",
            "Something else started it first.",
            "Nothing needs to be done.",
        ),
    ),
    (
        r"connection (?:refused|timed out|reset)|broken pipe|connection closed",
        KnownFailure(
            "A connection failed",
            "The other side of a connection did not answer or hung up while the task ran.",
            "Check the network and the service at the other end, then start the task again.",
        ),
    ),
    (
        r"qemu exited with code|kvm: ",
        KnownFailure(
            "The virtual machine did not start",
            "QEMU ended at once. Its own message in the log says why.",
            "Correct what the message names in the guest's configuration, then start it again.",
        ),
    ),
    (
        r"migration (?:aborted|problems)|migrate failure",
        KnownFailure(
            "The migration was given up",
            "The guest stays on its node; what had been copied to the target is removed as far as possible.",
            "Correct what the first error of the log names, then migrate again.",
        ),
    ),
    (
        r"startup for container '(?P<vmid>\d{1,9})' failed",
        KnownFailure(
            "Container {vmid} did not start",
            "The container's start was given up; the lines before the end of the log say at which step.",
            "Correct what they name. “pct start {vmid} --debug” on the node tells more.",
        ),
    ),
    (
        r"job errors",
        KnownFailure(
            "Some guests were not backed up",
            "The backup job went through all its guests, but at least one of them failed.",
            "Look in the log for “Backup of VM … failed”, correct the cause, and back that guest up again.",
        ),
    ),
    (
        r"unexpected status|unable to get last line",
        KnownFailure(
            "How this task ended is unknown",
            "Its process vanished without a last word: it was killed, or the node crashed or restarted.",
            "Look at the result itself: the guest may be unfinished or still locked.",
        ),
    ),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), failure) for pattern, failure in _KNOWN)


def explain_failure(exit_text: str, error_line: str = "") -> KnownFailure | None:
    """What is known about an error, from the log's telling line first, then from the exit text; else None."""
    texts = (error_line[:_SEARCHED_CHARS], exit_text[:_SEARCHED_CHARS])
    if texts[1].startswith("unexpected status"):
        texts = (texts[1],)  # type: ignore[assignment]
    for pattern, failure in _PATTERNS:
        for text in texts:
            match = pattern.search(text) if text else None
            if match:
                return _filled(failure, match)
    return None


def _filled(failure: KnownFailure, match: re.Match[str]) -> KnownFailure:
    """`failure` with the names found in the error put in; a text of the remote is never a template."""

    def fill(text: str) -> str:
        for name, value in match.groupdict().items():
            text = text.replace("{" + name + "}", value or "")
        return text

    return KnownFailure(fill(failure.title), fill(failure.meaning), fill(failure.remedy))
