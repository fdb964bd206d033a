"""What a token may do, what is missing for each function of the portal, and the command that cures it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tasks_app.sources.errors import SourceUnavailable
from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.pveum import (
    PORTAL_BACKUP,
    PORTAL_CANCEL,
    PORTAL_STORAGE,
    PORTAL_VIEW,
    PORTAL_VM,
    SDN_USER,
    TEMPLATE_USER,
    Role,
    bridge_path,
    cure_command,
)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Effective privileges by path: privilege → whether it reaches down to deeper paths.

    Paths that Proxmox does not list take from their nearest listed ancestor what reaches down. A listed path
    is complete: a role on it replaces what would be inherited.
    """

    by_path: Mapping[str, Mapping[str, bool]]

    def allows(self, path: str, privilege: str) -> bool:
        """`privilege` may name alternatives separated by `|`, as Proxmox's refusals do."""
        held = self.held_on(path)
        return any(name in held for name in privilege.split("|"))

    def held_on(self, path: str) -> frozenset[str]:
        """All privileges on `path`."""
        path = "/" + path.strip("/")
        if path in self.by_path:
            return frozenset(self.by_path[path])
        while path != "/":
            path = path.rpartition("/")[0] or "/"
            if path in self.by_path:
                return frozenset(name for name, reaches_down in self.by_path[path].items() if reaches_down)
        return frozenset()


def parse_permissions(data: object) -> Permissions:
    """The `data` of `GET /access/permissions`: path → privilege → 1 (reaches down) or 0."""
    if not isinstance(data, dict):
        raise SourceUnavailable("The permissions cannot be read.", kind="garbage")
    return Permissions(
        MappingProxyType(
            {
                str(path): MappingProxyType({str(name): str(value) == "1" for name, value in held.items()})
                for path, held in data.items()
                if isinstance(held, dict)
            }
        )
    )


@dataclass(frozen=True, slots=True)
class FunctionCheck:
    """One thing the portal can do, and whether the token may.

    `privilege` on `path` is what it takes; when allowed, `path` is where it is held. `command` cures a
    refusal (shell lines for root on a node), "" when allowed.
    """

    function: str
    label: str
    allowed: bool
    privilege: str
    path: str
    command: str


@dataclass(frozen=True, slots=True)
class Excess:
    """Privileges on one path that the portal never needs and that would hurt in the wrong hands."""

    path: str
    privileges: tuple[str, ...]


_NEVER_NEEDED = frozenset(
    {
        "Permissions.Modify",
        "User.Modify",
        "Group.Allocate",
        "Realm.Allocate",
        "Realm.AllocateUser",
        "Sys.PowerMgmt",
        "Sys.Console",
        "Sys.Incoming",
        "Sys.AccessNetwork",
        "Datastore.Allocate",
        "SDN.Allocate",
        "Mapping.Modify",
        "Pool.Allocate",
        "VM.GuestAgent.Unrestricted",
        "VM.GuestAgent.FileWrite",
        "VM.Replicate",
    }
)


_CONFIGURE = "VM.Config.Options VM.Config.CPU VM.Config.Memory VM.Config.Cloudinit VM.Config.Network"
"""Every one of them: protection and tags, cores, memory, user and keys, the network card of a container."""


def check_functions(
    permissions: Permissions,
    version: Version,
    *,
    token_id: str,
    pool: str = "",
    templates: Sequence[int] = (),
    storages: Sequence[str] = (),
    bridges: Sequence[str] = (),
) -> list[FunctionCheck]:
    """What works and what does not, in the order people care.

    Naming a pool, templates, storages or bridges asks about exactly these; otherwise holding the privilege on any
    of them is enough.
    """
    guests = [f"/pool/{pool}"] if pool else []
    agent = "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted" if version.major >= 9 else "VM.Monitor"
    checks = [
        ("see_tasks", "See the tasks of everybody", "Sys.Audit", ["/"], "/", PORTAL_VIEW),
        ("see_guests", "See guests", "VM.Audit", [], "/vms", PORTAL_VIEW),
        (
            "read_logs",
            "Read the logs of other people's tasks",
            "Sys.Audit",
            ["/nodes"],
            "/nodes",
            PORTAL_VIEW,
        ),
        ("cancel_others", "Cancel other people's tasks", "Sys.Modify", ["/nodes"], "/nodes", PORTAL_CANCEL),
        ("power", "Start, stop and reboot guests", "VM.PowerMgmt", guests, "/vms", PORTAL_VM),
        ("snapshot", "Make snapshots", "VM.Snapshot", guests, "/vms", PORTAL_VM),
        ("rollback", "Roll back to snapshots", "VM.Snapshot.Rollback|VM.Snapshot", guests, "/vms", PORTAL_VM),
        ("backup", "Back up machines", "VM.Backup", guests, "/vms", PORTAL_BACKUP),
        ("clone", "Clone from", "VM.Clone", [f"/vms/{t}" for t in templates], "/vms", TEMPLATE_USER),
        ("clone_target", "Make and delete guests", "VM.Allocate", guests, "/vms", PORTAL_VM),
        ("configure", "Set size, name and access of new guests", _CONFIGURE, guests, "/vms", PORTAL_VM),
        ("resize", "Grow disks of new guests", "VM.Config.Disk", guests, "/vms", PORTAL_VM),
        ("addresses", "Read the addresses of new guests", agent, guests, "/vms", PORTAL_VM),
        (
            "clone_storage",
            "Use storage for new guests",
            "Datastore.AllocateSpace",
            [f"/storage/{s}" for s in storages],
            "/storage",
            PORTAL_STORAGE,
        ),
    ]
    if version.major >= 8:  # before, bridges needed no privilege
        paths = [bridge_path(b) for b in bridges]
        checks.append(("clone_network", "Use networks", "SDN.Use", paths, "/sdn/zones", SDN_USER))
    return [
        _check_all(permissions, version, token_id, function, label, privileges.split(), paths, usual, role)
        for function, label, privileges, paths, usual, role in checks
    ]


def find_excess(permissions: Permissions) -> list[Excess]:
    """Where the token can do more than the portal needs, by path; Sys.Modify counts except on nodes."""
    found = []
    for path, held in sorted(permissions.by_path.items()):
        names = _NEVER_NEEDED & held.keys()
        if "Sys.Modify" in held and not path.startswith("/nodes"):
            names |= {"Sys.Modify"}
        if names:
            found.append(Excess(path, tuple(sorted(names))))
    return found


def _check_all(
    permissions: Permissions,
    version: Version,
    token_id: str,
    function: str,
    label: str,
    privileges: Sequence[str],
    paths: Sequence[str],
    usual: str,
    role: Role,
) -> FunctionCheck:
    """The first of `privileges` that is missing, or else the first."""
    found = [
        _check(permissions, version, token_id, function, label, privilege, paths, usual, role)
        for privilege in privileges
    ]
    return next((check for check in found if not check.allowed), found[0])


def _check(
    permissions: Permissions,
    version: Version,
    token_id: str,
    function: str,
    label: str,
    privilege: str,
    paths: Sequence[str],
    usual: str,
    role: Role,
) -> FunctionCheck:
    name = privilege.partition("|")[0]  # the smallest of alternatives is the one to grant
    if paths:
        missing = next((path for path in paths if not permissions.allows(path, privilege)), None)
        if missing is None:
            return FunctionCheck(function, label, True, name, paths[0], "")
    else:
        missing = usual
        held = _first_path_with(permissions, privilege, usual)
        if held:
            return FunctionCheck(function, label, True, name, held, "")
    return FunctionCheck(
        function, label, False, name, missing, cure_command(version, token_id, missing, role)
    )


def _first_path_with(permissions: Permissions, privilege: str, usual: str) -> str:
    """`usual` itself, else the first listed path of the same kind; guests may be reached through a pool."""
    if permissions.allows(usual, privilege):
        return usual
    roots = (usual, "/pool") if usual == "/vms" else (usual,)
    below = (p for p in sorted(permissions.by_path) if p.startswith(tuple(root + "/" for root in roots)))
    return next((path for path in below if permissions.allows(path, privilege)), "")
