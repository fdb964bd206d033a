"""Kinds of tasks: what a person calls them, and to which family of time limits they belong.

The types are Proxmox's worker types (pve-manager `www/manager6/Utils.js`, qemu-server, pve-container), and what a
generation source makes.
"""

from dataclasses import dataclass

MINUTE = 60
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Family:
    """Kinds that share a time limit, which an admin may change. `seconds` is the default."""

    label: str
    seconds: int


# Limits as the Proxmox task guides have them; a console is open as long as somebody works in it.
FAMILIES: dict[str, Family] = {
    "clone": Family("Clone, move, migrate, download", 2 * HOUR),
    "backup": Family("Back up and restore", 4 * HOUR),
    "snapshot": Family("Snapshot and roll back", 10 * MINUTE),
    "start": Family("Start and resume", 5 * MINUTE),
    "stop": Family("Stop, shut down, reboot, suspend", 5 * MINUTE),
    "create": Family("Create", 30 * MINUTE),
    "console": Family("Consoles and shells", 24 * HOUR),
    "other": Family("Anything else", 30 * MINUTE),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """`label` names the kind, `verb` begins the sentence about one task, `family` says when it is overdue."""

    label: str
    verb: str
    noun: str = ""
    family: str = "other"


MADE = frozenset({"video", "image", "workflow"})
"""Types of generation tasks; their name is the prompt, shortened."""

KINDS: dict[str, Kind] = {
    "qmclone": Kind("VM clone", "Clone", "VM", "clone"),
    "vzclone": Kind("CT clone", "Clone", "CT", "clone"),
    "qmcreate": Kind("VM create", "Create", "VM", "create"),
    "vzcreate": Kind("CT create", "Create", "CT", "create"),
    "qmrestore": Kind("VM restore", "Restore", "VM", "backup"),
    "vzrestore": Kind("CT restore", "Restore", "CT", "backup"),
    "qmstart": Kind("VM start", "Start", "VM", "start"),
    "vzstart": Kind("CT start", "Start", "CT", "start"),
    "qmstop": Kind("VM stop", "Stop", "VM", "stop"),
    "vzstop": Kind("CT stop", "Stop", "CT", "stop"),
    "qmshutdown": Kind("VM shutdown", "Shut down", "VM", "stop"),
    "vzshutdown": Kind("CT shutdown", "Shut down", "CT", "stop"),
    "qmreboot": Kind("VM reboot", "Reboot", "VM", "stop"),
    "vzreboot": Kind("CT reboot", "Reboot", "CT", "stop"),
    "qmreset": Kind("VM reset", "Reset", "VM", "stop"),
    "qmsuspend": Kind("VM hibernate", "Hibernate", "VM", "stop"),
    "qmpause": Kind("VM pause", "Pause", "VM", "stop"),
    "qmresume": Kind("VM resume", "Resume", "VM", "start"),
    "vzsuspend": Kind("CT suspend", "Suspend", "CT", "stop"),
    "vzresume": Kind("CT resume", "Resume", "CT", "start"),
    "qmsnapshot": Kind("VM snapshot", "Snapshot", "VM", "snapshot"),
    "vzsnapshot": Kind("CT snapshot", "Snapshot", "CT", "snapshot"),
    "qmrollback": Kind("VM rollback", "Roll back", "VM", "snapshot"),
    "vzrollback": Kind("CT rollback", "Roll back", "CT", "snapshot"),
    "qmdelsnapshot": Kind("VM delete snapshot", "Delete snapshot of", "VM", "snapshot"),
    "vzdelsnapshot": Kind("CT delete snapshot", "Delete snapshot of", "CT", "snapshot"),
    "qmtemplate": Kind("VM to template", "Convert to template", "VM"),
    "vztemplate": Kind("CT to template", "Convert to template", "CT"),
    "qmdestroy": Kind("VM destroy", "Destroy", "VM"),
    "vzdestroy": Kind("CT destroy", "Destroy", "CT"),
    "qmconfig": Kind("VM configure", "Configure", "VM"),
    "qmmove": Kind("VM move disk", "Move disk of", "VM", "clone"),
    "move_volume": Kind("CT move volume", "Move volume of", "CT", "clone"),
    "qmigrate": Kind("VM migrate", "Migrate", "VM", "clone"),
    "vzmigrate": Kind("CT migrate", "Migrate", "CT", "clone"),
    "qmtunnel": Kind("VM migration target", "Receive", "VM", "clone"),
    "vzmtunnel": Kind("CT migration target", "Receive", "CT", "clone"),
    "resize": Kind("Resize disk", "Resize disk of", "guest"),
    "pull_file": Kind("Pull file", "Pull file from", "CT"),
    "push_file": Kind("Push file", "Push file to", "CT"),
    "vncproxy": Kind("Console", "Console of", "guest", "console"),
    "spiceproxy": Kind("Console (SPICE)", "Console of", "guest", "console"),
    "vncshell": Kind("Shell", "Shell", "", "console"),
    "spiceshell": Kind("Shell (SPICE)", "Shell", "", "console"),
    "hastart": Kind("HA start", "Ask HA to start", "guest", "start"),
    "hastop": Kind("HA stop", "Ask HA to stop", "guest", "stop"),
    "hamigrate": Kind("HA migrate", "Ask HA to migrate", "guest", "start"),
    "vzdump": Kind("Backup", "Back up", "guest", "backup"),
    "download": Kind("Download", "Download", "", "clone"),
    "ociregistrypull": Kind("Pull OCI image", "Pull image", "", "clone"),
    "imgcopy": Kind("Copy data", "Copy data", "", "clone"),
    "imgdel": Kind("Erase data", "Erase data", ""),
    "prunebackups": Kind("Prune backups", "Prune backups", ""),
    "startall": Kind("Bulk start", "Start all guests", ""),
    "stopall": Kind("Bulk shutdown", "Shut down all guests", ""),
    "suspendall": Kind("Bulk suspend", "Suspend all guests", ""),
    "migrateall": Kind("Bulk migrate", "Migrate all guests", "", "backup"),
    "bulk-start": Kind("Bulk start", "Start guests", ""),
    "bulk-shutdown": Kind("Bulk shutdown", "Shut down guests", ""),
    "bulk-suspend": Kind("Bulk suspend", "Suspend guests", ""),
    "bulk-migrate": Kind("Bulk migrate", "Migrate guests", "", "backup"),
    "aptupdate": Kind("Update package list", "Update package list", ""),
    "srvstart": Kind("Service start", "Start service", ""),
    "srvstop": Kind("Service stop", "Stop service", ""),
    "srvrestart": Kind("Service restart", "Restart service", ""),
    "srvreload": Kind("Service reload", "Reload service", ""),
    "reloadnetworkall": Kind("Reload network", "Reload network on all nodes", ""),
    "clustercreate": Kind("Create cluster", "Create cluster", ""),
    "clusterjoin": Kind("Join cluster", "Join cluster", ""),
    "auth-realm-sync": Kind("Realm sync", "Sync realm", ""),
    "auth-realm-sync-test": Kind("Realm sync preview", "Preview sync of realm", ""),
    "cephcreateosd": Kind("Create Ceph OSD", "Create Ceph OSD on", ""),
    "cephdestroyosd": Kind("Destroy Ceph OSD", "Destroy Ceph OSD", ""),
    "diskinit": Kind("Initialise disk", "Initialise disk", ""),
    "wipedisk": Kind("Wipe disk", "Wipe disk", ""),
    "video": Kind("Video", "Make video"),
    "image": Kind("Image", "Make image"),
    "workflow": Kind("Workflow", "Run workflow"),
}


def kind_of(type: str) -> Kind:
    """The kind of a worker type; an unknown one is shown by its own name and belongs to "other"."""
    return KINDS.get(type) or Kind(type, type)


GENERATION = "generation"
HISTORY_FAMILIES: dict[str, str] = {
    **{name: family.label for name, family in FAMILIES.items()},
    GENERATION: "Videos, images, workflows",
}
"""Families by which the history is kept, and their labels. Each type belongs to one: see `history_family`."""


def history_family(type: str) -> str:
    """The family by which tasks of a worker type are kept; those that make things have one of their own."""
    return GENERATION if type in MADE else kind_of(type).family


def guest_name(vmid: int | None, name: str) -> str:
    """`web-07 (207)`, `207` while the name is not known, "" without a guest."""
    if vmid is None:
        return name
    return f"{name} ({vmid})" if name else str(vmid)


def sentence(
    type: str,
    *,
    object_id: str,
    vmid: int | None,
    name: str = "",
    new_vmid: int | None = None,
    new_name: str = "",
) -> str:
    """What the task does, for people: `Clone tpl-ubuntu24 (9000) → web-07 (207)`."""
    kind = kind_of(type)
    if type in MADE:
        return f"{kind.verb} “{name}”" if name else f"{kind.verb} {object_id}".rstrip()
    if type == "vzdump" and not object_id:
        return "Back up guests (job)"
    target = guest_name(vmid, name) or object_id
    words = [kind.verb]
    if vmid is not None and not name and kind.noun:
        words.append(kind.noun)
    if target:
        words.append(target)
    if new_vmid is not None:
        words += ["→", guest_name(new_vmid, new_name)]
    return " ".join(words)
