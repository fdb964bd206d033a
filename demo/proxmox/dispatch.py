"""From a request to an answer: who asks, which call, may they, are the parameters right.

The order is Proxmox's: credentials (401), path (501), node (595), rights (403), parameters (400), the call.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from demo.proxmox import (  # noqa: F401  (importing a module of calls declares them)
    backups,
    cloning,
    clustercalls,
    configcalls,
    creation,
    democalls,
    disposal,
    guestcalls,
    migration,
    power,
    snapshots,
    storagecalls,
    taskcalls,
)
from demo.proxmox.access import Identity
from demo.proxmox.api import ApiError, Call, Reply, Route, check_path, find_route, invalid
from demo.proxmox.cluster import LOCAL_NODE, Cluster
from demo.proxmox.inventory import NODES
from demo.proxmox.schema import verify

REFUSAL_SECONDS = 3.0
_TOKEN = re.compile(r"PVEAPIToken[= ](?P<authid>[^=\s]+@[^=\s]+![^=\s]+)=(?P<secret>\S+)")


def answer(
    cluster: Cluster, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> tuple[Reply, Route]:
    """`path` is the encoded part after `/api2/<format>`. Raises ApiError for everything but a 200."""
    if path.startswith("/demo/"):
        return _call(cluster, method, path, query, headers, body, _demo_identity(cluster, headers))
    found = find_route(method, path)
    if found and found[0].public:
        return _call(cluster, method, path, query, headers, body, Identity("nobody@none"))
    return _call(cluster, method, path, query, headers, body, _identify(cluster, method, headers))


def _call(
    cluster: Cluster,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    who: Identity,
) -> tuple[Reply, Route]:
    found = find_route(method, path)
    if found is None:
        raise ApiError(501, f"Method '{method} {unquote(path)}' not implemented")
    entry, parts = found
    _check_node(cluster, parts, entry)
    with cluster.lock:
        cluster.settle()
        call = Call(cluster, who, parts, {}, cluster.now())
        if entry.check:
            entry.check(call)
        given = _parameters(query, headers, body)
        conflicts = {name: given[name] for name in parts if name in given}
        if any(parts[name] != value for name, value in conflicts.items()):
            text = "duplicate parameter (already defined in URI) with conflicting values!"
            raise invalid(**dict.fromkeys(conflicts, text))
        given = {name: value for name, value in given.items() if name not in parts}
        check_path(parts)
        call.params, errors = verify(given, entry.params, entry.allow)
        if errors:
            raise invalid(**errors)
        if (
            method != "GET"
            and not entry.public
            and not path.startswith("/demo/")
            and not cluster.has_quorum()
        ):
            raise ApiError(500, "cluster not ready - no quorum?")
        result = entry.handler(call)
    return (result if isinstance(result, Reply) else Reply(result)), entry


def _check_node(cluster: Cluster, parts: dict[str, str], entry: Route) -> None:
    node = parts.get("node")
    if node is None:
        return
    if node == "localhost":
        node = parts["node"] = LOCAL_NODE
    if node not in NODES:
        text = f"hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
        raise ApiError(500, text)
    if not cluster.is_online(node):
        raise ApiError(595, "No route to host", body=False)


def _parameters(query: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not body:
        return given
    if headers.get("Content-Type", "").startswith("application/json"):
        try:
            content = json.loads(body)
        except ValueError:
            raise ApiError(400, "unable to parse JSON body") from None
        if isinstance(content, dict):
            given |= {str(name): _plain(value) for name, value in content.items()}
        return given
    return given | dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _plain(value: Any) -> str:
    """JSON values as the text a form would carry; lists and objects stay JSON for the demo's own calls."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return value if isinstance(value, str) else json.dumps(value)


def _denied(cluster: Cluster, text: str) -> ApiError:
    return ApiError(401, text, delay=REFUSAL_SECONDS * cluster.scale, body=False)


def _identify(cluster: Cluster, method: str, headers: Mapping[str, str]) -> Identity:
    access, now = cluster.access, cluster.now()
    authorization = headers.get("Authorization", "")
    if authorization.startswith("PVEAPIToken"):
        match = _TOKEN.fullmatch(authorization)
        who = access.check_token(unquote(match["authid"]), match["secret"]) if match else None
        if who is None or cluster.faults.find("token_revoked", who.authid):
            raise _denied(cluster, "Authentication failed!")
        return who
    ticket = _ticket(headers.get("Cookie", ""), authorization)
    if ticket is None:
        raise _denied(cluster, "No ticket")
    user = access.check_ticket(ticket, now)
    if user is None:
        raise _denied(cluster, "Authentication failed!")
    if method != "GET" and not access.check_csrf(user, headers.get("CSRFPreventionToken", "")):
        raise _denied(cluster, "Permission denied - invalid csrf token")
    return Identity(user)


def _ticket(cookie: str, authorization: str) -> str | None:
    for part in (*cookie.split(";"), authorization):
        name, _, value = part.strip().partition("=")
        if name == "PVEAuthCookie":
            return unquote(value)
    return None


def _demo_identity(cluster: Cluster, headers: Mapping[str, str]) -> Identity:
    """The control calls want the secret of any token, in the usual header; no 3 s penalty."""
    match = _TOKEN.fullmatch(headers.get("Authorization", ""))
    token = cluster.access.tokens.get(match["authid"]) if match else None
    if match is None or token is None or token.secret != match["secret"]:
        raise ApiError(403, "the secret of an API token is needed")
    return Identity("root@pam")
