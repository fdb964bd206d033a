"""How calls are declared and found, and the errors they answer with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from demo.proxmox.access import Identity
from demo.proxmox.schema import Invalid, Param, Parser, vmid

if TYPE_CHECKING:
    from demo.proxmox.cluster import Cluster


class ApiError(Exception):
    """An answer other than 200; `errors` makes it a 400 with one entry per field."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        errors: dict[str, str] | None = None,
        delay: float = 0.0,
        body: bool = True,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.errors = errors
        self.delay = delay
        self.body = body


def refuse(text: str, *, delay: float = 0.0) -> ApiError:
    """What Proxmox makes of a `die`: a 500 whose reason phrase is the text."""
    return ApiError(500, text, delay=delay)


def invalid(**errors: str) -> ApiError:
    return ApiError(400, "Parameter verification failed.", errors=errors)


def forbid(path: str = "", privileges: str = "") -> ApiError:
    return ApiError(403, f"Permission check failed{f' ({path}, {privileges})' if path else ''}")


@dataclass(slots=True)
class Reply:
    """A 200; `delay` seconds pass before it is sent, `raw` replaces the JSON body."""

    data: Any = None
    total: int | None = None
    delay: float = 0.0
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    encoded: bytes | None = None


@dataclass(slots=True)
class Call:
    """One request after the checks: who asks, path parts and verified parameters."""

    cluster: Cluster
    who: Identity
    path: dict[str, str]
    params: dict[str, Any]
    now: float

    @property
    def vmid(self) -> int:
        return int(self.path["vmid"])

    @property
    def node(self) -> str:
        return self.path["node"]

    def allowed(self, path: str, *privileges: str, every: bool = True) -> bool:
        have = self.cluster.access.privileges(self.who, path)
        return have.issuperset(privileges) if every else not have.isdisjoint(privileges)

    def require(self, path: str, *privileges: str, every: bool = True) -> None:
        """With `every` false any of them is enough, and the text joins them with `|`."""
        if not self.allowed(path, *privileges, every=every):
            raise forbid(path, (", " if every else "|").join(privileges))


Check = Callable[[Call], None]
Handler = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """`protected` calls pass through a second daemon, which shows in the headers and in what a 595 hits."""

    method: str
    template: str
    handler: Handler
    protected: bool
    public: bool
    check: Check | None
    params: Mapping[str, Param]
    allow: Callable[[str], Parser | None]


_ROUTES: dict[tuple[str, int], list[tuple[re.Pattern[str], Route]]] = {}


def nothing_else(_name: str) -> Parser | None:
    return None


def route(
    method: str,
    template: str,
    *,
    protected: bool = False,
    public: bool = False,
    check: Check | None = None,
    params: Mapping[str, Param] | None = None,
    allow: Callable[[str], Parser | None] = nothing_else,
) -> Callable[[Handler], Handler]:
    """Declare a call. `check` runs before the parameters are judged, as Proxmox does it."""

    def register(handler: Handler) -> Handler:
        expression = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template)))
        entry = Route(method, template, handler, protected, public, check, params or {}, allow)
        _ROUTES.setdefault((method, template.count("/")), []).append((expression, entry))
        return handler

    return register


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """`path` is still percent-encoded, so that an encoded slash does not split a part."""
    plain = path.rstrip("/") or "/"
    for expression, entry in _ROUTES.get((method, plain.count("/")), ()):
        if match := expression.fullmatch(plain):
            parts = {name: unquote(value) for name, value in match.groupdict().items()}
            if all("/" not in value or name == "volume" for name, value in parts.items()):
                return entry, parts
    return None


def check_path(parts: Mapping[str, str]) -> None:
    if "vmid" in parts:
        try:
            vmid(parts["vmid"])
        except Invalid as error:
            raise invalid(vmid=str(error)) from None


def needs(path: str, *privileges: str, every: bool = True) -> Check:
    """A check on one path; `{…}` is filled from the path of the call."""

    def check(call: Call) -> None:
        call.require(path.format(**call.path), *privileges, every=every)

    return check
