"""Normalises what people type or paste as the address of a Proxmox node; pure."""

import ipaddress
import re
from urllib.parse import urlsplit

DEFAULT_PORT = 8006


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
    if not _is_host_name(host):
        raise ValueError("This is not a host name. Enter a host name, an IP address or https://host:8006.")
    return f"https://{host.rstrip('.')}:{port or DEFAULT_PORT}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _is_host_name(host: str) -> bool:
    if len(host) > 253:
        return False
    try:
        ascii_host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return False
    return all(
        re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", part)
        for part in ascii_host.rstrip(".").split(".")
    )
