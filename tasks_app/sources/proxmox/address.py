"""Normalises what people type or paste as the address of a Proxmox node; pure."""

import ipaddress
import re
from urllib.parse import urlsplit

DEFAULT_PORT = 8006
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_address(text: str) -> str:
    """`https://host:port` from `host`, `host:port`, a pasted URL of the web interface, or an IPv6 address.

    The port is 8006 unless one is given; `http://` becomes `https://`. Raises ValueError with a plain
    sentence.
    """
    text = text.strip()
    bare = text.strip("[]")
    if _is_ipv6(bare):
        return f"https://[{bare.lower()}]:{DEFAULT_PORT}"
    if "://" not in text:
        text = "https://" + text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(
            "This is not an address. Enter a host name, an IP address or https://host:8006."
        ) from None
    if parts.scheme not in ("https", "http"):
        raise ValueError("An address starts with https://.")
    if "@" in parts.netloc:
        raise ValueError("An address holds no user name or password.")
    if port == 0:
        raise ValueError("A port is a number from 1 to 65535.")
    if _is_ipv6(host):
        return f"https://[{host}]:{port or DEFAULT_PORT}"
    name = _ascii_host_name(host)
    if not name:
        raise ValueError("This is not a host name. Enter a host name, an IP address or https://host:8006.")
    return f"https://{name}:{port or DEFAULT_PORT}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _ascii_host_name(host: str) -> str:
    """The name as DNS knows it, without a final dot; "" when it cannot be one."""
    try:
        name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return ""
    name = name.rstrip(".")
    return name if len(name) <= 253 and all(_LABEL.fullmatch(part) for part in name.split(".")) else ""
