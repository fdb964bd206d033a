"""Who may do what: users, API tokens, roles and access lists, tickets and their CSRF tokens."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from demo.proxmox.upid import split_user

TICKET_SECONDS = 7200

_VM_CONFIG = "CDROM CPU Cloudinit Disk HWType Memory Network Options"
_VM_ADMIN = frozenset(
    [
        "VM.Allocate",
        "VM.Audit",
        "VM.Backup",
        "VM.Clone",
        "VM.Console",
        "VM.GuestAgent.Audit",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.FileSystemMgmt",
        "VM.GuestAgent.FileWrite",
        "VM.GuestAgent.Unrestricted",
        "VM.Migrate",
        "VM.PowerMgmt",
        "VM.Replicate",
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
    ]
    + [f"VM.Config.{part}" for part in _VM_CONFIG.split()]
)
_STORE_ADMIN = frozenset(
    f"Datastore.{part}" for part in ["Allocate", "AllocateSpace", "AllocateTemplate", "Audit"]
)
_ADMIN = (
    _VM_ADMIN
    | _STORE_ADMIN
    | frozenset(
        [
            "Group.Allocate",
            "Mapping.Audit",
            "Mapping.Use",
            "Pool.Allocate",
            "Pool.Audit",
            "Realm.AllocateUser",
            "SDN.Allocate",
            "SDN.Audit",
            "SDN.Use",
            "Sys.Audit",
            "Sys.Console",
            "Sys.Syslog",
            "User.Modify",
        ]
    )
)
EVERYTHING = _ADMIN | frozenset(
    [
        "Mapping.Modify",
        "Permissions.Modify",
        "Realm.Allocate",
        "Sys.AccessNetwork",
        "Sys.Incoming",
        "Sys.Modify",
        "Sys.PowerMgmt",
    ]
)
# Recorded from GET /access/roles of Proxmox VE 9.2.11; the Portal roles are those of the README's pveum lines.
ROLES: dict[str, frozenset[str]] = {
    "Administrator": EVERYTHING,
    "NoAccess": frozenset(),
    "PVEAdmin": _ADMIN,
    "PVEAuditor": frozenset(
        [
            "Datastore.Audit",
            "Mapping.Audit",
            "Pool.Audit",
            "SDN.Audit",
            "Sys.Audit",
            "VM.Audit",
            "VM.GuestAgent.Audit",
        ]
    ),
    "PVEDatastoreAdmin": _STORE_ADMIN,
    "PVEDatastoreUser": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "PVEPoolAdmin": frozenset({"Pool.Allocate", "Pool.Audit"}),
    "PVEPoolUser": frozenset({"Pool.Audit"}),
    "PVESDNUser": frozenset({"SDN.Audit", "SDN.Use"}),
    "PVESysAdmin": frozenset({"Sys.Audit", "Sys.Console", "Sys.Syslog"}),
    "PVETemplateUser": frozenset({"VM.Audit", "VM.Clone"}),
    "PVEVMAdmin": _VM_ADMIN,
    "PVEVMUser": frozenset(
        [
            "VM.Audit",
            "VM.Backup",
            "VM.Config.CDROM",
            "VM.Config.Cloudinit",
            "VM.Console",
            "VM.GuestAgent.Audit",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.PowerMgmt",
        ]
    ),
    "PortalView": frozenset(["Datastore.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit"]),
    "PortalVM": frozenset(
        [
            "Pool.Audit",
            "VM.Allocate",
            "VM.Audit",
            "VM.Config.CPU",
            "VM.Config.Cloudinit",
            "VM.Config.Disk",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.Console",
            "VM.GuestAgent.Audit",
            "VM.PowerMgmt",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ]
    ),
    "PortalBackup": frozenset({"VM.Backup"}),
    "PortalStorage": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "PortalStop": frozenset({"Sys.Audit", "Sys.Modify"}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The one who asks; `token` is the token's name, None for a ticket."""

    user: str
    token: str | None = None

    @property
    def authid(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def is_root(self) -> bool:
        """Some calls want root@pam with a ticket; a token of root is not enough."""
        return self.user == "root@pam" and self.token is None

    def owns(self, authid: str) -> bool:
        """A user owns their own tasks and those of their tokens, a token only its own."""
        return authid == self.authid or (self.token is None and split_user(authid)[0] == self.user)


@dataclass(slots=True)
class Token:
    secret: str
    privsep: bool = True
    expired: bool = False
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Acl:
    path: str
    ugid: str
    role: str
    propagate: bool = True


class Access:
    """The access control of the cluster. `pool_of` tells the pool of a VMID."""

    def __init__(self, key: bytes, pool_of: Callable[[int], str | None]) -> None:
        self._key = key
        self._pool_of = pool_of
        self.passwords: dict[str, str] = {}
        self.disabled: set[str] = set()
        self.tokens: dict[str, Token] = {}
        self.acls: list[Acl] = []
        self.withheld: frozenset[str] = frozenset()

    def grant(self, ugid: str, path: str, *roles: str) -> None:
        for role in roles:
            if role not in ROLES:
                raise ValueError(f"no such role: {role}")
            self.acls.append(Acl(path, ugid, role))

    def add_token(self, authid: str, *, secret: str | None = None, privsep: bool = True) -> str:
        user, name = split_user(authid)
        if name is None:
            raise ValueError("a token is named user@realm!name")
        self.passwords.setdefault(user, secrets.token_urlsafe(12))
        token = Token(secret or secrets.token_hex(16), privsep)
        self.tokens[authid] = token
        return token.secret

    # who

    def check_token(self, authid: str, secret: str) -> Identity | None:
        user, name = split_user(authid)
        token = self.tokens.get(authid)
        if token is None or token.expired or token.revoked or user in self.disabled:
            return None
        if not hmac.compare_digest(token.secret.encode(), secret.encode()):
            return None
        return Identity(user, name)

    def check_password(self, user: str, password: str, now: float) -> bool:
        """A ticket that is still valid is accepted as password, which renews it."""
        wanted = self.passwords.get(user)
        if wanted is None or user in self.disabled:
            return False
        if hmac.compare_digest(wanted.encode(), password.encode()):
            return True
        return self.check_ticket(password, now) == user

    def make_ticket(self, user: str, now: float) -> str:
        plain = f"PVE:{user}:{int(now):08X}"
        return f"{plain}::{self._sign(plain, 256)}"

    def check_ticket(self, ticket: str, now: float) -> str | None:
        plain, separator, signature = ticket.partition("::")
        parts = plain.split(":")
        if not separator or len(parts) != 3 or parts[0] != "PVE" or parts[1] in self.disabled:
            return None
        if not hmac.compare_digest(self._sign(plain, 256).encode(), signature.encode()):
            return None
        age = now - int(parts[2], 16)
        return parts[1] if -300 <= age <= TICKET_SECONDS else None

    def make_csrf(self, user: str, now: float) -> str:
        stamp = f"{int(now):08X}"
        return f"{stamp}:{self._sign(f'{stamp}:{user}', 32)}"

    def check_csrf(self, user: str, token: str) -> bool:
        stamp, _, signature = token.partition(":")
        return hmac.compare_digest(self._sign(f"{stamp}:{user}", 32).encode(), signature.encode())

    def _sign(self, text: str, length: int) -> str:
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.b64encode((digest * (length // len(digest) + 1))[:length]).decode().rstrip("=")

    # what

    def privileges(self, who: Identity, path: str) -> frozenset[str]:
        own = EVERYTHING if who.user == "root@pam" else self._privileges_of(who.user, path)
        if who.token is not None:
            token = self.tokens.get(who.authid)
            if token is not None and token.privsep:
                own &= self._privileges_of(who.authid, path)
        return own if who.is_root else own - self.withheld

    def _privileges_of(self, ugid: str, path: str) -> frozenset[str]:
        roles = self._roles_of(ugid, path)
        folder, _, name = path.strip("/").partition("/")
        if folder == "vms" and name.isdigit() and (pool := self._pool_of(int(name))):
            roles |= self._roles_of(ugid, f"/pool/{pool}")
        return frozenset().union(*(ROLES[role] for role in roles))

    def _roles_of(self, ugid: str, path: str) -> set[str]:
        """A role on a deeper path replaces the inherited ones."""
        parts = [part for part in path.split("/") if part]
        roles: set[str] = set()
        for depth in range(len(parts) + 1):
            level = "/" + "/".join(parts[:depth])
            here = {
                acl.role
                for acl in self.acls
                if acl.ugid == ugid and acl.path == level and (acl.propagate or depth == len(parts))
            }
            roles = here or roles
        return set() if "NoAccess" in roles else roles

    def tree(
        self, who: Identity, paths: Iterable[str] = (), *, members: Iterable[int] = ()
    ) -> dict[str, dict[str, int]]:
        """GET /access/permissions: the standard paths, those somebody has a role on, and guests in pools."""
        wanted = {
            "/",
            "/access",
            "/access/groups",
            "/nodes",
            "/pool",
            "/sdn",
            "/sdn/zones",
            "/storage",
            "/vms",
        }
        wanted |= {"/sdn/zones/localnetwork"} | {acl.path for acl in self.acls}
        wanted |= {f"/vms/{vmid}" for vmid in members}
        tree = {}
        for path in paths or sorted(wanted):
            privileges = self.privileges(who, path)
            if privileges:
                tree[path] = dict.fromkeys(sorted(privileges), 1)
        return tree
