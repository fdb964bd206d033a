"""What a token may do, what is missing for each function of the portal, and the command that cures it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tasks_app.sources.errors import SourceUnavailable


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
