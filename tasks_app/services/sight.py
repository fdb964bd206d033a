"""Where a token may not see tasks. Proxmox then answers an empty list and no error, which must not pass for "none"."""

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Prefetch

from tasks_app.ingest.health import CLUSTER_LIST_PRIVILEGE
from tasks_app.models import Node, Source
from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.permissions import parse_permissions
from tasks_app.sources.proxmox.pveum import PORTAL_VIEW, cure_command


@dataclass(frozen=True, slots=True)
class BlindSource:
    """`privilege` is missing on `path`, and `command` (for root on a node) cures it.

    Of `nodes` only the token's own tasks are shown; empty when the nodes are not known either.
    """

    source: Source
    privilege: str
    path: str
    command: str
    nodes: tuple[str, ...] = ()
    is_whole: bool = True  # every node


def blind_sources(user: User | AnonymousUser, *, source_id: int | None = None) -> list[BlindSource]:
    """Of the clusters that `user` may see those whose token does not see everybody's tasks. Two queries."""
    sources = Source.objects.visible_to(user).filter(kind=Source.PROXMOX, permissions_at__isnull=False)
    if source_id is not None:
        sources = sources.filter(pk=source_id)
    nodes = Prefetch("nodes", queryset=Node.objects.order_by("name"))
    found = (blindness_of(source) for source in sources.prefetch_related(nodes))
    return [blind for blind in found if blind is not None]


def blindness_of(source: Source) -> BlindSource | None:
    """What the token of a cluster lacks to see the tasks of all its nodes; None when it sees them or is not known."""
    if source.is_generation or source.permissions_at is None:
        return None
    held = parse_permissions(source.permissions)
    names = [node.name for node in source.nodes.all()]
    blind = tuple(name for name in names if not held.allows(f"/nodes/{name}", CLUSTER_LIST_PRIVILEGE))
    if not blind and (names or held.allows("/nodes", CLUSTER_LIST_PRIVILEGE)):
        return None
    is_whole = len(blind) == len(names)
    path = "/"
    if held.allows("/", CLUSTER_LIST_PRIVILEGE):  # a role further down took it away
        path = "/nodes" if is_whole or len(blind) > 1 else f"/nodes/{blind[0]}"
    return BlindSource(
        source,
        CLUSTER_LIST_PRIVILEGE,
        path,
        cure_command(_version(source), source.token_id, path, PORTAL_VIEW),
        blind,
        is_whole,
    )


def _version(source: Source) -> Version:
    major = source.version.partition(".")[0]
    return Version(source.version, source.version, int(major) if major.isdecimal() else 9)
