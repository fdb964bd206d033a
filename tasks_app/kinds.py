"""Kinds of tasks: what a person calls them, and how long they may take before they are overdue.

The types are Proxmox's worker types (pve-manager `www/manager6/Utils.js`, qemu-server, pve-container).
"""

from dataclasses import dataclass

MINUTE = 60
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Kind:
    """`label` names the kind, `verb` begins the sentence about one task, `limit_seconds` is when it is overdue."""

    label: str
    verb: str
    noun: str = ""
    limit_seconds: int = 30 * MINUTE


# Limits as the Proxmox task guides have them: clone 2 h, backup 4 h, snapshot 10 min, start and stop 5 min.
_CLONE, _BACKUP, _SNAPSHOT, _POWER = 2 * HOUR, 4 * HOUR, 10 * MINUTE, 5 * MINUTE

KINDS: dict[str, Kind] = {
    "qmclone": Kind("VM clone", "Clone", "VM", _CLONE),
    "vzclone": Kind("CT clone", "Clone", "CT", _CLONE),
    "qmcreate": Kind("VM create", "Create", "VM"),
    "vzcreate": Kind("CT create", "Create", "CT"),
    "qmrestore": Kind("VM restore", "Restore", "VM", _BACKUP),
    "vzrestore": Kind("CT restore", "Restore", "CT", _BACKUP),
    "qmstart": Kind("VM start", "Start", "VM", _POWER),
    "vzstart": Kind("CT start", "Start", "CT", _POWER),
    "qmstop": Kind("VM stop", "Stop", "VM", _POWER),
    "vzstop": Kind("CT stop", "Stop", "CT", _POWER),
    "qmshutdown": Kind("VM shutdown", "Shut down", "VM", _POWER),
    "vzshutdown": Kind("CT shutdown", "Shut down", "CT", _POWER),
    "qmreboot": Kind("VM reboot", "Reboot", "VM", _POWER),
    "vzreboot": Kind("CT reboot", "Reboot", "CT", _POWER),
    "qmreset": Kind("VM reset", "Reset", "VM", _POWER),
    "qmsuspend": Kind("VM hibernate", "Hibernate", "VM", _POWER),
    "qmpause": Kind("VM pause", "Pause", "VM", _POWER),
    "qmresume": Kind("VM resume", "Resume", "VM", _POWER),
    "vzsuspend": Kind("CT suspend", "Suspend", "CT", _POWER),
    "vzresume": Kind("CT resume", "Resume", "CT", _POWER),
    "qmsnapshot": Kind("VM snapshot", "Snapshot", "VM", _SNAPSHOT),
    "vzsnapshot": Kind("CT snapshot", "Snapshot", "CT", _SNAPSHOT),
    "qmrollback": Kind("VM rollback", "Roll back", "VM", _SNAPSHOT),
    "vzrollback": Kind("CT rollback", "Roll back", "CT", _SNAPSHOT),
    "qmdelsnapshot": Kind("VM delete snapshot", "Delete snapshot of", "VM", _SNAPSHOT),
    "vzdelsnapshot": Kind("CT delete snapshot", "Delete snapshot of", "CT", _SNAPSHOT),
    "qmtemplate": Kind("VM to template", "Convert to template", "VM"),
    "vztemplate": Kind("CT to template", "Convert to template", "CT"),
    "qmdestroy": Kind("VM destroy", "Destroy", "VM"),
    "vzdestroy": Kind("CT destroy", "Destroy", "CT"),
    "qmconfig": Kind("VM configure", "Configure", "VM"),
    "qmmove": Kind("VM move disk", "Move disk of", "VM", _CLONE),
    "move_volume": Kind("CT move volume", "Move volume of", "CT", _CLONE),
    "qmigrate": Kind("VM migrate", "Migrate", "VM", _CLONE),
    "vzmigrate": Kind("CT migrate", "Migrate", "CT", _CLONE),
    "qmtunnel": Kind("VM migration target", "Receive", "VM", _CLONE),
    "vzmtunnel": Kind("CT migration target", "Receive", "CT", _CLONE),
    "resize": Kind("Resize disk", "Resize disk of", "guest"),
    "pull_file": Kind("Pull file", "Pull file from", "CT"),
    "push_file": Kind("Push file", "Push file to", "CT"),
    "vncproxy": Kind("Console", "Console of", "guest", 24 * HOUR),
    "spiceproxy": Kind("Console (SPICE)", "Console of", "guest", 24 * HOUR),
    "vncshell": Kind("Shell", "Shell", "", 24 * HOUR),
    "spiceshell": Kind("Shell (SPICE)", "Shell", "", 24 * HOUR),
    "hastart": Kind("HA start", "Ask HA to start", "guest", _POWER),
    "hastop": Kind("HA stop", "Ask HA to stop", "guest", _POWER),
    "hamigrate": Kind("HA migrate", "Ask HA to migrate", "guest", _POWER),
    "vzdump": Kind("Backup", "Back up", "guest", _BACKUP),
    "download": Kind("Download", "Download", "", _CLONE),
    "ociregistrypull": Kind("Pull OCI image", "Pull image", "", _CLONE),
    "imgcopy": Kind("Copy data", "Copy data", "", _CLONE),
    "imgdel": Kind("Erase data", "Erase data", ""),
    "prunebackups": Kind("Prune backups", "Prune backups", ""),
    "startall": Kind("Bulk start", "Start all guests", ""),
    "stopall": Kind("Bulk shutdown", "Shut down all guests", ""),
    "suspendall": Kind("Bulk suspend", "Suspend all guests", ""),
    "migrateall": Kind("Bulk migrate", "Migrate all guests", "", _BACKUP),
    "bulk-start": Kind("Bulk start", "Start guests", ""),
    "bulk-shutdown": Kind("Bulk shutdown", "Shut down guests", ""),
    "bulk-suspend": Kind("Bulk suspend", "Suspend guests", ""),
    "bulk-migrate": Kind("Bulk migrate", "Migrate guests", "", _BACKUP),
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
}


def kind_of(type: str) -> Kind:
    """The kind of a worker type; an unknown one is shown by its own name and judged by the general limit."""
    return KINDS.get(type) or Kind(type, type)


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
