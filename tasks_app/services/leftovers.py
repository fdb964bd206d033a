"""What a stopped task left behind: a guest that stays locked, disks without a guest. Only looks, never removes."""

from tasks_app.models import Task
from tasks_app.progress.tracker import Tracker
from tasks_app.sources.errors import SourceRefused
from tasks_app.sources.proxmox import ProxmoxSource, Resource, disk_sizes

NOTHING = "Nothing was left behind."

# The lock that a worker of this type takes on its own guest (qemu-server, pve-container) and loses only by ending well.
_LOCKS = {
    "vzdump": "backup",
    "qmigrate": "migrate",
    "vzmigrate": "migrate",
    "qmsnapshot": "snapshot",
    "vzsnapshot": "snapshot",
    "qmdelsnapshot": "snapshot-delete",
    "vzdelsnapshot": "snapshot-delete",
    "qmrollback": "rollback",
    "vzrollback": "rollback",
    "qmcreate": "create",
    "vzcreate": "create",
    "qmrestore": "create",
    "vzrestore": "create",
}
_HEAD_LINES = 20  # the new id stands in the first lines of a clone's log


def describe_leftovers(client: ProxmoxSource, task: Task) -> str:
    """A sentence for people about what `task` left, with the commands for an admin. Raises SourceError.

    A new guest that carries a lock, and what its configuration says about disks, can be seen; disks that nothing
    refers to cannot, with the privileges of a small token.
    """
    guests = {row.vmid: row for row in client.fetch_resources("vm") if row.vmid is not None}
    if task.type in ("qmclone", "vzclone"):
        new_vmid = fetch_new_vmid(client, task)
        if new_vmid is None:
            return "The portal does not know the VMID of the new guest, so it could not look for leftovers."
        return _describe_target(client, guests.get(new_vmid))
    guest = guests.get(task.vmid) if task.vmid is not None else None
    if guest is not None and guest.lock and guest.lock == _LOCKS.get(task.type):
        tool = _tool(guest)
        return (
            f"1 leftover: {_name(guest)} is locked ({guest.lock}). When nothing works on it any more, an admin "
            f"unlocks it on {guest.node}: `{tool} unlock {guest.vmid}`."
        )
    return NOTHING


def fetch_new_vmid(client: ProxmoxSource, task: Task) -> int | None:
    """The guest a clone makes: as noted, as the portal asked for, or as the head of its log says."""
    if task.new_vmid is not None:
        return task.new_vmid
    if task.submission is not None and task.submission.new_vmid is not None:
        return task.submission.new_vmid
    return read_new_vmid(client, task.node, task.remote_id, task.type)


def read_new_vmid(client: ProxmoxSource, node: str, remote_id: str, type: str) -> int | None:
    """The new VMID in the first lines of a clone's log; None when they do not name it (yet)."""
    tracker = Tracker(type)
    for line in client.fetch_log(node, remote_id, after=0, limit=_HEAD_LINES).lines:
        tracker.feed(line.text)
    return tracker.new_vmid


def _describe_target(client: ProxmoxSource, guest: Resource | None) -> str:
    if guest is None or not guest.lock:
        return NOTHING
    disks = _fetch_disks(client, guest)
    found = [f"{_name(guest)} is locked ({guest.lock})", *(f"disk {disk}" for disk in disks)]
    count = f"{len(found)} leftover{'s' if len(found) > 1 else ''}"
    tool = _tool(guest)
    destroy = f"{tool} destroy {guest.vmid} --purge 1 --destroy-unreferenced-disks 1"
    return (
        f"{count}: {'; '.join(found)}. The token of the portal cannot remove a locked guest; an admin does it on "
        f"{guest.node}: `{tool} unlock {guest.vmid} && {destroy}`."
    )


def _fetch_disks(client: ProxmoxSource, guest: Resource) -> list[str]:
    """Volumes its configuration names; none when that may not be read."""
    assert guest.vmid is not None
    try:
        config = client.fetch_guest_config("qemu" if guest.type == "qemu" else "lxc", guest.node, guest.vmid)
    except SourceRefused:
        return []
    return sorted(str(config[key]).partition(",")[0] for key in disk_sizes(config))


def _name(guest: Resource) -> str:
    return f"{'VM' if guest.type == 'qemu' else 'CT'} {guest.vmid}"


def _tool(guest: Resource) -> str:
    return "qm" if guest.type == "qemu" else "pct"
