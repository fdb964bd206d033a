"""Proxmox VE: connect, observe tasks, start and stop things, and say what a token lacks."""

from tasks_app.sources.proxmox.address import parse_address
from tasks_app.sources.proxmox.connection import Connection
from tasks_app.sources.proxmox.guests import AddressGap, GuestAddresses, GuestStatus, Snapshot, Volume
from tasks_app.sources.proxmox.inventory import Node, Resource, Storage, Version, disk_sizes
from tasks_app.sources.proxmox.permissions import (
    Excess,
    FunctionCheck,
    Permissions,
    check_functions,
    find_excess,
)
from tasks_app.sources.proxmox.probe import AddressProbe, Certificate, compare_command, probe_address
from tasks_app.sources.proxmox.pveum import pveum_commands
from tasks_app.sources.proxmox.source import ProxmoxSource
from tasks_app.sources.proxmox.tasks import NodeTasks

__all__ = [
    "AddressGap",
    "AddressProbe",
    "Certificate",
    "Connection",
    "Excess",
    "FunctionCheck",
    "GuestAddresses",
    "GuestStatus",
    "Node",
    "NodeTasks",
    "Permissions",
    "ProxmoxSource",
    "Resource",
    "Snapshot",
    "Storage",
    "Version",
    "Volume",
    "check_functions",
    "compare_command",
    "disk_sizes",
    "find_excess",
    "parse_address",
    "probe_address",
    "pveum_commands",
]
