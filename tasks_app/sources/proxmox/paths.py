"""Addresses of nodes, tasks and guests below `/api2/json`; pure text."""

from urllib.parse import quote

from tasks_app.sources.proxmox.inventory import GuestKind


def segment(text: str) -> str:
    """One path component, percent-encoded exactly once. Raises ValueError for what would leave its folder."""
    if text in ("", ".", ".."):
        raise ValueError("not a name")
    return quote(text, safe="")


def task_path(node: str, upid: str) -> str:
    return f"/nodes/{segment(node)}/tasks/{segment(upid)}"


def guest_path(kind: GuestKind, node: str, vmid: int) -> str:
    return f"/nodes/{segment(node)}/{segment(kind)}/{int(vmid)}"
