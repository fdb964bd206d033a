"""The calls that change something on a Proxmox VE cluster; none is ever repeated here."""

from collections.abc import Mapping
from urllib.parse import quote

from tasks_app.sources.errors import OutcomeUnknown, SourceRefused
from tasks_app.sources.proxmox.api import ProxmoxApi
from tasks_app.sources.proxmox.inventory import GuestKind
from tasks_app.sources.proxmox.paths import guest_path, segment, task_path

STOP_SECONDS = 20.0
"""DELETE of a task answers when its worker is gone: 2 s for a clone, 5 s at most; the rest is margin."""

Values = dict[str, str | int]


class Deeds:
    """Each returns the UPID of the task it started, unless it says otherwise.

    They raise SourceUnavailable and SourceNeedsPerson (certainly nothing happened), SourceRefused (give up), and
    OutcomeUnknown when the answer was lost. Impossible deeds often answer a UPID too and fail in the task.
    """

    _api: ProxmoxApi

    def stop_task(self, node: str, upid: str) -> None:
        """Ask the task to end and wait until its worker is gone (2 to 5 s). A finished task is no error.

        Raises SourceRefused (forbidden with Sys.Modify for tasks of others; not_found).
        """
        self._api.write("DELETE", task_path(node, upid), read_seconds=STOP_SECONDS)

    # power

    def start_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        return self._start("POST", guest_path(kind, node, vmid) + "/status/start")

    def stop_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        """Pull the plug."""
        return self._start("POST", guest_path(kind, node, vmid) + "/status/stop")

    def shutdown_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        return self._start("POST", guest_path(kind, node, vmid) + "/status/shutdown")

    def reboot_guest(self, kind: GuestKind, node: str, vmid: int) -> str:
        """A stopped guest is refused (remote_error)."""
        return self._start("POST", guest_path(kind, node, vmid) + "/status/reboot")

    # snapshots and backups

    def create_snapshot(self, kind: GuestKind, node: str, vmid: int, name: str, description: str = "") -> str:
        """`name` has 2 to 40 characters and starts with a letter. A duplicate fails in the task."""
        return self._start(
            "POST", guest_path(kind, node, vmid) + "/snapshot", _given(snapname=name, description=description)
        )

    def rollback_snapshot(
        self, kind: GuestKind, node: str, vmid: int, name: str, *, start: bool = False
    ) -> str:
        """A guest that runs is stopped without a question; `start` starts it afterwards."""
        path = f"{guest_path(kind, node, vmid)}/snapshot/{segment(name)}/rollback"
        return self._start("POST", path, {"start": 1} if start else None)

    def backup_guest(
        self, node: str, vmid: int, *, storage: str, mode: str = "snapshot", notes: str = ""
    ) -> str:
        """`mode` is snapshot, suspend or stop; in `notes` Proxmox fills `{{guestname}}` and such in.

        Without VM.Backup the task fails, not the call. Where the node has no such guest Proxmox answers "OK"
        and starts nothing: refused as remote_error.
        """
        data = _given(storage=storage, mode=mode, compress="zstd", **{"notes-template": notes})
        answer = self._api.write("POST", f"/nodes/{segment(node)}/vzdump", {"vmid": int(vmid)} | data)
        if answer == "OK":
            raise SourceRefused(f"Node {node} found no guest {vmid} to back up.", kind="remote_error")
        return _upid(answer)

    # making, changing, removing

    def clone_guest(
        self,
        kind: GuestKind,
        node: str,
        vmid: int,
        *,
        new_vmid: int,
        name: str = "",
        full: bool | None = None,
        storage: str = "",
        target: str = "",
        pool: str = "",
        description: str = "",
        format: str = "",
    ) -> str:
        """`full` None lets Proxmox decide: a template is linked, anything else copied.

        `storage` and `format` are refused for linked clones; `target` is another node and needs a shared storage.
        An id in use is refused as remote_error, or fails in the task, whose id is the source.
        """
        data = _given(storage=storage, target=target, pool=pool, description=description, format=format)
        data |= {"newid": new_vmid} | _given(**{"name" if kind == "qemu" else "hostname": name})
        if full is not None:
            data["full"] = int(full)
        return self._start("POST", guest_path(kind, node, vmid) + "/clone", data)

    def create_container(
        self,
        node: str,
        vmid: int,
        *,
        ostemplate: str,
        storage: str,
        disk_gb: int,
        hostname: str,
        cores: int,
        memory_mb: int,
        swap_mb: int = 0,
        network: str = "",
        ssh_keys: str = "",
        pool: str = "",
        description: str = "",
        tags: str = "",
    ) -> str:
        """An unprivileged container; `network` is the value of net0. An id in use is refused as remote_error.

        `ssh_keys` go as plain text here, unlike those of a VM. A template that is missing fails in the task.
        """
        keys = normalise_keys(ssh_keys)
        data = _given(ostemplate=ostemplate, hostname=hostname, net0=network, pool=pool, tags=tags)
        data |= _given(description=description, **{"ssh-public-keys": keys})
        data |= {"vmid": int(vmid), "rootfs": f"{storage}:{int(disk_gb)}", "unprivileged": 1}
        data |= {"cores": int(cores), "memory": int(memory_mb), "swap": int(swap_mb)}
        return self._start("POST", f"/nodes/{segment(node)}/lxc", data)

    def configure_guest(
        self,
        kind: GuestKind,
        node: str,
        vmid: int,
        values: Mapping[str, str | int],
        *,
        remove: tuple[str, ...] = (),
    ) -> None:
        """Set `values` and remove the options named in `remove`, all at once; done when it returns, without a task.

        `sshkeys` is given as plain lines. Removing what is not set is no error.
        """
        data: Values = dict(values)
        if "sshkeys" in data:
            # Encoded once more than the form itself: Proxmox stores this value percent-encoded.
            data["sshkeys"] = encode_keys(str(data["sshkeys"]))
        if remove:
            data["delete"] = ",".join(remove)
        self._api.write("PUT", guest_path(kind, node, vmid) + "/config", data)

    def resize_disk(self, kind: GuestKind, node: str, vmid: int, *, disk: str, size_gb: int) -> str:
        """Make `disk` that large; its present size is no error, a smaller one fails in the task."""
        path = guest_path(kind, node, vmid) + "/resize"
        return self._start("PUT", path, {"disk": disk, "size": f"{int(size_gb)}G"})

    def delete_guest(self, kind: GuestKind, node: str, vmid: int, *, purge: bool = True) -> str:
        """With its disks; `purge` also takes it out of backup jobs, replication and HA.

        Refused as remote_error when it runs, is protected or gone; as forbidden when it is gone and the token had
        its right through the pool.
        """
        params = {"purge": 1} if purge else None
        return _upid(self._api.write("DELETE", guest_path(kind, node, vmid), params=params))

    def _start(self, method: str, path: str, data: Values | None = None) -> str:
        return _upid(self._api.write(method, path, data))


def normalise_keys(text: str) -> str:
    """One key a line, with LF: a CR would reach the guest."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def encode_keys(text: str) -> str:
    """As Proxmox keeps `sshkeys`: percent-encoded, a blank as %20 and never +."""
    return quote(normalise_keys(text) + "\n", safe="")


def _upid(answer: object) -> str:
    if not isinstance(answer, str) or not answer.startswith("UPID:"):
        raise OutcomeUnknown("Proxmox answered without naming a task.", kind="garbage")
    return answer


def _given(**values: str) -> Values:
    """Only what was given: Proxmox takes an empty text for a value."""
    return {key: value for key, value in values.items() if value}
