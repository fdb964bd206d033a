"""Proxmox VE: connect, observe tasks, start and stop things, and say what a token lacks."""

from tasks_app.sources.proxmox.connection import Connection
from tasks_app.sources.proxmox.inventory import Node, Resource, Storage, Version, disk_sizes
from tasks_app.sources.proxmox.permissions import Permissions
from tasks_app.sources.proxmox.source import ProxmoxSource
from tasks_app.sources.proxmox.tasks import NodeTasks

__all__ = [
    "Connection",
    "Node",
    "NodeTasks",
    "Permissions",
    "ProxmoxSource",
    "Resource",
    "Storage",
    "Version",
    "disk_sizes",
]
