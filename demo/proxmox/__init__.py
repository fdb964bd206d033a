"""A demo cluster: a server that answers like three nodes of Proxmox VE 9.2."""

from demo.proxmox.harness import DemoCluster

__all__ = ["DemoCluster"]
