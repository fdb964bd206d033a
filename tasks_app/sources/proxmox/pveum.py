"""The `pveum` lines that give a token exactly what the portal needs; pure text, nothing is run here.

The complete script was run as printed on Proxmox VE 9.2.11, and what its token then had was recorded. With
privilege separation a token has what its user *and* the token hold, so both get every line. A role on a
deeper path replaces the inherited one, therefore each role holds the auditing it needs, too.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tasks_app.sources.proxmox.inventory import Version

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
_USER = re.compile(r"[^\s:/=!@'\"$`\\;&|<>()]+@[A-Za-z][\w.\-]+")


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its privileges; without privileges it is one that Proxmox brings along."""

    name: str
    privileges: tuple[str, ...] = ()

    def for_version(self, version: Version) -> "Role":
        """PVE 8 has other words; an unknown privilege would refuse the whole role."""
        if version.major >= 9:
            return self
        older = {"VM.GuestAgent.Audit": "VM.Monitor"}
        privileges = tuple(older.get(p, p) for p in self.privileges)
        if version.major < 8:
            privileges = tuple(p for p in privileges if not p.startswith("SDN."))
        return Role(self.name, privileges)


PORTAL_VIEW = Role("PortalView", ("Sys.Audit", "VM.Audit", "Datastore.Audit", "Pool.Audit", "SDN.Audit"))
PORTAL_CANCEL = Role("PortalCancel", ("Sys.Audit", "Sys.Modify"))
PORTAL_POWER = ("VM.Audit", "VM.PowerMgmt", "VM.GuestAgent.Audit", "Pool.Audit")
PORTAL_SNAPSHOTS = ("VM.Snapshot", "VM.Snapshot.Rollback")
PORTAL_MACHINES = (
    "VM.Allocate",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Disk",
    "VM.Config.Options",
    "VM.Config.Cloudinit",
    "VM.Config.Network",
    "VM.Console",
)
PORTAL_VM = Role("PortalVM", (*PORTAL_POWER, *PORTAL_SNAPSHOTS, *PORTAL_MACHINES))
# A role of its own: roles on one path add up, and the recorded script stays as it was recorded.
PORTAL_BACKUP = Role("PortalBackup", ("VM.Backup",))
PORTAL_STORAGE = Role("PortalStorage", ("Datastore.AllocateSpace", "Datastore.Audit"))
TEMPLATE_USER = Role("PVETemplateUser")
SDN_USER = Role("PVESDNUser")


def pveum_commands(
    version: Version,
    *,
    user: str = "portal@pve",
    token: str = "web",  # noqa: S107 - a name, not a secret
    pool: str = "",
    templates: Sequence[int] = (),
    storages: Sequence[str] = (),
    bridges: Sequence[str] = (),
    cancel_others: bool = False,
    power: bool = True,
    snapshots: bool = True,
    clone: bool = True,
    backups: bool = False,
) -> str:
    """The least-privilege script for root on a node of this version. It prints the token's secret once.

    Guests are those of `pool`, or all without one. Raises ValueError for names that Proxmox would not take.
    """
    _require_names(user, token, pool, storages, bridges)
    grants: list[tuple[str, Role]] = [("/", PORTAL_VIEW)]
    if cancel_others:
        grants.append(("/nodes", PORTAL_CANCEL))
    guests = f"/pool/{pool}" if pool else "/vms"
    guest_privileges = (
        *(PORTAL_POWER if power else ()),
        *(PORTAL_SNAPSHOTS if snapshots else ()),
        *(PORTAL_MACHINES if clone else ()),
    )
    if guest_privileges:
        needed = tuple(dict.fromkeys(("VM.Audit", "Pool.Audit", *guest_privileges)))
        grants.append((guests, Role(PORTAL_VM.name, needed)))
    if backups:
        grants.append((guests, PORTAL_BACKUP))
    if clone:
        grants += [(f"/vms/{int(vmid)}", TEMPLATE_USER) for vmid in templates]
    if clone or backups:
        grants += [(f"/storage/{name}", PORTAL_STORAGE) for name in storages]
    if clone and version.major >= 8:
        grants += [(bridge_path(name), SDN_USER) for name in bridges]
    roles = {role.name: role.for_version(version) for _, role in grants if role.privileges}
    lines = [f'pveum role add {role.name} --privs "{" ".join(role.privileges)}"' for role in roles.values()]
    if pool:
        lines.append(f'pveum pool add {pool} --comment "VMs made by the portal"')
    lines += [
        f'pveum user add {user} --comment "Portal service account"',
        f'pveum user token add {user} {token} --privsep 1 --comment "Portal"',
        f"for who in '--users {user}' '--tokens {user}!{token}'; do",
        *(f"  pveum acl modify {shlex.quote(path)} $who --roles {role.name}" for path, role in grants),
        "done",
        f"pveum user token permissions {user} {token}",
    ]
    return "\n".join(lines) + "\n"


def cure_command(version: Version, token_id: str, path: str, role: Role) -> str:
    """Lines that give `role` on `path` to the token `user@realm!name` and to its user."""
    user, _, _ = token_id.partition("!")
    role = role.for_version(version)
    lines = []
    if role.privileges:
        privileges = " ".join(role.privileges)
        lines.append(
            f'pveum role add {role.name} --privs "{privileges}" || '
            f'pveum role modify {role.name} --privs "{privileges}"'
        )
    where = shlex.quote(path)
    lines.append(f"pveum acl modify {where} --users {shlex.quote(user)} --roles {role.name}")
    lines.append(f"pveum acl modify {where} --tokens {shlex.quote(token_id)} --roles {role.name}")
    return "\n".join(lines)


def bridge_path(bridge: str) -> str:
    """The path of a plain bridge, or of a virtual network written `zone/name`."""
    return f"/sdn/zones/{bridge}" if "/" in bridge else f"/sdn/zones/localnetwork/{bridge}"


def _require_names(user: str, token: str, pool: str, storages: Sequence[str], bridges: Sequence[str]) -> None:
    """Names come from forms and from remotes, and the script is run by root."""
    if not _USER.fullmatch(user):
        raise ValueError("A user has the form name@realm.")
    names = [token, *storages, *(part for bridge in bridges for part in bridge.split("/", 1))]
    if pool:
        names += pool.split("/")
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"Not a name that Proxmox knows: {name!r}")
